"""Parts by time: hold out the latest of all interactions, or the latest of each user."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import memory_map
from spark.storage.tables import Columns, write_atomically

Times = NDArray[np.int64]
PartCodes = NDArray[np.int8]
"""The part of each row: 0 training, 1 validation, 2 test."""

_NO_TIME = np.iinfo(np.int64).min
"""Replaces a missing time; it sorts before all others."""


def cut_times(
    spark: SparkSession, files: Sequence[Path], validation_fraction: float, test_fraction: float, scratch: Path
) -> tuple[int, int]:
    """Return the exact times at which the validation part and the test part begin.

    One task per file sorts its times into a flat file, which is then mapped: memory does not grow with the data.

    Args:
        files: Parquet with times; at least one row has a time.
        validation_fraction, test_fraction: shares of the interactions that have a time.
        scratch: a temporary directory to create, at a path that every worker can write.
    """
    scratch.mkdir()

    def sort(file: Path) -> None:
        times = pq.read_table(file, columns=[Columns.TIME])[Columns.TIME].drop_null().to_numpy()
        write_atomically(scratch / file.stem, np.sort(times).tofile)

    run_tasks(spark, sort, files)
    times = [memory_map(scratch / file.stem, np.int64) for file in files]
    total = sum(map(len, times))
    test_from = find_cut_time(times, round(test_fraction * total))
    validation_from = find_cut_time(times, count_since(times, test_from) + round(validation_fraction * total))
    shutil.rmtree(scratch)
    return validation_from, test_from


def find_cut_time(sorted_times: Sequence[Times], count: int) -> int:
    """Return the latest time since which there are at least `count` interactions, by bisection; else the first time.

    Interactions with the same time stay together, so there may be more.

    Args:
        sorted_times: arrays in ascending order, not all empty.
    """
    low = min(int(times[0]) for times in sorted_times if len(times))
    high = max(int(times[-1]) for times in sorted_times if len(times))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_since(sorted_times, middle) >= count else (low, middle - 1)
    return low


def count_since(sorted_times: Sequence[Times], start: int) -> int:
    """Return the number of times that are not before `start`, in arrays in ascending order."""
    return sum(len(times) - int(np.searchsorted(times, start)) for times in sorted_times)


def split_at_times(validation_from: int, test_from: int, interactions: pa.Table) -> PartCodes:
    """Return the part of each row by its time; rows without a time are in training."""
    times = _times(interactions)
    return np.add(times >= validation_from, times >= test_from, dtype=np.int8)


def leave_last_n(last_n: int, interactions: pa.Table) -> PartCodes:
    """Return the part of each row: a user's last n are in the test part, the n before them in the validation part.

    A user's first interaction is always in training, so with n = 1 a user with two interactions has none for
    validation. Of equal times, the larger track index is the later. Rows without a time are in training.

    Args:
        interactions: all interactions of each user, sorted by user and track.
    """
    users, times = interactions[Columns.USER].to_numpy(), _times(interactions)
    order = np.lexsort((times, users))  # stable: equal times stay sorted by track
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(starts, append=len(users))
    newer = np.repeat(starts + sizes, sizes) - 1 - np.arange(len(users))  # newer interactions of the same user
    sorted_parts = np.add(newer < last_n, newer < 2 * last_n, dtype=np.int8)
    sorted_parts[starts] = 0
    parts = np.empty_like(sorted_parts)
    parts[order] = sorted_parts
    parts[times == _NO_TIME] = 0
    return parts


def _times(interactions: pa.Table) -> Times:
    return np.asarray(interactions[Columns.TIME].fill_null(_NO_TIME).to_numpy(), np.int64)
