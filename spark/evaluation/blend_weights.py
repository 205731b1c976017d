"""Learn the weights of a hybrid on the validation part; its models are trained on the training part alone.

All weights on a grid that add up to 1 are evaluated: there are few models, and NDCG is not smooth in the weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import NotApplicable
from spark.algorithms.saved_model import fit_model
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.evaluation.tuning_objective import Weights, measure_ndcg

_MAX_GRID_SIZE = 70
"""Approximate number of weight vectors that are evaluated."""


@dataclass(frozen=True)
class BlendResult:
    """The best weights, and how they compare with the models alone."""

    weights: dict[str, float]
    ndcg: float
    """Of the best weights, on the validation part."""
    alone: dict[str, float]
    """NDCG of each model by itself."""
    left_out: dict[str, str]
    """Why a model cannot learn from this data."""


def learn_weights(
    training: TrainingData,
    parts: Mapping[str, Mapping[str, Any]],
    validation: Path,
    liked_from: float | None,
    into: Path,
    report: ProgressReport,
) -> BlendResult:
    """Find the weights with the highest mean NDCG.

    Args:
        training: the training part.
        parts: the settings of each model.
        validation: Parquet of the validation part.
        liked_from: the rating from which a track is relevant; None makes all tracks relevant.
        into: a directory that every worker can write, for the models.

    Raises:
        NotApplicable: fewer than two models can learn from this data, or no user has a relevant validation track.
    """
    left_out: dict[str, str] = {}
    for position, (name, settings) in enumerate(parts.items()):
        report(f"training {name}", position / (len(parts) + 1))
        try:
            fit_model(name, training, settings, into / name)
        except NotApplicable as reason:
            left_out[name] = str(reason)
    models = {name: into / name for name in parts if name not in left_out}
    if len(models) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise NotApplicable(f"fewer than two of its parts can learn from this data ({reasons})")
    report("trying weights", len(parts) / (len(parts) + 1))
    grid = weight_grid(len(models))
    ndcg = measure_ndcg(training, list(models.values()), grid, validation, liked_from)
    best = int(np.argmax(ndcg))
    weights = dict(zip(models, np.round(grid[best].astype(float), 3).tolist(), strict=True))
    alone = {name: float(ndcg[np.argmax(grid[:, column])]) for column, name in enumerate(models)}
    return BlendResult(weights, float(ndcg[best]), alone, left_out)


def weight_grid(models: int) -> Weights:
    """Return all weight vectors in equal steps that add up to 1, about `_MAX_GRID_SIZE` of them."""
    steps = max(
        steps for steps in range(1, 21) if steps == 1 or math.comb(steps + models - 1, models - 1) <= _MAX_GRID_SIZE
    )
    vectors = [vector for vector in itertools.product(range(steps + 1), repeat=models) if sum(vector) == steps]
    return np.array(vectors, np.float32) / np.float32(steps)
