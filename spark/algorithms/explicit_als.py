"""ALS for explicit ratings (Zhou, Wilkinson, Schreiber and Pan 2008): predicts what a user would rate.

A good predictor of ratings is not a good ranker: what a user would rate highly is often what nobody chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spark.algorithms.als.training import Objective, train_and_save
from spark.algorithms.factor_model import FactorScorer, load_factors
from spark.algorithms.mllib_als import fit_factors
from spark.algorithms.saved_model import model_info
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import USER, load_csr


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Trains on the ratings."""
    mean = float(np.mean(load_csr(training.blocks, USER).data, dtype=np.float64))
    facts = {"mean": mean, "rating_range": training.rating_range}
    if settings["engine"] == "mllib":
        fit_factors(training.dataframe.select("user", "track", "value"), training.count, settings, into, implicit=False)
        return facts
    wanted = Objective(
        settings["rank"], settings["reg_param"], settings["reg_exponent"], "rating",
        biases=settings["biases"], mean=mean if settings["biases"] else 0.0,
    )  # fmt: skip
    train_and_save(training, wanted, settings, into, report)
    return facts | {"objective": asdict(wanted)}


def load(model: Path) -> FactorScorer:
    """Opens a saved model."""
    label = model_info(model)
    low, high = label["rating_range"]
    rank = label.get("objective", {}).get("rank")
    return load_factors(model, rank=rank, predicts_ratings=True, mean=label["mean"], rating_range=(low, high))
