"""ALS for implicit feedback (Hu, Koren and Volinsky 2008): that a track was heard is the preference.

The value does not weigh in: on Last.fm, how often somebody played an artist makes the ranking worse than whether
they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from spark.algorithms import Training
from spark.algorithms.mllib import FactorScorer, fit_factors, load_factors


def fit(training: Training, settings: Mapping[str, Any], into: Path) -> dict[str, Any]:
    """Trains on who heard what."""
    heard = training.interactions.select("user", "track", F.lit(1.0).alias("value"))
    fit_factors(training, heard, settings, into, implicit=True)
    return {}


def load(model: Path) -> FactorScorer:
    """Opens a saved model."""
    return load_factors(model)
