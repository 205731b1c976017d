"""Encode ids as dense indexes and merge duplicates, in tasks that exchange Arrow files.

    parsed rows ─ encode ─▶ chunks with dictionary-encoded ids ─ partition ─▶ ranges of users ─ merge ─▶ interactions

Each row passes from Spark to Python once. After that, an interaction is two indexes, a value and a time, in Arrow files
that the next task maps into memory.

A task writes a temporary file and renames it; a task that Spark repeats writes the same bytes again.
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

KEPT, OUTSIDE = "kept", "outside"
"""Keys of `EncodedInteractions.counts`, besides the reasons of rejects."""

REJECTS = "rejects"
"""The directory of rejected rows."""

REASON_SEPARATOR = "\t"
"""Separates the reason and the raw row of a reject."""

CHUNK_ROWS = 6_000_000
"""Rows that a task holds before it writes a chunk; usually more than a split of a text file has."""

CHUNK_BYTES = 256 << 20
RANGE_ROWS = 2_000_000
"""Approximate rows of a range of users, which are sorted and merged together."""

_CHUNKS, _BY_RANGE, _IDS, _INTERACTIONS = "chunks", "by-range", "ids", "interactions"

MergeRule = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
MERGE_RULES: dict[str, MergeRule] = {
    "sum": lambda values, starts: np.add.reduceat(values, starts),
    "mean": lambda values, starts: np.add.reduceat(values, starts) / np.diff(starts, append=len(values)),
    "max": lambda values, starts: np.maximum.reduceat(values, starts),
    "latest": lambda values, starts: values[np.append(starts[1:], len(values)) - 1],
}
"""The value of each group of rows that begins at `starts`. Rows of a group are sorted by time, then value."""


@dataclass(frozen=True)
class EncodedInteractions:
    """The sorted ids that occur in kept rows, and the number of rows that were kept, outside, or rejected by reason."""

    users: pa.Array
    tracks: pa.Array
    counts: Counter[str]


def encode_interactions(parsed: DataFrame, into: Path, window: Window) -> EncodedInteractions:
    """Write kept rows to `chunks` and rejects to Parquet; only count rows outside the window.

    Args:
        parsed: user_id, track_id, value, time and reject, as `spark.ingest.parse.parse` returns them.
        into: the directory in which `chunks` and `rejects` are created.
        window: selects rows by time. Rows without a time require an open window.
    """
    for name in (_CHUNKS, REJECTS):
        (into / name).mkdir()

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        for number, table in enumerate(_group_into_chunks(batches)):
            counts = _write_chunk(table, into, f"{context.partitionId():05}-{number:03}", window)
            del table
            yield pa.record_batch([list(counts), list(counts.values())], names=["reason", "rows"])
        release_memory()

    counts: Counter[str] = Counter()
    for reason, rows in parsed.mapInArrow(write, "reason string, rows long").collect():
        counts[reason] += rows
    users, tracks = (_collect_ids(parsed.sparkSession, into, name) for name in (Columns.USER, Columns.TRACK))
    return EncodedInteractions(users, tracks, counts)


def _group_into_chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        pending.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield pa.Table.from_batches(pending)
            pending, rows, size = [], 0, 0
    if pending:
        yield pa.Table.from_batches(pending)


def _write_chunk(table: pa.Table, into: Path, name: str, window: Window) -> Counter[str]:
    """Write one chunk and its rejects; return the number of rows that were kept, outside, or rejected by reason."""
    reject, counts = table[Columns.REJECT], Counter[str]()
    kept = table
    if reject.null_count < len(table):
        kept = table.filter(pc.is_null(reject))
        fields = pc.split_pattern(reject.combine_chunks().drop_null(), REASON_SEPARATOR, max_splits=1)
        reasons, rows = (pc.list_element(fields, position) for position in range(2))
        counts.update(reasons.to_pylist())
        rejected = pa.table({Columns.REASON: reasons, Columns.ROW: rows})
        write_atomically(into / REJECTS / f"{name}.parquet", partial(pq.write_table, rejected))
    if not window.is_open:
        usable = len(kept)
        kept = kept.filter(window.contains(kept[Columns.TIME]))
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


def _collect_ids(spark: SparkSession, into: Path, name: str) -> pa.Array:
    """Return the distinct ids of all chunks, sorted. Each task merges a few chunks, the driver their results."""
    files = sorted((into / _CHUNKS).glob("*.arrow"))
    group_count = math.isqrt(len(files))
    groups = [files[start::group_count] for start in range(group_count)]

    def merge(group: list[Path]) -> pa.Array:
        return _distinct(read_batches(file)[0][name].dictionary for file in group)

    ids = _distinct(run_tasks(spark, merge, groups) if files else [])
    return ids.take(pc.sort_indices(ids))


def _distinct(arrays: Iterable[pa.Array]) -> pa.Array:
    return pc.unique(pa.chunked_array(list(arrays), pa.string()))


def deduplicate(spark: SparkSession, into: Path, users: pa.Array, tracks: pa.Array, kept: int, rule: str) -> None:
    """Merge the chunks into `interactions`: Parquet of user, track, value, time, one file for each range of users.

    Args:
        into: the directory in which `chunks` exist and `interactions` is created.
        users, tracks: the ids by index.
        kept: the number of rows in the chunks.
        rule: how rows with the same user and track become one, a key of `MERGE_RULES`.
    """
    for name in (_BY_RANGE, _IDS, _INTERACTIONS):
        (into / name).mkdir()
    for name, ids in ((Columns.USER, users), (Columns.TRACK, tracks)):
        write_arrow(into / _IDS / name, pa.table({"id": ids}), [len(ids)])
    num_users, num_tracks = len(users), len(tracks)
    ranges = max(1, kept // RANGE_ROWS)
    chunks = sorted((into / _CHUNKS).glob("*.arrow"))
    run_tasks(spark, lambda chunk: _partition_chunk(chunk, into, num_users, ranges), chunks)
    run_tasks(spark, lambda number: _merge_range(into, number, num_tracks, rule), range(ranges))
    for name in (_CHUNKS, _BY_RANGE, _IDS):
        shutil.rmtree(into / name)


def _partition_chunk(chunk: Path, into: Path, num_users: int, ranges: int) -> None:
    """Rewrite a chunk with indexes in place of ids, one batch for each range of users."""
    (rows,) = read_batches(chunk)
    indexes = {}
    for name in (Columns.USER, Columns.TRACK):
        all_ids = pa.Table.from_batches(read_batches(into / _IDS / name))["id"].combine_chunks()
        dictionary_indexes = pc.index_in(rows[name].dictionary, value_set=all_ids)
        indexes[name] = dictionary_indexes.take(rows[name].indices)
    table = pa.table({**indexes, Columns.VALUE: rows[Columns.VALUE], Columns.TIME: rows[Columns.TIME]})
    partition_by_range(into / _BY_RANGE / chunk.name, table, Columns.USER, num_users, ranges)


def _merge_range(into: Path, number: int, num_tracks: int, rule: str) -> None:
    """Sort the rows of a range of users, merge those of the same pair, and write them as Parquet."""
    table = read_range(into / _BY_RANGE, number)
    user, track, value = (table[name].to_numpy() for name in (Columns.USER, Columns.TRACK, Columns.VALUE))
    has_times = table[Columns.TIME].null_count < len(table)
    time = table[Columns.TIME].to_numpy() if has_times else np.zeros(len(table), np.int64)
    pair = user.astype(np.int64) * num_tracks + track
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    # Sort within each group, because a sum of floats in file order would depend on how the files were split.
    duplicates = order[np.repeat(sizes > 1, sizes)]
    order[np.repeat(sizes > 1, sizes)] = duplicates[np.lexsort((value[duplicates], time[duplicates], pair[duplicates]))]
    first = order[starts]
    merged = {
        Columns.USER: user[first],
        Columns.TRACK: track[first],
        Columns.VALUE: MERGE_RULES[rule](value[order], starts) if len(starts) else value,
        Columns.TIME: pa.array(np.maximum.reduceat(time[order], starts))
        if has_times
        else pa.nulls(len(starts), pa.int64()),
    }
    file = into / _INTERACTIONS / f"part-{number:05}.parquet"
    write_atomically(file, partial(pq.write_table, pa.table(merged)))
