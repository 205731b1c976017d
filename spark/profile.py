"""Describes the interactions: how many, how sparse, and how values, users and tracks are distributed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from config.dataset import Interactions
from spark.schemas import Columns

RATING_BINS = 8


def profile(interactions: DataFrame, users: Path, tracks: Path, about: Interactions) -> dict[str, Any]:
    """Counts, sparsity, and the distributions of the value and of interactions per user and per track."""
    per_user = _column(users, "interactions")
    per_track = _column(tracks, "popularity")
    count = int(per_user.sum())
    return {
        "feedback": about.feedback,
        "users": len(per_user),
        "tracks": len(per_track),
        "interactions": count,
        "sparsity": 1.0 - count / (len(per_user) * len(per_track)),
        "value": value_distribution(interactions, about),
        "per_user": count_distribution(per_user),
        "per_track": count_distribution(per_track),
    }


def value_distribution(interactions: DataFrame, about: Interactions) -> dict[str, Any]:
    """Mean, standard deviation, extremes, quartiles and histogram of the value.

    Ratings fall into eight bins of equal width, plays into bins that double.
    """
    value = F.col(Columns.VALUE)
    summary = interactions.agg(
        F.mean(value),
        F.stddev_pop(value),
        F.min(value),
        F.max(value),
        F.percentile_approx(value, [0.25, 0.5, 0.75]),
    ).first()
    assert summary is not None
    if about.rating_range is not None:
        low, high = about.rating_range
        width = (high - low) / RATING_BINS
        number = F.least(F.floor((value - low) / width), F.lit(RATING_BINS - 1))
    else:
        number = F.floor(F.log2(value))
    counts = sorted(interactions.groupBy(number.cast("int").alias("bin")).count().collect())

    def edge(bin_number: int) -> float:
        return low + bin_number * width if about.rating_range is not None else 2.0**bin_number

    histogram = [{"from": edge(b), "to": edge(b + 1), "count": n} for b, n in counts]
    mean, deviation, least, most, quartiles = summary
    return {
        "mean": mean,
        "deviation": deviation,
        "min": least,
        "max": most,
        "quartiles": quartiles,
        "histogram": histogram,
    }


def count_distribution(counts: np.ndarray) -> dict[str, Any]:
    """The same of a count per user or track; bins double, and those with none come first."""
    bins = np.where(counts > 0, np.floor(np.log2(np.maximum(counts, 1))), -1).astype(int)
    numbers, sizes = np.unique(bins, return_counts=True)
    return {
        "mean": float(counts.mean()),
        "min": int(counts.min()),
        "max": int(counts.max()),
        "quartiles": [float(q) for q in np.quantile(counts, [0.25, 0.5, 0.75])],
        "histogram": [
            {"from": math.floor(2.0**b), "to": math.floor(2.0 ** (b + 1)), "count": n}
            for b, n in zip(numbers.tolist(), sizes.tolist(), strict=True)
        ],
    }


def _column(parquet: Path, name: str) -> np.ndarray:
    return np.asarray(ds.dataset(parquet).to_table(columns=[name])[name])
