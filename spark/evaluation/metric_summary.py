"""Summarise an evaluation: means over users, their intervals, means by user segment, and exposure of the catalogue."""

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
from config.metrics import CUTOFFS, reported_names
from spark.evaluation.bootstrap_intervals import (
    Interval,
    mean_terms,
    percentile_interval,
    resample_batches,
    resampled_ratios,
)
from spark.evaluation.metric_functions import compute_metrics, functions_of
from spark.evaluation.ranking_metrics import curves
from spark.evaluation.user_segments import Segments, segment_users

BY_SEGMENT = ("ndcg@10", "recall@20")
"""Metrics that are reported for each segment of users."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class MetricSummary:
    """The figures of a model. Metrics that do not apply are absent."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    """Of the metrics whose entry in `config.metrics` has an interval."""
    segments: dict[str, dict[str, dict[str, Any]]]
    """By attribute and segment: `users`, and `metrics` and `intervals` of `BY_SEGMENT`."""
    curves: dict[str, list[float]]
    """Metrics at list lengths 1, 2, …"""


def summarize_metrics(evaluated: Path, users: Path, num_tracks: int) -> MetricSummary:
    """Summarise metrics of lists over the users with a relevant track, and errors over all held-out ratings.

    Args:
        evaluated: the Parquet that `evaluate` writes.
        users: the Parquet of all users that Ingest writes.

    Raises:
        UserError: no user has a relevant track in the test part.
    """
    table = ds.dataset(sorted(evaluated.glob("*.parquet"))).to_table()
    ranked = table.filter(pc.greater(table["relevant"], 0))
    if ranked.num_rows == 0:
        raise UserError("No user has a relevant track in the test part: raise [split] test_fraction, or add data.")
    training_counts = ranked["heard"].to_numpy()
    names = reported_names("hits", "lists")
    values = {name: _to_numpy(ranked[name]) for name in names if ranked[name].null_count < len(ranked)}
    values |= compute_metrics("history", training_counts)
    groups = segment_users(ranked["user"].to_numpy(), training_counts, users)
    intervals = iter(_mean_intervals(values, groups))
    means = {name: float(np.nanmean(column)) for name, column in values.items()}
    mean_intervals = {name: next(intervals) for name in values}
    segments = {
        attribute: {
            name: _summarize_segment(values, segment.codes == code, intervals)
            for code, name in enumerate(segment.names)
        }
        for attribute, segment in groups.items()
    }
    errors, error_intervals = _summarize_errors(table)
    return MetricSummary(
        metrics=means | _summarize_exposure(ranked, num_tracks) | errors,
        intervals=mean_intervals | error_intervals,
        segments=segments,
        curves=curves(ranked["hits"].to_numpy(), ranked["relevant"].to_numpy(), max(CUTOFFS)),
    )


def _to_numpy(column: pa.ChunkedArray) -> Values:
    """Convert a column to an array, null to NaN."""
    values: Values = pc.fill_null(column, np.nan).to_numpy()
    return values


def _mean_intervals(values: dict[str, Values], groups: dict[str, Segments]) -> list[Interval]:
    """Return the interval of each column, then those of `BY_SEGMENT` for each segment, all from the same resamples."""
    columns = np.column_stack(list(values.values()))
    by_segment = [list(values).index(name) for name in BY_SEGMENT]

    def batches() -> Iterator[Values]:
        start = 0
        for batch in resample_batches(columns):
            parts = [batch]
            for segment in groups.values():
                codes = segment.codes[start : start + len(batch), None]
                parts += [np.where(codes == code, batch[:, by_segment], np.nan) for code in range(len(segment.names))]
            start += len(batch)
            yield np.hstack(parts)

    return [percentile_interval(means) for means in resampled_ratios(map(mean_terms, batches())).T]


def _summarize_segment(
    values: dict[str, Values], members: NDArray[np.bool_], intervals: Iterator[Interval]
) -> dict[str, Any]:
    """Return the figures of a segment; its intervals are the next ones of the iterator."""
    return {
        "users": int(members.sum()),
        "metrics": {name: float(np.mean(values[name][members])) for name in BY_SEGMENT},
        "intervals": {name: next(intervals) for name in BY_SEGMENT},
    }


def _summarize_exposure(ranked: pa.Table, num_tracks: int) -> dict[str, float]:
    """Return the metrics of how often each track is recommended; undefined ones are absent."""
    lists = ranked["top"].combine_chunks()
    lengths, tracks = lists.value_lengths().to_numpy(), lists.flatten().to_numpy()
    positions = np.arange(len(tracks)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    exposure: dict[str, float] = {}
    for k in CUTOFFS:
        counts = np.bincount(tracks[positions < k], minlength=num_tracks)
        exposure |= {f"{name}@{k}": value for name, value in compute_metrics("exposure", counts).items()}
    return {name: value for name, value in exposure.items() if not np.isnan(value)}


def loss_column(metric: str) -> str:
    """Return the name of the column with the sum of a rating error's losses over each user's ratings."""
    return f"{metric}_loss"


def _summarize_errors(table: pa.Table) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return the errors over all held-out ratings, and their intervals; empty if no rating was predicted."""
    errors = functions_of("ratings")
    losses = np.column_stack([table[loss_column(name)].to_numpy() for name in errors])
    rated = table["rated"].to_numpy().astype(np.float64)
    if not rated.any():
        return {}, {}
    counts = np.column_stack([rated] * len(errors))
    mean_losses = losses.sum(axis=0) / rated.sum()
    resampled = resampled_ratios(zip(resample_batches(losses), resample_batches(counts), strict=True))
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for column, (name, error) in enumerate(errors.items()):
        metrics[name] = float(error.from_mean_loss(mean_losses[column]))
        intervals[name] = percentile_interval(error.from_mean_loss(resampled[:, column]))
    return metrics, intervals
