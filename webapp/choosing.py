"""Which dataset a request is about, and where things are: for pages and API alike."""

from __future__ import annotations

from flask import abort, current_app, g, request

from config.paths import Paths
from models import registry
from webapp.reading import Published, published


def chosen(dataset: str | None = None) -> Published | None:
    """What the asked-for dataset serves, by default the one promoted last; None where nothing is published.

    Only names that the registry lists reach the file system.

    Args:
        dataset: goes before the one in the query.
    """
    models_root = paths().models_root
    g.datasets = registry.datasets(models_root)
    asked = dataset or request.args.get("dataset")
    if asked is None and not g.datasets:
        return None
    if asked is not None and asked not in g.datasets:
        abort(404, _unknown_dataset(asked))
    g.dataset = asked or g.datasets[0]
    return published(models_root / g.dataset)


def _unknown_dataset(asked: str) -> str:
    if not g.datasets:
        return f"There is no dataset {asked!r}: nothing has been published yet."
    return f"There is no dataset {asked!r}. These are published: {', '.join(g.datasets)}."


def paths() -> Paths:
    """Where versions and run records are."""
    found: Paths = current_app.config["PATHS"]
    return found
