"""The dataset and version of the current request, and the application's shared objects."""

from __future__ import annotations

from flask import abort, current_app, g

from common.errors import UserError
from config.paths import Paths
from run_records import reader
from webapp.serving.query_args import MAX_LENGTH, get_arg
from webapp.serving.served_version import ServedVersion
from webapp.serving.version_cache import VersionCache


class NothingPublished(UserError):
    """No dataset has a served version."""


def current_version(dataset: str | None = None) -> ServedVersion:
    """Return the version that the request is about; the same one throughout the request.

    It is the served version of the dataset in the query, or of the dataset promoted last. A dataset is looked up in
    the list of datasets before its name reaches the file system.

    Args:
        dataset: overrides the dataset in the query.

    Raises:
        NothingPublished: there is no dataset.
        NotFound: there is no dataset of that name.
    """
    if "served_version" in g:
        chosen: ServedVersion = g.served_version
        return chosen
    available = datasets()
    requested = get_arg("dataset") if dataset is None else dataset
    if requested is None and not available:
        raise NothingPublished("Nothing has been published yet.")
    if requested is not None and requested not in available:
        abort(404, _unknown_dataset(requested, available))
    g.dataset = requested or available[0]
    served = g.served_version = version_cache().served(g.dataset)
    return served


def runs_dataset() -> str:
    """Return the dataset whose runs are requested. Unlike in `current_version`, it may have only run records."""
    requested = get_arg("dataset")
    if requested is None or requested in datasets():
        return current_version().dataset
    with_runs = {directory.name for directory in reader.run_directories(paths().runs(""))}
    return requested if requested in with_runs else current_version().dataset


def select_dataset() -> None:
    """Select the dataset that the page header shows, on pages that also work before anything is published."""
    if datasets():
        current_version()


def datasets() -> list[str]:
    """Return the datasets that serve a version, the last promoted first."""
    if "datasets" not in g:
        g.datasets = version_cache().datasets()
    names: list[str] = g.datasets
    return names


def _unknown_dataset(requested: str, available: list[str]) -> str:
    requested = requested[:MAX_LENGTH]
    if not available:
        return f"There is no dataset {requested!r}: nothing has been published yet."
    return f"There is no dataset {requested!r}. Published datasets: {', '.join(available)}."


def paths() -> Paths:
    """Return the directories of published versions and run records."""
    configured: Paths = current_app.config["PATHS"]
    return configured


def version_cache() -> VersionCache:
    """Return the application's cache of served versions."""
    cache: VersionCache = current_app.extensions["version_cache"]
    return cache
