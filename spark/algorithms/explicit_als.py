"""ALS for explicit ratings (Zhou, Wilkinson, Schreiber and Pan 2008): predicts what a user would rate.

A good predictor of ratings is not a good ranker: what a user would rate highly is often what nobody chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from spark.algorithms import Training, label_of
from spark.algorithms.mllib import FactorScorer, fit_factors, load_factors


def fit(training: Training, settings: Mapping[str, Any], into: Path) -> dict[str, Any]:
    """Trains on the ratings."""
    fit_factors(training, training.interactions, settings, into, implicit=False)
    mean = training.interactions.agg(F.mean("value")).first()
    assert mean is not None
    return {"mean": mean[0], "rating_range": training.rating_range}


def load(model: Path) -> FactorScorer:
    """Opens a saved model."""
    label = label_of(model)
    low, high = label["rating_range"]
    return load_factors(model, predicts_ratings=True, mean=label["mean"], rating_range=(low, high))
