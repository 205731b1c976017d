"""ALS for explicit ratings (Zhou, Wilkinson, Schreiber and Pan 2008): predicts a user's rating of a track.

Accurate rating predictions do not imply good rankings: the tracks with the highest predicted ratings are rarely heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spark.algorithms.als.half_iteration import Objective
from spark.algorithms.als.training import train_and_save
from spark.algorithms.factor_model import FactorScorer, load_factors
from spark.algorithms.mllib_als import fit_factors
from spark.algorithms.saved_model import model_info
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import USER, load_csr


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Train; return the mean and range of the ratings, and the objective."""
    mean = float(np.mean(load_csr(training.matrix, USER).data, dtype=np.float64))
    info = {"mean": mean, "rating_range": training.rating_range}
    if settings["engine"] == "mllib":
        ratings = training.dataframe.select("user", "track", "value")
        fit_factors(ratings, training.count, settings, into, implicit=False)
        return info
    objective = Objective(
        settings["rank"], settings["reg_param"], settings["reg_exponent"], "rating",
        biases=settings["biases"], mean=mean if settings["biases"] else 0.0,
    )  # fmt: skip
    train_and_save(training, objective, settings, into, report)
    return info | {"objective": asdict(objective)}


def load(model: Path) -> FactorScorer:
    """Open a saved model."""
    info = model_info(model)
    low, high = info["rating_range"]
    rank = info.get("objective", {}).get("rank")
    return load_factors(model, rank=rank, predicts_ratings=True, mean=info["mean"], rating_range=(low, high))
