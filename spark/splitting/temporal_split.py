"""Parts by time: the latest interactions of all, or the last of each user, are held back."""

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
"""A part of each row: 0 training, 1 validation, 2 test."""

_NEVER = np.iinfo(np.int64).min
"""Stands for the time that a row does not have: before all others."""


def cut_times(
    spark: SparkSession, files: Sequence[Path], validation_fraction: float, test_fraction: float, scratch: Path
) -> tuple[int, int]:
    """The times at which the validation part and the test part begin, exactly.

    Each file's times are sorted by a task of its own, into a flat file that is mapped here: nothing large is in memory.

    Args:
        files: Parquet with times, a time in at least one of them.
        validation_fraction, test_fraction: shares of the interactions that have a time.
        scratch: a directory to be made, at a path that every worker can write; it is removed again.
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


def find_cut_time(times: Sequence[Times], wanted: int) -> int:
    """The latest time from which on there are at least `wanted`, or else the first of all; by bisection.

    All of one time come after the cut together, so there may be more.

    Args:
        times: in ascending order, several times over; not all empty.
    """
    low = min(int(some[0]) for some in times if len(some))
    high = max(int(some[-1]) for some in times if len(some))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_since(times, middle) >= wanted else (low, middle - 1)
    return low


def count_since(times: Sequence[Times], start: int) -> int:
    """How many there are from a time on, in arrays in ascending order."""
    return sum(len(some) - int(np.searchsorted(some, start)) for some in times)


def split_at_times(validation_from: int, test_from: int, interactions: pa.Table) -> PartCodes:
    """The part of each row by its time; those without one are in training."""
    times = _times(interactions)
    return np.add(times >= validation_from, times >= test_from, dtype=np.int8)


def leave_last_n(last_n: int, interactions: pa.Table) -> PartCodes:
    """The part of each row: a user's last n are in the test part, the n before in the validation part.

    A user's first interaction is in training whatever n is. So who has two, with n = 1, has one in training and one in
    the test part. Of one time, the larger track is the later. Rows without a time are in training.

    Args:
        interactions: sorted by user and track, all of a user.
    """
    users, times = interactions[Columns.USER].to_numpy(), _times(interactions)
    order = np.lexsort((times, users))  # stable: at one time, by track as before
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(starts, append=len(users))
    later = np.repeat(starts + sizes, sizes) - 1 - np.arange(len(users))
    in_order = np.add(later < last_n, later < 2 * last_n, dtype=np.int8)
    in_order[starts] = 0
    parts = np.empty_like(in_order)
    parts[order] = in_order
    parts[times == _NEVER] = 0
    return parts


def _times(interactions: pa.Table) -> Times:
    return np.asarray(interactions[Columns.TIME].fill_null(_NEVER).to_numpy(), np.int64)
