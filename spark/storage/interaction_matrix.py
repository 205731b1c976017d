"""Interactions as a sparse matrix in compressed rows (CSR), by user and by track, in files mapped into memory.

    matrix/user/indptr    int64, rows + 1: where the entries of each row begin
                indices   int32, one for each entry: the track, ascending within a row
                data      float32, one for each entry
    matrix/track/…         the transpose: rows are tracks, columns are users

Each task writes its own rows at their offset in the files: the bytes do not depend on how work is split into tasks, and
Spark may repeat a task. The matrix of a training set is written once and serves every candidate.

Cost: 8 bytes for each entry and orientation on disk, and 12 more for each entry while the transpose is written. No
entries pass through the JVM or the driver.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark.runtime.worker_tasks import run_tasks
from spark.storage.arrow_files import partition_by_range, range_bounds, read_range
from spark.storage.tables import Columns

USER, TRACK = "user", "track"
Kind = TypeVar("Kind", bound=np.generic)
_SEGMENTS = "segments"


@dataclass(frozen=True)
class CSRMatrix:
    """One orientation, mapped into memory: row r has the entries `indptr[r]:indptr[r + 1]`, as in `scipy.sparse`."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, row: int) -> NDArray[np.int32]:
        """Return the column indices of a row."""
        return self.indices[self.indptr[row] : self.indptr[row + 1]]

    def take_rows(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return `indptr` and `indices` of a selection of rows."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return indptr, self.indices[np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)]


@lru_cache(maxsize=8)
def load_csr(matrix: Path, side: str) -> CSRMatrix:
    """Open one orientation, `USER` or `TRACK`; cached in each process."""
    directory = matrix / side
    return CSRMatrix(
        memory_map(directory / "indptr", np.int64),
        memory_map(directory / "indices", np.int32),
        memory_map(directory / "data", np.float32),
    )


def memory_map(file: Path, kind: type[Kind]) -> NDArray[Kind]:
    """Map a flat file as a read-only array."""
    if file.stat().st_size == 0:
        return np.empty(0, kind)
    return np.asarray(np.memmap(file, kind, "r"))


def build_interaction_matrix(
    spark: SparkSession, interactions: Sequence[Path], num_users: int, num_tracks: int, into: Path
) -> None:
    """Write the matrix of interactions that are sorted by user and track, in one file for each range of users.

    Args:
        interactions: directories with Parquet of user, track, value; see `files_by_range`. They have no pair in common.
        into: the directory to create, at a path that every worker can write.
    """
    files = files_by_range(interactions)
    ends = np.cumsum([0, *(sum(pq.read_metadata(file).num_rows for file in parts) for parts in files)])
    for side, rows in ((USER, num_users), (TRACK, num_tracks)):
        allocate(into / side, rows, int(ends[-1]))
    (into / _SEGMENTS).mkdir()
    ranges = len(files)
    by_user = [
        (into, parts, number, int(ends[number]), num_users, num_tracks, ranges) for number, parts in enumerate(files)
    ]
    counts = run_tasks(spark, lambda task: _write_users(*task), by_user)
    begins = np.cumsum([0, *np.sum(counts, axis=0)])
    by_track = [(into, number, int(begins[number]), num_tracks, ranges) for number in range(ranges)]
    run_tasks(spark, lambda task: _write_tracks(*task), by_track)
    shutil.rmtree(into / _SEGMENTS)


def files_by_range(interactions: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Return the files of each range of users: one of each directory, all with the same name."""
    return [
        tuple(directory / file.name for directory in interactions) for file in sorted(interactions[0].glob("*.parquet"))
    ]


def read_merged(files: Sequence[Path]) -> pa.Table:
    """Read user, track and value of the files of one range, and merge them by user and track."""
    columns = [Columns.USER, Columns.TRACK, Columns.VALUE]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    if len(files) == 1:
        return table
    user, track = table[Columns.USER].to_numpy(), table[Columns.TRACK].to_numpy()
    # numpy's stable sort detects sorted runs and merges them.
    return table.take(pa.array(np.argsort(user.astype(np.int64) << 32 | track, kind="stable")))


def allocate(side: Path, rows: int, entries: int) -> None:
    """Create the files of one orientation for a number of rows and entries, and set the end of the last row."""
    side.mkdir(parents=True)
    for name, size in (("indptr", 8 * (rows + 1)), ("indices", 4 * entries), ("data", 4 * entries)):
        allocate_file(side / name, size)
    write_at(side / "indptr", 8 * rows, np.array([entries], np.int64))


def allocate_file(file: Path, size: int) -> None:
    """Create a file of `size` zero bytes, into which tasks write."""
    with file.open("wb") as opened:
        opened.truncate(size)


def _write_users(
    into: Path, files: Sequence[Path], number: int, begin: int, num_users: int, num_tracks: int, ranges: int
) -> NDArray[np.int64]:
    """Write the rows of a range of users, and its entries by ranges of tracks; return the size of each range."""
    table = read_merged(files)
    user, track = table[Columns.USER].to_numpy(), table[Columns.TRACK].to_numpy()
    value = table[Columns.VALUE].to_numpy().astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f"{files[0]} contains values that are not finite in single precision.")
    low, high = range_bounds(num_users, ranges, number)
    write_rows(into / USER, low, begin, np.bincount(user - low, minlength=high - low), track, value)
    segments = pa.table({Columns.TRACK: track, Columns.USER: user, Columns.VALUE: value})
    return partition_by_range(into / _SEGMENTS / files[0].stem, segments, Columns.TRACK, num_tracks, ranges)


def _write_tracks(into: Path, number: int, begin: int, num_tracks: int, ranges: int) -> None:
    """Write the rows of a range of tracks, from the segments of all users."""
    table = read_range(into / _SEGMENTS, number)
    track, user, value = (table[name].to_numpy() for name in (Columns.TRACK, Columns.USER, Columns.VALUE))
    low, high = range_bounds(num_tracks, ranges, number)
    row = track - low
    order = np.argsort(row.astype(np.uint16) if high - low <= 1 << 16 else row, kind="stable")
    write_rows(into / TRACK, low, begin, np.bincount(row, minlength=high - low), user[order], value[order])


def write_rows(
    side: Path,
    first_row: int,
    begin: int,
    counts: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Write consecutive rows of one orientation.

    Args:
        begin: position of the first row's first entry.
        counts: number of entries in each row.
        columns, values: the entries, row by row.
    """
    write_at(side / "indptr", 8 * first_row, (begin + np.cumsum(counts) - counts).astype(np.int64))
    write_at(side / "indices", 4 * begin, columns.astype(np.int32))
    write_at(side / "data", 4 * begin, values.astype(np.float32))


def write_at(file: Path, offset: int, array: NDArray[Any]) -> None:
    """Write the bytes of an array into an existing file at a byte offset."""
    rest = memoryview(np.ascontiguousarray(array).data).cast("B") if array.size else memoryview(b"")
    descriptor = os.open(file, os.O_WRONLY)
    try:
        while rest:
            written = os.pwrite(descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
    finally:
        os.close(descriptor)
