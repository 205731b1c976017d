"""The way of interactions from text to numbers, through files that every worker sees.

    parsed rows ─ chunk ─▶ chunks: ids dictionary-encoded ─ deal ─▶ ranges of users ─ merge ─▶ interactions

Spark hands each row to Python once. From there on an interaction is two indexes, a value and a time in Arrow files
that the next task maps into memory.

A task writes beside its file and renames; one that Spark repeats writes the same again.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession

from spark.ingest.time_window import Window
from spark.runtime.worker_tasks import release_memory, run_tasks
from spark.storage.arrow_files import partition_by_range, read_batches, read_range, write_arrow
from spark.storage.tables import Columns, write_atomically

KEPT = "kept"
OUTSIDE = "outside"
REJECTED = "rejects"
AFTER_REASON = "\t"
"""Stands between the reason and the row of a reject."""

CHUNK_ROWS = 6_000_000
"""Rows that a task holds before it writes them down: more than a split of a text file has, as a rule."""

CHUNK_BYTES = 256 << 20
RANGE_ROWS = 2_000_000
"""Rows that a range of users has, about: what is sorted and merged at a time."""

_CHUNKS, _BY_RANGE, _IDS, _INTERACTIONS = "chunks", "by-range", "ids", "interactions"

Rule = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
MERGE: dict[str, Rule] = {
    "sum": lambda values, starts: np.add.reduceat(values, starts),
    "mean": lambda values, starts: np.add.reduceat(values, starts) / np.diff(starts, append=len(values)),
    "max": lambda values, starts: np.maximum.reduceat(values, starts),
    "latest": lambda values, starts: values[np.append(starts[1:], len(values)) - 1],
}
"""The value of each group of rows that begins at `starts`; within a group rows are in order of time, then value."""


@dataclass(frozen=True)
class EncodedInteractions:
    """What occurs in the rows that were kept: the ids, in their order; and how many were kept, outside, or rejected."""

    users: pa.Array
    tracks: pa.Array
    counts: Counter[str]


def encode_interactions(parsed: DataFrame, into: Path, window: Window) -> EncodedInteractions:
    """Writes kept rows to `chunks` and rejects to Parquet. Rows outside of the window are counted, and no more.

    Args:
        parsed: user_id, track_id, value, time; and reject, null where a row is kept, else reason and raw row.
        into: the directory in which `chunks` and `rejects` will be.
        window: which times count; only where it is open may rows have none.
    """
    for name in (_CHUNKS, REJECTED):
        (into / name).mkdir()

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        for number, table in enumerate(_tables(batches)):
            counts = _write_chunk(table, into, f"{context.partitionId():05}-{number:03}", window)
            del table
            yield pa.record_batch([list(counts), list(counts.values())], names=["reason", "rows"])
        release_memory()

    counts: Counter[str] = Counter()
    for reason, rows in parsed.mapInArrow(write, "reason string, rows long").collect():
        counts[reason] += rows
    users, tracks = (_all_ids(parsed.sparkSession, into, name) for name in (Columns.USER, Columns.TRACK))
    return EncodedInteractions(users, tracks, counts)


def _all_ids(spark: SparkSession, into: Path, name: str) -> pa.Array:
    """The ids in all the chunks, each once: tasks unite those of a few chunks, the driver what they found."""
    files = sorted((into / _CHUNKS).glob("*.arrow"))
    count = math.isqrt(len(files))
    groups = [files[start::count] for start in range(count)]

    def unite(group: list[Path]) -> pa.Array:
        return _united(read_batches(file)[0][name].dictionary for file in group)

    found = run_tasks(spark, unite, groups) if files else []
    ids = _united(found)
    return ids.take(pc.sort_indices(ids))


def _united(ids: Iterable[pa.Array]) -> pa.Array:
    return pc.unique(pa.chunked_array(list(ids), pa.string()))


def deduplicate(spark: SparkSession, into: Path, users: pa.Array, tracks: pa.Array, kept: int, rule: str) -> None:
    """Turns the chunks into `interactions`: Parquet of user, track, value, time, one file a range of users.

    Args:
        into: the directory in which `chunks` are and `interactions` will be.
        users: the users' ids by index; `tracks` likewise.
        kept: the number of rows in the chunks.
        rule: how several rows of a pair become one, a key of `MERGE`.
    """
    for name in (_BY_RANGE, _IDS, _INTERACTIONS):
        (into / name).mkdir()
    for name, ids in ((Columns.USER, users), (Columns.TRACK, tracks)):
        write_arrow(into / _IDS / name, pa.table({"id": ids}), [len(ids)])
    sizes = (len(users), len(tracks))
    ranges = max(1, kept // RANGE_ROWS)
    chunks = sorted((into / _CHUNKS).glob("*.arrow"))
    run_tasks(spark, lambda chunk: _deal(chunk, into, sizes[0], ranges), chunks)
    run_tasks(spark, lambda number: _merge(into, number, sizes[1], rule), range(ranges))
    for name in (_CHUNKS, _BY_RANGE, _IDS):
        shutil.rmtree(into / name)


def _tables(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches, as many at a time as make a chunk."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _write_chunk(table: pa.Table, into: Path, name: str, window: Window) -> Counter[str]:
    """Writes one chunk and its rejects; returns how many rows were kept, outside, or rejected, by reason."""
    reject, counts = table[Columns.REJECT], Counter[str]()
    kept = table
    if reject.null_count < len(table):
        kept = table.filter(pc.is_null(reject))
        parts = pc.split_pattern(reject.combine_chunks().drop_null(), AFTER_REASON, max_splits=1)
        reasons, rows = (pc.list_element(parts, place) for place in range(2))
        counts.update(reasons.to_pylist())
        rejected = pa.table({Columns.REASON: reasons, Columns.ROW: rows})
        write_atomically(into / REJECTED / f"{name}.parquet", partial(pq.write_table, rejected))
    if not window.is_open:
        usable = len(kept)
        kept = kept.filter(window.holds(kept[Columns.TIME]))
        counts[OUTSIDE] = usable - len(kept)
    if len(kept):
        user, track, value, time = (
            kept[key].combine_chunks() for key in (Columns.USER_ID, Columns.TRACK_ID, Columns.VALUE, Columns.TIME)
        )
        encoded = [user.dictionary_encode(), track.dictionary_encode(), value, time]
        names = [Columns.USER, Columns.TRACK, Columns.VALUE, Columns.TIME]
        write_arrow(into / _CHUNKS / f"{name}.arrow", pa.table(encoded, names=names), [len(kept)])
        counts[KEPT] = len(kept)
    return counts


def _deal(chunk: Path, into: Path, num_users: int, ranges: int) -> None:
    """Rewrites a chunk with the ids' indexes, one batch a range of users."""
    (rows,) = read_batches(chunk)
    indexes = {}
    for name in (Columns.USER, Columns.TRACK):
        known = pa.Table.from_batches(read_batches(into / _IDS / name))["id"].combine_chunks()
        local = pc.index_in(rows[name].dictionary, value_set=known)
        indexes[name] = local.take(rows[name].indices)
    table = pa.table({**indexes, Columns.VALUE: rows[Columns.VALUE], Columns.TIME: rows[Columns.TIME]})
    partition_by_range(into / _BY_RANGE / chunk.name, table, Columns.USER, num_users, ranges)


