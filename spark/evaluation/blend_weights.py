"""Learns the weights of a hybrid, whose parts are trained on the training part alone, on the validation part.

All weights on a grid are tried, that add up to 1: the models are few, and the metric is no smooth function of them.
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

_MOST = 70
"""Sets of weights that are tried, about."""


@dataclass(frozen=True)
class BlendResult:
    """What was found."""

    weights: dict[str, float]
    ndcg: float
    """Of the best weights, on the validation part."""
    alone: dict[str, float]
    """Of each part by itself."""
    left_out: dict[str, str]
    """Why a part cannot learn from this data."""


def learn_weights(
    training: TrainingData,
    parts: Mapping[str, Mapping[str, Any]],
    validation: Path,
    liked_from: float | None,
    into: Path,
    report: ProgressReport,
) -> BlendResult:
    """Finds the weights with the highest mean NDCG.

    Args:
        training: the training part.
        parts: the settings of each model.
        validation: Parquet of the validation part.
        liked_from: the rating from which a track is relevant; None: all are.
        into: a directory that every worker can write; the parts' models will be in it.

    Raises:
        NotApplicable: fewer than two parts can learn from this data, or nothing in the validation part is relevant.
    """
    left_out: dict[str, str] = {}
    for place, (name, settings) in enumerate(parts.items()):
        report(f"training {name}", place / (len(parts) + 1))
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
    found = dict(zip(models, np.round(grid[best].astype(float), 3).tolist(), strict=True))
    alone = {name: float(ndcg[np.argmax(grid[:, place])]) for place, name in enumerate(models)}
    return BlendResult(found, float(ndcg[best]), alone, left_out)


def weight_grid(parts: int) -> Weights:
    """All weights of so many parts that add up to 1, in equal steps, about `_MOST` at most; shape (sets, parts)."""
    steps = max(steps for steps in range(1, 21) if steps == 1 or math.comb(steps + parts - 1, parts - 1) <= _MOST)
    sets = [each for each in itertools.product(range(steps + 1), repeat=parts) if sum(each) == steps]
    return np.array(sets, np.float32) / np.float32(steps)
