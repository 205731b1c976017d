"""Describes the interactions: how many, how sparse, how distributed, and whether they are fit to learn from."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from config.dataset import Dataset, Interactions
from spark.ingest.data_checks import DataFacts, run_checks
from spark.ingest.raw_to_parquet import IngestCounts
from spark.ingest.time_window import format_time
from spark.runtime.worker_tasks import run_tasks
from spark.storage.tables import Columns

RATING_BINS = 8
_DIGITS = 3
"""Values are counted as they are to so many digits; sums are exact."""


def profile_interactions(
    spark: SparkSession, ingested: Path, dataset: Dataset, counted: IngestCounts
) -> dict[str, Any]:
    """What is published as `profile.json`: counts, sparsity, distributions, the fate of the rows, and checks.

    Args:
        ingested: a directory with `interactions`, `users`, `tracks`.
        counted: what became of the raw rows.
    """
    about = dataset.interactions
    per_user, per_track = _column(ingested / "users", "interactions"), _column(ingested / "tracks", "popularity")
    values = ValueCounts.of(spark, ingested / "interactions")
    return {
        "feedback": about.feedback,
        "users": len(per_user),
        "tracks": len(per_track),
        "interactions": counted.interactions,
        "sparsity": 1.0 - counted.interactions / (len(per_user) * len(per_track)),
        "value": values.distribution(about),
        "times": values.times,
        "per_user": count_distribution(per_user),
        "per_track": count_distribution(per_track),
        "rows": {
            "read": counted.read,
            "kept": counted.interactions,
            "merged": counted.merged,
            "rejected": sum(counted.rejected.values()),
            "outside": counted.outside,
        },
        "window": counted.window.described,
        "rejected_by_reason": counted.rejected,
        "reject_examples": counted.examples,
        "checks": run_checks(
            DataFacts(
                rows=counted.read,
                per_user=per_user,
                per_track=per_track,
                without_entry=_without_entry(ingested / "tracks") if dataset.tracks is not None else None,
                unusable=counted.unusable,
                is_rating=about.feedback == "rating",
                commonest=values.commonest,
                distinct_values=len(values.counts),
                future=values.future,
            )
        ),
    }


@dataclass(frozen=True)
class ValueCounts:
    """The values and times of some interactions, equal values together."""

    values: NDArray[np.float64]
    """Ascending, to `_DIGITS` digits after the point."""
    counts: NDArray[np.int64]
    sum: float
    squares: float
    """The sum of the squares."""
    least: float
    most: float
    first: int | None
    """The first time; None where the data has no times."""
    last: int | None
    future: int
    """Interactions of later than now."""

    @classmethod
    def of(cls, spark: SparkSession, interactions: Path) -> ValueCounts:
        """Looks at value and time of every interaction, each file in a task of its own."""
        files = sorted(interactions.glob("*.parquet"))
        seen = run_tasks(spark, partial(_seen, now=int(time.time())), files)
        values, places = np.unique(np.concatenate([each.values for each in seen]), return_inverse=True)
        return cls(
            values=values,
            counts=np.bincount(places, np.concatenate([each.counts for each in seen])).astype(np.int64),
            sum=math.fsum(each.sum for each in seen),
            squares=math.fsum(each.squares for each in seen),
            least=min(each.least for each in seen),
            most=max(each.most for each in seen),
            first=min((each.first for each in seen if each.first is not None), default=None),
            last=max((each.last for each in seen if each.last is not None), default=None),
            future=sum(each.future for each in seen),
        )

    @property
    def mean(self) -> float:
        """Of the values."""
        return self.sum / int(self.counts.sum())

    @property
    def deviation(self) -> float:
        """Standard deviation of the population."""
        return math.sqrt(max(self.squares / int(self.counts.sum()) - self.mean**2, 0.0))

    @property
    def times(self) -> dict[str, str] | None:
        """The first and the last; None where the data has no times."""
        if self.first is None or self.last is None:
            return None
        return {"first": format_time(self.first), "last": format_time(self.last)}

    @property
    def commonest(self) -> tuple[float, int]:
        """The commonest value, and how often it occurs."""
        place = int(self.counts.argmax())
        return float(self.values[place]), int(self.counts[place])

    def distribution(self, about: Interactions) -> dict[str, Any]:
        """Mean, standard deviation, extremes, quartiles and histogram.

        Ratings fall into eight bins of equal width, plays into bins that double. A quartile is the least value that
        at least so many quarters of the interactions do not exceed.
        """
        if about.rating_range is not None:
            low, high = about.rating_range
            width = (high - low) / RATING_BINS
            bins = np.minimum(np.floor((self.values - low) / width), RATING_BINS - 1).astype(int)
            edges = {int(b): (low + b * width, low + (b + 1) * width) for b in np.unique(bins)}
        else:
            bins = np.floor(np.log2(np.maximum(self.values, 10.0**-_DIGITS))).astype(int)
            edges = {int(b): (2.0**b, 2.0 ** (b + 1)) for b in np.unique(bins)}
        reached = np.cumsum(self.counts)
        quartiles = self.values[np.searchsorted(reached, np.array([0.25, 0.5, 0.75]) * reached[-1])]
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "min": self.least,
            "max": self.most,
            "quartiles": quartiles.tolist(),
            "histogram": [
                {"from": edge[0], "to": edge[1], "count": int(self.counts[bins == b].sum())}
                for b, edge in edges.items()
            ],
        }


def _seen(file: Path, now: int) -> ValueCounts:
    """The same of one file."""
    table = pq.read_table(file, columns=[Columns.VALUE, Columns.TIME])
    value, times = table[Columns.VALUE].to_numpy(), table[Columns.TIME]
    values, counts = np.unique(np.round(value, _DIGITS), return_counts=True)
    return ValueCounts(
        values,
        counts,
        sum=float(value.sum()),
        squares=float(value @ value),
        least=float(value.min(initial=np.inf)),
        most=float(value.max(initial=-np.inf)),
        first=pc.min(times).as_py(),
        last=pc.max(times).as_py(),
        future=pc.sum(pc.greater(times, now)).as_py() or 0,
    )


def count_distribution(counts: NDArray[np.int64]) -> dict[str, Any]:
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


def _without_entry(tracks: Path) -> int:
    """Tracks that were heard and that no row of the catalogue describes."""
    heard, described = pc.field("popularity") > 0, pc.field(Columns.ROWS).is_valid()
    return int(ds.dataset(tracks).count_rows(filter=heard & ~described))


def _column(parquet: Path, name: str) -> NDArray[np.int64]:
    return np.asarray(ds.dataset(parquet).to_table(columns=[name])[name])
