"""The algorithms of a saved model and, for a blend, of its parts."""

from __future__ import annotations

from pathlib import Path

from common.errors import StoreError
from common.files import read_json
from config.algorithm_catalog import CATALOG, MODEL_INFO, Algorithm


def saved_algorithms(model: Path) -> list[tuple[Path, Algorithm]]:
    """List the model directory and, for a blend, those of its parts, each with its algorithm; empty without a model.

    Raises:
        StoreError: a directory does not name its algorithm, or the catalogue does not have it.
    """
    if not model.is_dir():
        return []
    try:
        name = read_json(model / MODEL_INFO)["name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{model / MODEL_INFO} does not name the algorithm that trained the model.") from None
    if name not in CATALOG:
        raise StoreError(
            f"{model} was trained by {name!r}, which is not in config/algorithm_catalog.py, so the files that hold "
            "data about its users are unknown. Add its entry, or remove the version."
        )
    algorithm = CATALOG[name]
    parts = sorted(path for path in model.iterdir() if path.is_dir()) if algorithm.is_blend else []
    return [(model, algorithm), *(pair for part in parts for pair in saved_algorithms(part))]
