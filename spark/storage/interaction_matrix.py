"""Interactions as compressed sparse rows (CSR), by user and by track: flat files that every worker maps into memory.

    matrix/user/indptr    int64, rows + 1: where each row's entries begin
                indices   int32, one per entry: the track, ascending within a row
                data      float32, one per entry
    matrix/track/…        the same of the transpose: each row a track, its columns users

A task writes its own rows and nothing else, at their place in the files. So the files are the same bytes whoever writes
them, and a task that Spark repeats does no harm. Written once for each training set, they serve every candidate.

Cost: 8 bytes an entry and orientation on disk; the transpose takes 12 more an entry while it is being made. Nothing
goes through the JVM, and through the driver only how many entries each range of tracks has.
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
    """One orientation, mapped into memory: row r has the entries `indptr[r]` to before `indptr[r + 1]`.

    The names are those of `scipy.sparse.csr_matrix`.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, row: int) -> NDArray[np.int32]:
        """The column indices of a row."""
        return self.indices[self.indptr[row] : self.indptr[row + 1]]

    def take_rows(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """`indptr` and `indices` of some rows, in their order."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return indptr, self.indices[np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)]


@lru_cache(maxsize=8)
def load_csr(blocks: Path, side: str) -> CSRMatrix:
    """Opens one orientation, `USER` or `TRACK`. A process that asks again gets the same object."""
    directory = blocks / side
    return CSRMatrix(
        memory_map(directory / "indptr", np.int64),
        memory_map(directory / "indices", np.int32),
        memory_map(directory / "data", np.float32),
    )


def memory_map(file: Path, kind: type[Kind]) -> NDArray[Kind]:
    """A flat file as a read-only array."""
    if file.stat().st_size == 0:
        return np.empty(0, kind)
    return np.asarray(np.memmap(file, kind, "r"))


def build_interaction_matrix(
    spark: SparkSession, interactions: Sequence[Path], num_users: int, num_tracks: int, into: Path
) -> None:
    """Writes the blocks of interactions that lie sorted by user and track, in files that follow the users.

    Args:
        interactions: directories with Parquet of user, track, value; see `by_range`. No pair is in two of them.
        into: the directory to be made, at a path that every worker can write.
    """
    files = files_by_range(interactions)
    ends = np.cumsum([0, *(sum(pq.read_metadata(file).num_rows for file in together) for together in files)])
    for side, rows in ((USER, num_users), (TRACK, num_tracks)):
        allocate(into / side, rows, int(ends[-1]))
    (into / _SEGMENTS).mkdir()
    ranges = len(files)
    by_user = [
        (into, together, place, int(ends[place]), num_users, num_tracks, ranges) for place, together in enumerate(files)
    ]
    counts = run_tasks(spark, lambda task: _write_users(*task), by_user)
    begins = np.cumsum([0, *np.sum(counts, axis=0)])
    by_track = [(into, number, int(begins[number]), num_tracks, ranges) for number in range(ranges)]
    run_tasks(spark, lambda task: _write_tracks(*task), by_track)
    shutil.rmtree(into / _SEGMENTS)


def files_by_range(interactions: Sequence[Path]) -> list[tuple[Path, ...]]:
    """The files of each range of users: one of each directory, all of the same name."""
    return [
        tuple(directory / file.name for directory in interactions) for file in sorted(interactions[0].glob("*.parquet"))
    ]


def read_merged(files: Sequence[Path]) -> pa.Table:
    """User, track and value of some files of one range, each sorted by user and track, in that order."""
    columns = [Columns.USER, Columns.TRACK, Columns.VALUE]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    if len(files) == 1:
        return table
    user, track = table[Columns.USER].to_numpy(), table[Columns.TRACK].to_numpy()
    # numpy's stable sort sees that these are sorted runs, and only merges them.
    return table.take(pa.array(np.argsort(user.astype(np.int64) << 32 | track, kind="stable")))


def allocate(side: Path, rows: int, entries: int) -> None:
    """Makes the files of one orientation, with room for so many rows and entries; where the last row ends is set."""
    side.mkdir(parents=True)
    for name, size in (("indptr", 8 * (rows + 1)), ("indices", 4 * entries), ("data", 4 * entries)):
        allocate_file(side / name, size)
    write_at(side / "indptr", 8 * rows, np.array([entries], np.int64))


def allocate_file(file: Path, size: int) -> None:
    """Makes a file of so many bytes, all 0, into which tasks may write."""
    with file.open("wb") as opened:
        opened.truncate(size)


def _write_users(
    into: Path, files: Sequence[Path], place: int, begin: int, num_users: int, num_tracks: int, ranges: int
) -> NDArray[np.int64]:
    """Writes the rows of one range of users, and its entries by ranges of tracks; returns how many each range has."""
    table = read_merged(files)
    user, track = table[Columns.USER].to_numpy(), table[Columns.TRACK].to_numpy()
    value = table[Columns.VALUE].to_numpy().astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f"{files[0]} has values that are not finite in single precision.")
    low, high = range_bounds(num_users, ranges, place)
    write_rows(into / USER, low, begin, np.bincount(user - low, minlength=high - low), track, value)
    segments = pa.table({Columns.TRACK: track, Columns.USER: user, Columns.VALUE: value})
    return partition_by_range(into / _SEGMENTS / files[0].stem, segments, Columns.TRACK, num_tracks, ranges)


def _write_tracks(into: Path, number: int, begin: int, num_tracks: int, ranges: int) -> None:
    """Writes the rows of one range of tracks, from the segments of all users."""
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
    """Writes consecutive rows of one orientation, the first of which begins at the entry `begin`.

    Args:
        counts: how many entries each row has.
        columns, values: the entries, row by row.
    """
    write_at(side / "indptr", 8 * first_row, (begin + np.cumsum(counts) - counts).astype(np.int64))
    write_at(side / "indices", 4 * begin, columns.astype(np.int32))
    write_at(side / "data", 4 * begin, values.astype(np.float32))


def write_at(file: Path, offset: int, array: NDArray[Any]) -> None:
    """Writes an array's bytes into a file that is already there, from a byte offset on."""
    rest = memoryview(np.ascontiguousarray(array).data).cast("B") if array.size else memoryview(b"")
    descriptor = os.open(file, os.O_WRONLY)
    try:
        while rest:
            written = os.pwrite(descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
    finally:
        os.close(descriptor)
