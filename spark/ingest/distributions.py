"""Distributions of values, times and counts of interactions."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from config.dataset import Interactions
from spark.ingest.time_window import format_time
from spark.runtime.worker_tasks import run_tasks
from spark.storage.tables import Columns

RATING_BINS = 8
_DECIMALS = 3
"""Values are rounded to this many decimals before they are counted; sums use exact values."""


@dataclass(frozen=True)
class ValueCounts:
    """Distinct values of interactions with their counts, sums of the values, and the span of the times."""

    values: NDArray[np.float64]
    """Ascending, rounded to `_DECIMALS`."""
    counts: NDArray[np.int64]
    sum: float
    sum_of_squares: float
    min: float
    max: float
    first: int | None
    """The first time; None if the data has no times."""
    last: int | None
    future: int
    """Interactions dated in the future."""

    @classmethod
    def of(cls, spark: SparkSession, interactions: Path) -> ValueCounts:
        """Read value and time of all interactions, one task for each file."""
        files = sorted(interactions.glob("*.parquet"))
        parts = run_tasks(spark, partial(_count_file, now=int(time.time())), files)
        values, positions = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
        return cls(
            values=values,
            counts=np.bincount(positions, np.concatenate([part.counts for part in parts])).astype(np.int64),
            sum=math.fsum(part.sum for part in parts),
            sum_of_squares=math.fsum(part.sum_of_squares for part in parts),
            min=min(part.min for part in parts),
            max=max(part.max for part in parts),
            first=min((part.first for part in parts if part.first is not None), default=None),
            last=max((part.last for part in parts if part.last is not None), default=None),
            future=sum(part.future for part in parts),
        )

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return self.sum / int(self.counts.sum())

    @property
    def deviation(self) -> float:
        """Population standard deviation of the values."""
        return math.sqrt(max(self.sum_of_squares / int(self.counts.sum()) - self.mean**2, 0.0))

    @property
    def times(self) -> dict[str, str] | None:
        """The first and the last time as text; None if the data has no times."""
        if self.first is None or self.last is None:
            return None
        return {"first": format_time(self.first), "last": format_time(self.last)}

    @property
    def commonest(self) -> tuple[float, int]:
        """The most frequent value and its count."""
        position = int(self.counts.argmax())
        return float(self.values[position]), int(self.counts[position])

    def distribution(self, description: Interactions) -> dict[str, Any]:
        """Return mean, standard deviation, minimum, maximum, quartiles and histogram.

        Ratings are binned into eight bins of equal width, plays into bins that double in width. A quartile is the
        smallest value that covers at least that share of the interactions.
        """
        if description.rating_range is not None:
            low, high = description.rating_range
            width = (high - low) / RATING_BINS
            bins = np.minimum(np.floor((self.values - low) / width), RATING_BINS - 1).astype(int)
            edges = {int(b): (low + b * width, low + (b + 1) * width) for b in np.unique(bins)}
        else:
            bins = np.floor(np.log2(np.maximum(self.values, 10.0**-_DECIMALS))).astype(int)
            edges = {int(b): (2.0**b, 2.0 ** (b + 1)) for b in np.unique(bins)}
        cumulative = np.cumsum(self.counts)
        quartiles = self.values[np.searchsorted(cumulative, np.array([0.25, 0.5, 0.75]) * cumulative[-1])]
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "min": self.min,
            "max": self.max,
            "quartiles": quartiles.tolist(),
            "histogram": [
                {"from": edge[0], "to": edge[1], "count": int(self.counts[bins == b].sum())}
                for b, edge in edges.items()
            ],
        }


def _count_file(file: Path, now: int) -> ValueCounts:
    table = pq.read_table(file, columns=[Columns.VALUE, Columns.TIME])
    value, times = table[Columns.VALUE].to_numpy(), table[Columns.TIME]
    values, counts = np.unique(np.round(value, _DECIMALS), return_counts=True)
    return ValueCounts(
        values,
        counts,
        sum=float(value.sum()),
        sum_of_squares=float(value @ value),
        min=float(value.min(initial=np.inf)),
        max=float(value.max(initial=-np.inf)),
        first=pc.min(times).as_py(),
        last=pc.max(times).as_py(),
        future=pc.sum(pc.greater(times, now)).as_py() or 0,
    )


def count_distribution(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return mean, minimum, maximum, quartiles and histogram of the interactions per user or track.

    Bins double in width; the first holds users or tracks without interactions.
    """
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
