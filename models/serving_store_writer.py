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

Lines = tuple[NDArray[Any], ...]
"""Of lists or histories: users, and columns that belong to them, such as tracks and scores."""

Packed = Iterator[tuple[bytes, ...]]

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE users (
    user_id TEXT PRIMARY KEY, idx INTEGER NOT NULL, age INTEGER, country TEXT, interactions INTEGER NOT NULL,
    tier TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE user_lists (
    idx INTEGER PRIMARY KEY, user_id TEXT NOT NULL,
    items BLOB NOT NULL, scores BLOB NOT NULL, because BLOB NOT NULL, heard BLOB NOT NULL, heard_values BLOB NOT NULL
);
CREATE TABLE tracks (
    place INTEGER PRIMARY KEY, idx INTEGER NOT NULL, track_id TEXT NOT NULL UNIQUE, title TEXT, artist TEXT, genre TEXT,
    popularity INTEGER NOT NULL
);
CREATE TABLE track_lists (
    idx INTEGER PRIMARY KEY, place INTEGER NOT NULL, reach INTEGER NOT NULL,
    similar BLOB NOT NULL, similarities BLOB NOT NULL,
    reached BLOB NOT NULL, ranks BLOB NOT NULL, reached_scores BLOB NOT NULL
);
"""

# Rows are places, so matches come with the most heard first, and without all being found. What is typed first is short:
# such beginnings have indexes of their own.
_SEARCH = """
CREATE VIRTUAL TABLE tracks_fts USING fts5 (
    title, artist, content = 'tracks', content_rowid = 'place', prefix = '1 2 3',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO tracks_fts (tracks_fts) VALUES ('rebuild');
INSERT INTO tracks_fts (tracks_fts) VALUES ('optimize');
"""


def build_store(version: Path, interactions: Path) -> None:
    """Writes `serving.sqlite`.

    Files are taken one by one. So recommendations and interactions must lie in the order of the users' indexes.
    """
    tracks = pq.read_table(version / "tracks.parquet").sort_by("index")
    by_place = tracks.sort_by([("popularity", "descending"), ("index", "ascending")])
    users = pq.read_table(version / "users.parquet").sort_by("index")
    reach = TrackAudience(len(tracks), MAX_AUDIENCE)
    with closing(sqlite3.connect(version / FILE)) as db, db:
        db.executescript(_SCHEMA)
        described = _rows(by_place, "index", "track_id", "title", "artist", "genre", "popularity")
        _insert(db, "tracks", ((place, *row) for place, row in enumerate(described)))
        _insert(
            db, "users", _rows(users.sort_by("user_id"), "user_id", "index", "age", "country", "interactions", "tier")
        )
        _insert(db, "user_lists", _user_lists(version, interactions, users, by_place, reach))
        _insert(db, "track_lists", _track_lists(version, tracks, by_place, reach))
        db.executescript(_SEARCH)


def _user_lists(
    version: Path, interactions: Path, users: pa.Table, by_place: pa.Table, reach: TrackAudience
) -> Iterator[tuple[Any, ...]]:
    """Each user's list and history; `reach` is told of the lists."""
    places = _places(by_place)
    listed = _lists(version / "recommendations", ("user_id", users["user_id"]), ("track_id", by_place["track_id"]))
    lists, heard = _packed(_told(reach, listed), len(users), 3), _packed(_history(interactions, places), len(users), 2)
    for who, mine, past in zip(_rows(users, "index", "user_id"), lists, heard, strict=True):
        yield *who, *mine, *past


def _track_lists(
    version: Path, tracks: pa.Table, by_place: pa.Table, reach: TrackAudience
) -> Iterator[tuple[Any, ...]]:
    """What is similar to each track, and to whom it is recommended."""
    places, indexes = _places(by_place), by_place["index"].to_numpy()
    alike = _lists(version / "similar", ("track_id", tracks["track_id"]), ("similar_id", by_place["track_id"]))
    found = reach.best()
    order = np.argsort(indexes[found[0]], kind="stable")
    reached = indexes[found[0]][order], *(column[order] for column in found[1:])
    counted = zip(range(len(tracks)), places.tolist(), reach.counts[places].tolist(), strict=True)
    similar, users = _packed(alike, len(tracks), 2), _packed(iter([reached]), len(tracks), 3)
    for facts, near, who in zip(counted, similar, users, strict=True):
        yield *facts, *near, *who


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _places(by_place: pa.Table) -> NDArray[np.int64]:
    """The place of each track, by index."""
    places = np.empty(len(by_place), np.int64)
    places[by_place["index"].to_numpy()] = np.arange(len(by_place))
    return places


def _insert(db: sqlite3.Connection, table: str, rows: Iterator[tuple[Any, ...]]) -> None:
    (width,) = db.execute("SELECT count(*) FROM pragma_table_info(?)", (table,)).fetchone()
    db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * width)})", rows)


