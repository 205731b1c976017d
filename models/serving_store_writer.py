"""Writes `serving.sqlite` (see `models.serving_store`) from a version's Parquet files and its interactions."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.serving_store import FILE, MAX_AUDIENCE
from models.track_audience import TrackAudience

Columns = tuple[NDArray[Any], ...]
"""Columns of one file's lists: the owners' indexes, and values such as tracks and scores; sorted by owner."""

Blobs = tuple[bytes, ...]

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE users (
    user_id TEXT PRIMARY KEY, idx INTEGER NOT NULL, age INTEGER, country TEXT, interactions INTEGER NOT NULL,
    tier TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE user_lists (
    idx INTEGER PRIMARY KEY, user_id TEXT NOT NULL,
    recommendations BLOB NOT NULL, scores BLOB NOT NULL, explanations BLOB NOT NULL,
    history BLOB NOT NULL, history_values BLOB NOT NULL
);
CREATE TABLE tracks (
    popularity_rank INTEGER PRIMARY KEY, idx INTEGER NOT NULL, track_id TEXT NOT NULL UNIQUE,
    title TEXT, artist TEXT, genre TEXT, popularity INTEGER NOT NULL
);
CREATE TABLE track_lists (
    idx INTEGER PRIMARY KEY, popularity_rank INTEGER NOT NULL, audience_size INTEGER NOT NULL,
    similar BLOB NOT NULL, similarities BLOB NOT NULL,
    audience BLOB NOT NULL, audience_ranks BLOB NOT NULL, audience_scores BLOB NOT NULL
);
"""

# The row id is the popularity rank, so a search can stop after the most popular matches. Short prefixes, which match
# many tracks and are typed first, have indexes.
_SEARCH = """
CREATE VIRTUAL TABLE tracks_fts USING fts5 (
    title, artist, content = 'tracks', content_rowid = 'popularity_rank', prefix = '1 2 3',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO tracks_fts (tracks_fts) VALUES ('rebuild');
INSERT INTO tracks_fts (tracks_fts) VALUES ('optimize');
"""


def build_store(version: Path, interactions: Path) -> None:
    """Write the `serving.sqlite` of a version directory.

    Args:
        version: has `users.parquet`, `tracks.parquet`, `recommendations/` and `similar/`.
        interactions: a directory of Parquet files with columns user, track and value.

    Raises:
        ValueError: the files of recommendations or interactions are not in the order of the users' indexes.
    """
    tracks = pq.read_table(version / "tracks.parquet").sort_by("index")
    ranked = tracks.sort_by([("popularity", "descending"), ("index", "ascending")])
    users = pq.read_table(version / "users.parquet").sort_by("index")
    audience = TrackAudience(len(tracks), MAX_AUDIENCE)
    with closing(sqlite3.connect(version / FILE)) as db, db:
        db.executescript(_SCHEMA)
        track_rows = _rows(ranked, "index", "track_id", "title", "artist", "genre", "popularity")
        _insert(db, "tracks", ((rank, *row) for rank, row in enumerate(track_rows)))
        by_id = users.sort_by("user_id")
        _insert(db, "users", _rows(by_id, "user_id", "index", "age", "country", "interactions", "tier"))
        _insert(db, "user_lists", _user_lists(version, interactions, users, ranked, audience))
        _insert(db, "track_lists", _track_lists(version, tracks, ranked, audience))
        db.executescript(_SEARCH)


def _user_lists(
    version: Path, interactions: Path, users: pa.Table, ranked: pa.Table, audience: TrackAudience
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `user_lists`, and add the recommendations to `audience`.

    Args:
        ranked: the tracks by popularity rank.
    """
    files = _read_lists(version / "recommendations", ("user_id", users["user_id"]), ("track_id", ranked["track_id"]))
    lists = _pack(_add_to(audience, files), len(users), 3)
    histories = _pack(_read_histories(interactions, _popularity_ranks(ranked)), len(users), 2)
    for keys, recommendations, history in zip(_rows(users, "index", "user_id"), lists, histories, strict=True):
        yield *keys, *recommendations, *history


def _track_lists(
    version: Path, tracks: pa.Table, ranked: pa.Table, audience: TrackAudience
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `track_lists`; `audience` is complete and has tracks by popularity rank."""
    ranks, indexes = _popularity_ranks(ranked), ranked["index"].to_numpy()
    files = _read_lists(version / "similar", ("track_id", tracks["track_id"]), ("similar_id", ranked["track_id"]))
    of_tracks, *members = audience.best()
    order = np.argsort(indexes[of_tracks], kind="stable")
    by_index = indexes[of_tracks][order], *(column[order] for column in members)
    keys = zip(range(len(tracks)), ranks.tolist(), audience.sizes[ranks].tolist(), strict=True)
    similar, audiences = _pack(files, len(tracks), 2), _pack(iter([by_index]), len(tracks), 3)
    for key, similar_tracks, users in zip(keys, similar, audiences, strict=True):
        yield *key, *similar_tracks, *users


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _popularity_ranks(ranked: pa.Table) -> NDArray[np.int64]:
    """Return the popularity rank of each track, by index."""
    ranks = np.empty(len(ranked), np.int64)
    ranks[ranked["index"].to_numpy()] = np.arange(len(ranked))
    return ranks


def _insert(db: sqlite3.Connection, table: str, rows: Iterator[tuple[Any, ...]]) -> None:
    (width,) = db.execute("SELECT count(*) FROM pragma_table_info(?)", (table,)).fetchone()
    db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * width)})", rows)


