"""What a measurement comes to: means over users, how sure they are, the same by segment, and how lists are spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from common.errors import UserError
from spark.evaluation.beyond_accuracy import PER_LIST, gini
from spark.evaluation.bootstrap_intervals import (
    Interval,
    mean_terms,
    percentile_interval,
    resample_batches,
    resampled_ratios,
)
from spark.evaluation.ranking_metrics import CUTOFFS, METRICS, curves
from spark.evaluation.user_segments import Segments, segment_users

PER_USER = [f"{metric}@{k}" for k in CUTOFFS for metric in (*METRICS, *PER_LIST)]
"""Columns of the measurement: metrics that each user has a value of."""

BY_SEGMENT = ("ndcg@10", "recall@20")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class MetricSummary:
    """The figures of a model. What does not apply is absent."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    """Of metrics that are means over users, and of the errors."""
    segments: dict[str, dict[str, dict[str, Any]]]
    """By what users are parted, and the group's name: `users`, and `metrics` and `intervals` of `BY_SEGMENT`."""
    curves: dict[str, list[float]]
    """Metrics at lists of 1, 2, … tracks."""


def summarize_metrics(measured: Path, users: Path, num_tracks: int) -> MetricSummary:
    """The figures over the users to whom something is relevant, and the errors over all held-out ratings.

    Args:
        measured: the Parquet that `evaluate` wrote.
        users: the Parquet of all users that Ingest wrote.

    Raises:
        UserError: no user has a relevant track in the test part.
    """
    table = ds.dataset(sorted(measured.glob("*.parquet"))).to_table()
    ranked = table.filter(pc.greater(table["relevant"], 0))
    if ranked.num_rows == 0:
        raise UserError(
            "No user has a relevant track in the test part: raise [split] test_fraction, or bring more data."
        )
    heard = ranked["heard"].to_numpy()
    values = {name: _values(ranked, name) for name in PER_USER if ranked[name].null_count < len(ranked)}
    values["cold_users"] = (heard == 0).astype(np.float64)
    metrics = {name: float(np.nanmean(column)) for name, column in values.items()}
    groups = segment_users(ranked["user"].to_numpy(), heard, users)
    found = iter(_intervals(values, groups))
    intervals = dict(zip(values, found, strict=False))
    by_segment = {
        kind: {
            name: _of_segment(values, groups[kind].codes == place, found)
            for place, name in enumerate(groups[kind].names)
        }
        for kind in groups
    }
    errors, error_intervals = _errors(table)
    by_length = curves(ranked["hits"].to_numpy(), ranked["relevant"].to_numpy(), max(CUTOFFS))
    return MetricSummary(
        metrics | _spread(ranked, num_tracks) | errors, intervals | error_intervals, by_segment, by_length
    )


def _values(table: pa.Table, name: str) -> Values:
    """A column, NaN for null."""
    column: Values = pc.fill_null(table[name], np.nan).to_numpy()
    return column


def _intervals(values: dict[str, Values], groups: dict[str, Segments]) -> list[Interval]:
    """First that of each column, then of `BY_SEGMENT` for each group of each kind, all from the same resamples."""
    columns = np.column_stack(list(values.values()))
    chosen = [list(values).index(name) for name in BY_SEGMENT]

    def wide() -> Iterator[Values]:
        start = 0
        for block in resample_batches(columns):
            parts = [block]
            for kind in groups.values():
                codes = kind.codes[start : start + len(block), None]
                parts += [np.where(codes == place, block[:, chosen], np.nan) for place in range(len(kind.names))]
            start += len(block)
            yield np.hstack(parts)

    return [percentile_interval(ratios) for ratios in resampled_ratios(map(mean_terms, wide())).T]


def _of_segment(values: dict[str, Values], mine: NDArray[np.bool_], found: Iterator[Interval]) -> dict[str, Any]:
    """What is reported of a group of users; takes its intervals off `found`."""
    return {
        "users": int(mine.sum()),
        "metrics": {name: float(np.mean(values[name][mine])) for name in BY_SEGMENT},
        "intervals": {name: next(found) for name in BY_SEGMENT},
    }


def _spread(ranked: pa.Table, num_tracks: int) -> dict[str, float]:
    """How the recommendations are spread over the catalogue: `coverage@k` and `gini@k`."""
    lists = ranked["top"].combine_chunks()
    lengths, tracks = lists.value_lengths().to_numpy(), lists.flatten().to_numpy()
    places = np.arange(len(tracks)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    spread: dict[str, float] = {}
    for k in CUTOFFS:
        counts = np.bincount(tracks[places < k], minlength=num_tracks)
        spread[f"coverage@{k}"] = float(np.count_nonzero(counts)) / num_tracks
        if counts.any():
            spread[f"gini@{k}"] = gini(counts)
    return spread


def _errors(table: pa.Table) -> tuple[dict[str, float], dict[str, Interval]]:
    """RMSE and MAE over all held-out ratings, and their intervals; nothing where no rating was predicted."""
    upper = np.column_stack([table[name].to_numpy() for name in ("squared_error", "absolute_error")])
    rated = table["rated"].to_numpy().astype(np.float64)
    if not rated.any():
        return {}, {}
    lower = np.column_stack([rated, rated])
    squared, absolute = upper.sum(axis=0) / rated.sum()
    found = resampled_ratios(zip(resample_batches(upper), resample_batches(lower), strict=True))
    intervals = {"rmse": percentile_interval(np.sqrt(found[:, 0])), "mae": percentile_interval(found[:, 1])}
    return {"rmse": float(squared**0.5), "mae": float(absolute)}, intervals
