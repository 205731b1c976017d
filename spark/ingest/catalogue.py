"""Index the users and tracks of a dataset and write them as Parquet."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.dataset import Table
from spark.ingest.raw_table import RawData, RawTable
from spark.ingest.time_window import Window
from spark.storage.interaction_matrix import TRACK, USER, memory_map
from spark.storage.tables import Columns


def index_users(raw: RawData, ids: pa.Array, details: pa.Table | None, window: Window) -> pa.Table:
    """Return all users; see `index_ids`."""
    return index_ids(ids, details, Columns.USER_ID, _drops_unheard(raw.users, raw, window))


def index_tracks(raw: RawData, ids: pa.Array, details: pa.Table | None, window: Window) -> pa.Table:
    """Return all tracks; see `index_ids`."""
    return index_ids(ids, details, Columns.TRACK_ID, _drops_unheard(raw.tracks, raw, window))


def _drops_unheard(table: RawTable[Table] | None, raw: RawData, window: Window) -> bool:
    """Whether to drop ids without interactions: a table in the interactions' file has ids from outside the window."""
    return not window.is_open and table is not None and raw.shares_interactions_file(table)


def index_ids(ids: pa.Array, details: pa.Table | None, key: str, drop_unheard: bool = False) -> pa.Table:
    """Return one row for each id in sorted order: `index`, the id, `hash`, and its details.

    This happens in the driver: the process that serves the ids holds them in memory too.

    Args:
        ids: the ids that occur in the interactions.
        details: one row for each id of the users' or tracks' file; the id may be null.
        key: the name of the id column.
        drop_unheard: leave out ids that have details but no interactions.
    """
    if details is None:
        return _with_index(ids, key)
    details = details.filter(pc.is_in(details[key], ids) if drop_unheard else pc.is_valid(details[key]))
    all_ids = pc.unique(pa.chunked_array([ids, *details[key].chunks], pa.string()))
    table = _with_index(all_ids.take(pc.sort_indices(all_ids)), key)
    positions = pc.index_in(table[key], value_set=details[key].combine_chunks())
    for name in details.drop_columns([key]).column_names:
        table = table.append_column(name, details[name].take(positions))
    return table


def _with_index(ids: pa.Array, key: str) -> pa.Table:
    hashes = np.fromiter(map(zlib.crc32, ids.cast(pa.binary()).to_pylist()), np.uint32, len(ids))
    return pa.table({Columns.INDEX: np.arange(len(ids), dtype=np.int32), key: ids, Columns.HASH: hashes})


def write_catalogue(users: pa.Table, tracks: pa.Table, ingested: Path) -> int:
    """Write `users` and `tracks` with the number of interactions of each; return the number of all interactions.

    Args:
        ingested: the directory that holds the interaction matrix.
    """
    interactions = 0
    for name, table, side, count_column in (
        ("users", users, USER, "interactions"),
        ("tracks", tracks, TRACK, "popularity"),
    ):
        indptr = memory_map(ingested / "matrix" / side / "indptr", np.int64)
        (ingested / name).mkdir()
        counted = table.append_column(count_column, pa.array(np.diff(indptr)))
        pq.write_table(counted, ingested / name / "part-0.parquet")
        interactions = int(indptr[-1])
    return interactions
