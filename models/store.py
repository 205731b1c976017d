"""`serving.sqlite`: a published version, laid out for looking things up.

A user's list and history are one row with two packed columns each (track indexes `int32`, numbers `float32`,
little-endian), so that a look-up reads one row and one track row per line shown.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

FILE = "serving.sqlite"

Lines = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Of lists or histories: users, tracks, scores or values."""

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE users (
    idx INTEGER PRIMARY KEY, user_id TEXT NOT NULL UNIQUE, age INTEGER, country TEXT, interactions INTEGER NOT NULL,
    items BLOB NOT NULL, scores BLOB NOT NULL, heard BLOB NOT NULL, heard_values BLOB NOT NULL
);
CREATE TABLE tracks (
    idx INTEGER PRIMARY KEY, track_id TEXT NOT NULL UNIQUE, title TEXT, artist TEXT, genre TEXT,
    popularity INTEGER NOT NULL
);
"""

_FINISH = """
CREATE INDEX tracks_by_popularity ON tracks (popularity DESC, idx);
CREATE VIRTUAL TABLE tracks_fts USING fts5 (title, artist, content = 'tracks', content_rowid = 'idx');
INSERT INTO tracks_fts (tracks_fts) VALUES ('rebuild');
"""


@dataclass(frozen=True)
class User:
    """A user, and how many tracks they have heard."""

    user_id: str
    age: int | None
    country: str | None
    interactions: int


@dataclass(frozen=True)
class Track:
    """A track, and how many users have heard it."""

    track_id: str
    title: str | None
    artist: str | None
    genre: str | None
    popularity: int


@dataclass(frozen=True)
class Listed:
    """A line of a list: a track with its score, or with what the user gave it (plays, or a rating)."""

    track: Track
    number: float


class Store:
    """Reads a published version's `serving.sqlite`. Opening takes a fraction of a millisecond; use `with`."""

    def __init__(self, version: Path) -> None:
        """Opens read-only.

        Raises:
            FileNotFoundError: the version has no `serving.sqlite`.
        """
        path = version / FILE
        if not path.is_file():
            raise FileNotFoundError(f"{version} is not a published version: it has no {FILE}.")
        self._db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def user(self, user_id: str) -> User | None:
        """The user of that id; None where there is none."""
        row = self._db.execute(
            "SELECT user_id, age, country, interactions FROM users WHERE user_id = ?", (user_id,)
        ).fetchone()
        return User(*row) if row else None

    def users(self, prefix: str = "", limit: int = 20) -> list[User]:
        """Users whose id begins so, in the order of their ids."""
        rows = self._db.execute(
            "SELECT user_id, age, country, interactions FROM users WHERE user_id >= ? ORDER BY user_id", (prefix,)
        )
        matching = itertools.takewhile(lambda row: row[0].startswith(prefix), rows)  # from the index, row by row
        return [User(*row) for row in itertools.islice(matching, limit)]

    def recommendations(self, user_id: str, limit: int) -> list[Listed]:
        """A user's list, best first: at most as many lines as are stored."""
        return self._unpacked("items", "scores", user_id, limit)

    def history(self, user_id: str, limit: int) -> list[Listed]:
        """What a user has heard, the highest value first."""
        return self._unpacked("heard", "heard_values", user_id, limit)

    def popular(self, limit: int) -> list[Listed]:
        """The tracks that most users have heard, with that number."""
        rows = self._db.execute(
            "SELECT track_id, title, artist, genre, popularity FROM tracks ORDER BY popularity DESC, idx LIMIT ?",
            (limit,),
        )
        return [Listed(track := Track(*row), float(track.popularity)) for row in rows]

    def _unpacked(self, tracks: str, numbers: str, user_id: str, limit: int) -> list[Listed]:
        row = self._db.execute(f"SELECT {tracks}, {numbers} FROM users WHERE user_id = ?", (user_id,)).fetchone()
        if row is None:
            return []
        indexes = np.frombuffer(row[0], "<i4")[:limit].tolist()
        found = self._db.execute(
            "SELECT idx, track_id, title, artist, genre, popularity FROM tracks"
            f" WHERE idx IN ({','.join('?' * len(indexes))})",
            indexes,
        )
        by_index = {row[0]: Track(*row[1:]) for row in found}
        values = np.frombuffer(row[1], "<f4")[:limit].tolist()
        return [Listed(by_index[index], value) for index, value in zip(indexes, values, strict=True)]


def build_store(version: Path, interactions: Path) -> None:
    """Writes `serving.sqlite` from a version's own Parquet files and the interactions behind it.

    Files are taken one by one. So recommendations and interactions must lie in the order of the users' indexes.
    """
    tracks = pq.read_table(version / "tracks.parquet").sort_by("index")
    users = pq.read_table(version / "users.parquet").sort_by("index")
    with closing(sqlite3.connect(version / FILE)) as db, db:
        db.executescript(_SCHEMA)
        columns = ("index", "track_id", "title", "artist", "genre", "popularity")
        db.executemany(
            "INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?)",
            zip(*(tracks[name].to_pylist() for name in columns), strict=True),
        )
        about = (users[name].to_pylist() for name in ("index", "user_id", "age", "country", "interactions"))
        lists = _packed(_lists(version / "recommendations", users["user_id"], tracks["track_id"]), len(users))
        heard = _packed(_history(interactions), len(users))
        db.executemany(
            "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (*who, *listed, *history)
                for who, listed, history in zip(zip(*about, strict=True), lists, heard, strict=True)
            ),
        )
        db.executescript(_FINISH)


def _lists(recommendations: Path, user_ids: pa.ChunkedArray, track_ids: pa.ChunkedArray) -> Iterator[Lines]:
    """Each file's users, tracks and scores, by user and rank."""
    for file in sorted(recommendations.glob("*.parquet")):
        table = pq.read_table(file, read_dictionary=["user_id", "track_id"])
        users, tracks = _indexes(table["user_id"], user_ids), _indexes(table["track_id"], track_ids)
        order = np.lexsort((table["rank"].to_numpy(), users))
        yield users[order], tracks[order], table["score"].to_numpy()[order]


def _indexes(column: pa.ChunkedArray, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """The indexes of the users or tracks that a column names; each name is looked up once."""
    named: Any = column.unify_dictionaries().combine_chunks()
    places = pc.index_in(named.dictionary, value_set=ids).to_numpy()
    return np.asarray(places[named.indices.to_numpy()], np.int64)


def _history(interactions: Path) -> Iterator[Lines]:
    """Each file's users, tracks and values, by user, the highest value first."""
    for file in sorted(interactions.glob("*.parquet")):
        table = pq.read_table(file, columns=["user", "track", "value"])
        users, tracks, values = (table[name].to_numpy() for name in table.column_names)
        order = np.lexsort((tracks, -values, users))
        yield users[order], tracks[order], values[order]


def _packed(files: Iterator[Lines], num_users: int) -> Iterator[tuple[bytes, bytes]]:
    """One pair of blobs a user, from lines that are sorted by user; empty where a user has none."""
    first = 0
    for users, tracks, numbers in files:
        if not len(users):
            continue
        if users[0] < first:
            raise ValueError(f"User {users[0]} has lines in two files, or the files are not in the order of the users.")
        ends = np.searchsorted(users, np.arange(first, users[-1] + 2))
        packed_tracks, packed_numbers = tracks.astype("<i4"), numbers.astype("<f4")
        for start, end in itertools.pairwise(ends.tolist()):
            yield packed_tracks[start:end].tobytes(), packed_numbers[start:end].tobytes()
        first = int(users[-1]) + 1
    yield from itertools.repeat((b"", b""), num_users - first)