def _told(reach: TrackAudience, files: Iterator[Lines]) -> Iterator[Lines]:
    """The lists as they are, after `reach` has seen them."""
    for lines in files:
        reach.add(*lines[:3])
        yield lines


def _lists(lists: Path, owner: tuple[str, pa.ChunkedArray], listed: tuple[str, pa.ChunkedArray]) -> Iterator[Lines]:
    """Each file's owners of lists, tracks, scores and, where they are told, reasons, by owner and rank.

    Args:
        owner, listed: the column with the ids of each, and all these ids by index.
    """
    for file in sorted(lists.glob("*.parquet")):
        table = pq.read_table(file, read_dictionary=[owner[0], listed[0]])
        owners, tracks = (_indexes(table[name], ids) for name, ids in (owner, listed))
        order = np.lexsort((table["rank"].to_numpy(), owners))
        columns = [owners, tracks, table["score"].to_numpy()]
        if "because" in table.column_names:
            columns.append(_due_to(table["because"], listed[1]))
        yield tuple(column[order] for column in columns)


def _due_to(column: pa.ChunkedArray, track_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """The tracks that each line is due to, shape (lines, the most that a line has)."""
    lists = column.combine_chunks()
    counts = lists.value_lengths().to_numpy()
    found = np.full((len(lists), counts.max(initial=0)), -1)
    there = np.arange(found.shape[1]) < counts[:, None]
    found[there] = pc.index_in(lists.flatten(), value_set=track_ids).to_numpy()
    return found


def _indexes(column: pa.ChunkedArray, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """The indexes of the users or tracks that a column names; each name is looked up once."""
    named: Any = column.unify_dictionaries().combine_chunks()
    places = pc.index_in(named.dictionary, value_set=ids).to_numpy()
    return np.asarray(places[named.indices.to_numpy()], np.int64)


def _history(interactions: Path, places: NDArray[np.int64]) -> Iterator[Lines]:
    """Each file's users, tracks and values, by user, the highest value first, then the track with the lower index."""
    for file in sorted(interactions.glob("*.parquet")):
        table = pq.read_table(file, columns=["user", "track", "value"])
        users, tracks, values = (table[name].to_numpy() for name in table.column_names)
        order = np.lexsort((tracks, -values, users))
        yield users[order], places[tracks[order]], values[order]


def _packed(files: Iterator[Lines], num_users: int, columns: int) -> Packed:
    """One blob a column of each user (or track), from lines that are sorted by user; empty where a user has none."""
    first = 0
    for users, *parts in files:
        if not len(users):
            continue
        if users[0] < first:
            raise ValueError(f"User {users[0]} has lines in two files, or the files are not in the order of the users.")
        ends = np.searchsorted(users, np.arange(first, users[-1] + 2))
        packed = [part.astype("<f4" if part.dtype.kind == "f" else "<i4") for part in parts]
        for start, end in itertools.pairwise(ends.tolist()):
            yield *(part[start:end].tobytes() for part in packed), *(b"",) * (columns - len(packed))
        first = int(users[-1]) + 1
    yield from itertools.repeat((b"",) * columns, num_users - first)
