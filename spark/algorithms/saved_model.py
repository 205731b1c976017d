"""Train an algorithm into a model directory, and open such a directory as a `Scorer`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from common.durable import read_json, write_json
from spark.algorithms.scorer import FloatArray, Scorer
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import TRACK, load_csr

_MODULES = {
    "popularity": "spark.algorithms.popularity",
    "segment-popularity": "spark.algorithms.segment_popularity",
    "als": "spark.algorithms.implicit_als",
    "als_explicit": "spark.algorithms.explicit_als",
    "item-knn": "spark.algorithms.item_knn",
    "ease": "spark.algorithms.ease",
    "content": "spark.algorithms.content",
    "hybrid": "spark.algorithms.hybrid",
}
_MODEL_INFO = "algorithm.json"
_POPULARITY = "popularity.npy"


def fit_model(
    name: str,
    training: TrainingData,
    settings: Mapping[str, Any],
    into: Path,
    report: ProgressReport = lambda text, fraction: None,
) -> None:
    """Train an algorithm and save the model in the new directory `into`, with the popularity of each track.

    Raises:
        NotApplicable: the algorithm cannot learn from this data.
    """
    info = importlib.import_module(_MODULES[name]).fit(training, settings, into, report)
    np.save(into / _POPULARITY, np.diff(load_csr(training.blocks, TRACK).indptr).astype(np.float32))
    write_json(into / _MODEL_INFO, {"name": name, "num_users": training.num_users, **info})


@lru_cache(maxsize=4)
def load_scorer(model: Path) -> Scorer:
    """Open a saved model. Repeated calls in a process return the same object."""
    scorer: Scorer = importlib.import_module(_MODULES[model_info(model)["name"]]).load(model)
    return scorer


def model_info(model: Path) -> dict[str, Any]:
    """Read the algorithm's name, num_users and the values that its `fit` returned."""
    info: dict[str, Any] = read_json(model / _MODEL_INFO)
    return info


def load_popularity(model: Path) -> FloatArray:
    """Number of listeners of each track in the training data, shape (num_tracks,)."""
    counts: FloatArray = np.load(model / _POPULARITY)
    return counts
