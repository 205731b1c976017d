"""Spark MLlib's alternating least squares: the reference that ours is compared with.

It scales λ by the number of interactions of each user and track (Zhou et al. 2008): `reg_exponent` 1 in the project's
objective. It has no biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame

_ROWS_PER_BLOCK = 250_000


def fit_factors(ratings: DataFrame, count: int, settings: Mapping[str, Any], into: Path, *, implicit: bool) -> None:
    """Trains on `ratings` (user, track, value), `count` of them, and saves an ordinary `ALSModel` at `into`."""
    blocks = min(64, max(2, count // _ROWS_PER_BLOCK))  # from the data alone: the result depends on it
    model = ALS(
        userCol="user",
        itemCol="track",
        ratingCol="value",
        rank=settings["rank"],
        maxIter=settings["max_iter"],
        regParam=settings["reg_param"],
        alpha=settings.get("alpha", 1.0),
        seed=settings["seed"],
        implicitPrefs=implicit,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
    ).fit(ratings)
    model.write().save(str(into))
