"""Train an algorithm into a model directory, and open such a directory as a `Scorer`.

The module of each algorithm has two functions:

- `fit(training, settings, into, report)` trains with Spark, saves its files in the new directory `into`, and returns
  further values for `algorithm.json`;
- `load(model)` opens that directory with numpy alone, in any process, as a `Scorer`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from common.files import read_json, write_json
from config.algorithm_catalog import CATALOG, MODEL_INFO
from spark.algorithms.scorer import FloatArray, Scorer
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import TRACK, load_csr

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
    info = _module(name).fit(training, settings, into, report)
    np.save(into / _POPULARITY, np.diff(load_csr(training.matrix, TRACK).indptr).astype(np.float32))
    write_json(into / MODEL_INFO, {"name": name, "num_users": training.num_users, **info})


@lru_cache(maxsize=4)
def load_scorer(model: Path) -> Scorer:
    """Open a saved model. Repeated calls in a process return the same object."""
    scorer: Scorer = _module(model_info(model)["name"]).load(model)
    return scorer


def _module(name: str) -> Any:
    return importlib.import_module(CATALOG[name].module)


def model_info(model: Path) -> dict[str, Any]:
    """Read the algorithm's name, num_users and the values that its `fit` returned."""
    info: dict[str, Any] = read_json(model / MODEL_INFO)
    return info


def load_popularity(model: Path) -> FloatArray:
    """Number of listeners of each track in the training data, shape (num_tracks,)."""
    counts: FloatArray = np.load(model / _POPULARITY)
    return counts
