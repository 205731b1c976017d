"""Which version a request is about, and where things are: for pages and API alike."""

from __future__ import annotations

from flask import abort, current_app, g

from common.errors import UserError
from config.paths import Paths
from run_records import reader
from webapp.serving.query_args import LONGEST, get_arg
from webapp.serving.version_cache import ServedVersion, VersionCache


class NothingPublished(UserError):
    """No dataset serves anything yet."""


def current_version(dataset: str | None = None) -> ServedVersion:
    """The version that the request is about: served by the dataset that is asked for, by default the one promoted last.

    Asked again within a request, it is the same version. Only names that the registry lists reach the file system.

    Args:
        dataset: goes before the one in the query.

    Raises:
        NothingPublished: there is no dataset.
    """
    if "shown" in g:
        chosen: ServedVersion = g.shown
        return chosen
    known = datasets()
    asked = get_arg("dataset") if dataset is None else dataset
    if asked is None and not known:
        raise NothingPublished("Nothing has been published yet.")
    if asked is not None and asked not in known:
        abort(404, _unknown_dataset(asked, known))
    g.dataset = asked or known[0]
    found = g.shown = version_cache().served(g.dataset)
    return found


def of_runs() -> str:
    """The dataset whose runs are meant: as `shown`, but it need not have published anything yet."""
    asked = get_arg("dataset")
    if asked is None or asked in datasets():
        return current_version().dataset
    recorded = {directory.name for directory in reader.run_directories(paths().runs(""))}
    return asked if asked in recorded else current_version().dataset


def for_the_header() -> None:
    """Chooses a dataset where there is one: of pages that can do without."""
    if datasets():
        current_version()


def datasets() -> list[str]:
    """The datasets that serve something, the one promoted last first."""
    if "datasets" not in g:
        g.datasets = version_cache().datasets()
    found: list[str] = g.datasets
    return found


def _unknown_dataset(asked: str, known: list[str]) -> str:
    asked = asked[:LONGEST]
    if not known:
        return f"There is no dataset {asked!r}: nothing has been published yet."
    return f"There is no dataset {asked!r}. These are published: {', '.join(known)}."


def paths() -> Paths:
    """Where versions and run records are."""
    found: Paths = current_app.config["PATHS"]
    return found


def version_cache() -> VersionCache:
    """The served versions."""
    found: VersionCache = current_app.extensions["shelf"]
    return found