def _merge(into: Path, number: int, num_tracks: int, rule: str) -> None:
    """Sorts the rows of a range of users, merges those of one pair, and writes them as Parquet."""
    table = read_range(into / _BY_RANGE, number)
    user, track, value = (table[name].to_numpy() for name in (Columns.USER, Columns.TRACK, Columns.VALUE))
    has_times = table[Columns.TIME].null_count < len(table)
    time = table[Columns.TIME].to_numpy() if has_times else np.zeros(len(table), np.int64)
    pair = user.astype(np.int64) * num_tracks + track
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    # Within a group, an order that does not depend on the files: sums of floats would.
    several = order[np.repeat(sizes > 1, sizes)]
    order[np.repeat(sizes > 1, sizes)] = several[np.lexsort((value[several], time[several], pair[several]))]
    first = order[starts]
    merged = {
        Columns.USER: user[first],
        Columns.TRACK: track[first],
        Columns.VALUE: MERGE[rule](value[order], starts) if len(starts) else value,
        Columns.TIME: pa.array(np.maximum.reduceat(time[order], starts))
        if has_times
        else pa.nulls(len(starts), pa.int64()),
    }
    write_atomically(into / _INTERACTIONS / f"part-{number:05}.parquet", partial(pq.write_table, pa.table(merged)))