def _add_to(audience: TrackAudience, files: Iterator[Columns]) -> Iterator[Columns]:
    """Yield the lists unchanged after adding them to the audience."""
    for columns in files:
        audience.add(*columns[:3])
        yield columns


def _read_lists(
    directory: Path, owner: tuple[str, pa.ChunkedArray], item: tuple[str, pa.ChunkedArray]
) -> Iterator[Columns]:
    """Yield each file's owners, tracks, scores and, if it has them, explanations; sorted by owner and rank.

    Args:
        owner: the column with the owners' ids, and all these ids by index.
        item: the column with the ids of the listed tracks, and all these ids by popularity rank.
    """
    for file in sorted(directory.glob("*.parquet")):
        table = pq.read_table(file, read_dictionary=[owner[0], item[0]])
        owners, tracks = (_encode(table[name], ids) for name, ids in (owner, item))
        order = np.lexsort((table["rank"].to_numpy(), owners))
        columns = [owners, tracks, table["score"].to_numpy()]
        if "because" in table.column_names:
            columns.append(_encode_explanations(table["because"], item[1]))
        yield tuple(column[order] for column in columns)


def _encode_explanations(column: pa.ChunkedArray, track_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Encode lists of track ids, shape (rows, length of the longest list); shorter lists are padded with −1."""
    lists = column.combine_chunks()
    counts = lists.value_lengths().to_numpy()
    encoded = np.full((len(lists), counts.max(initial=0)), -1)
    is_present = np.arange(encoded.shape[1]) < counts[:, None]
    encoded[is_present] = pc.index_in(lists.flatten(), value_set=track_ids).to_numpy()
    return encoded


def _encode(column: pa.ChunkedArray, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the position in `ids` of each id of a dictionary column; each distinct id is looked up once."""
    values: Any = column.unify_dictionaries().combine_chunks()
    positions = pc.index_in(values.dictionary, value_set=ids).to_numpy()
    return np.asarray(positions[values.indices.to_numpy()], np.int64)


def _read_histories(interactions: Path, ranks: NDArray[np.int64]) -> Iterator[Columns]:
    """Yield each file's users, popularity ranks and values; by user, descending value, ascending track index."""
    for file in sorted(interactions.glob("*.parquet")):
        table = pq.read_table(file, columns=["user", "track", "value"])
        users, tracks, values = (table[name].to_numpy() for name in table.column_names)
        order = np.lexsort((tracks, -values, users))
        yield users[order], ranks[tracks[order]], values[order]


def _pack(files: Iterator[Columns], num_owners: int, num_columns: int) -> Iterator[Blobs]:
    """Yield one blob per column for each owner, from files in the order of the owners; empty for owners without rows.

    Raises:
        ValueError: the files are not in the order of the owners.
    """
    first = 0
    for owners, *columns in files:
        if not len(owners):
            continue
        if owners[0] < first:
            raise ValueError(f"The lists of index {owners[0]} are in two files, or the files are not in index order.")
        ends = np.searchsorted(owners, np.arange(first, owners[-1] + 2))
        packed = [column.astype("<f4" if column.dtype.kind == "f" else "<i4") for column in columns]
        for start, end in itertools.pairwise(ends.tolist()):
            yield *(column[start:end].tobytes() for column in packed), *(b"",) * (num_columns - len(packed))
        first = int(owners[-1]) + 1
    yield from itertools.repeat((b"",) * num_columns, num_owners - first)
