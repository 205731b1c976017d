"""Spark MLlib's ALS, as a reference for the project's own engine.

It always scales λ by the number of interactions of each user and track (Zhou et al. 2008), which is `reg_exponent` = 1,
and has no biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame

_ROWS_PER_BLOCK = 250_000


def fit_factors(ratings: DataFrame, count: int, settings: Mapping[str, Any], into: Path, *, implicit: bool) -> None:
    """Train on `count` rows with the columns user, track, value, and save an `ALSModel` at `into`."""
    num_blocks = min(64, max(2, count // _ROWS_PER_BLOCK))  # depends on the data alone, because it changes the result
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
        numUserBlocks=num_blocks,
        numItemBlocks=num_blocks,
    ).fit(ratings)
    model.write().save(str(into))
