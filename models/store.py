"""`serving.sqlite`: a published version, laid out for looking things up.

A user's list and history, and a track's similar tracks, are two packed columns each of its row (track indexes `int32`,
numbers `float32`, little-endian), so that a look-up reads one row and one track row per line shown. So are the
reasons: equally many indexes a line, −1 where there are fewer.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Collection, Iterator
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

Lines = tuple[NDArray[Any], ...]
"""Of lists or histories: users, and columns that belong to them, such as tracks and scores."""

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE users (
    idx INTEGER PRIMARY KEY, user_id TEXT NOT NULL UNIQUE, age INTEGER, country TEXT, interactions INTEGER NOT NULL,
    rung TEXT NOT NULL,
    items BLOB NOT NULL, scores BLOB NOT NULL, because BLOB NOT NULL, heard BLOB NOT NULL, heard_values BLOB NOT NULL
);
CREATE TABLE tracks (
    idx INTEGER PRIMARY KEY, track_id TEXT NOT NULL UNIQUE, title TEXT, artist TEXT, genre TEXT,
    popularity INTEGER NOT NULL, similar BLOB NOT NULL, similarities BLOB NOT NULL
);
"""

_USER = "user_id, age, country, interactions, rung"
_TRACK = "track_id, title, artist, genre, popularity"

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
    rung: str
    """What their list stands on: a key of `config.rungs.RUNGS`."""


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
    because: tuple[Track, ...] = ()
    """What the user heard that contributed most to a recommendation."""


class Store:
    """Reads a published version's `serving.sqlite`. Opening takes a fraction of a millisecond; use `with`."""

    def __init__(self, version: Path) -> None:
        """Opens read-only.

        Raises:
            FileNotFoundError: the version has no `serving.sqlite`.
        """
        self.version = version
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
        row = self._db.execute(f"SELECT {_USER} FROM users WHERE user_id = ?", (user_id,)).fetchone()
        return User(*row) if row else None

    def users(self, prefix: str = "", limit: int = 20, after: str = "") -> list[User]:
        """Users whose id begins so, in the order of their ids; those after one of them, if it is named."""
        query = f"SELECT {_USER} FROM users WHERE user_id >= ? AND user_id > ? ORDER BY user_id"
        rows = self._db.execute(query, (prefix, after))
        matching = itertools.takewhile(lambda row: row[0].startswith(prefix), rows)  # from the index, row by row
        return [User(*row) for row in itertools.islice(matching, limit)]

    def recommendations(self, user_id: str, limit: int) -> list[Listed]:
        """A user's list, best first: at most as many lines as are stored."""
        return self._unpacked("SELECT items, scores, because FROM users WHERE user_id = ?", user_id, limit)

    def history(self, user_id: str, limit: int) -> list[Listed]:
        """What a user has heard, the highest value first."""
        return self._unpacked("SELECT heard, heard_values, x'' FROM users WHERE user_id = ?", user_id, limit)

    def track(self, track_id: str) -> Track | None:
        """The track of that id; None where there is none."""
        row = self._db.execute(f"SELECT {_TRACK} FROM tracks WHERE track_id = ?", (track_id,)).fetchone()
        return Track(*row) if row else None

    def find_tracks(self, text: str, limit: int = 20, skipped: int = 0) -> list[Track]:
        """Tracks in whose title or artist every word of a text occurs, or a word that begins so; the most heard first.

        Without a word in it, the most heard of all.

        Args:
            skipped: how many of them to leave out, from the first.
        """
        where, values = _matching(text)
        query = f"SELECT {_TRACK} FROM tracks {where} ORDER BY popularity DESC, idx LIMIT ? OFFSET ?"
        return [Track(*row) for row in self._db.execute(query, (*values, limit, skipped))]

    def count_tracks(self, text: str) -> int:
        """How many tracks `find_tracks` finds."""
        where, values = _matching(text)
        return int(self._db.execute(f"SELECT count(*) FROM tracks {where}", values).fetchone()[0])

    def similar(self, track_id: str, limit: int) -> list[Listed]:
        """The tracks that are most similar to a track, with how much they are."""
        return self._unpacked("SELECT similar, similarities, x'' FROM tracks WHERE track_id = ?", track_id, limit)

    @property
    def num_tracks(self) -> int:
        """Size of the catalogue."""
        return int(self._db.execute("SELECT count(*) FROM tracks").fetchone()[0])

    def indexes(self, track_ids: Collection[str]) -> dict[str, int]:
        """The indexes of those of some ids that there are, in their order."""
        query = f"SELECT track_id, idx FROM tracks WHERE track_id IN ({','.join('?' * len(track_ids))})"
        found = dict(self._db.execute(query, tuple(track_ids)).fetchall())
        return {track: found[track] for track in track_ids if track in found}

    def similar_to(self, index: int) -> dict[int, float]:
        """How similar other tracks are to that of an index, by their indexes, as far as it is stored."""
        row = self._db.execute("SELECT similar, similarities FROM tracks WHERE idx = ?", (index,)).fetchone()
        others, numbers = (np.frombuffer(row[place], kind).tolist() for place, kind in enumerate(("<i4", "<f4")))
        return dict(zip(others, numbers, strict=True))

    def popular(self, limit: int) -> list[Listed]:
        """The tracks that most users have heard, with that number."""
        rows = self._db.execute(
            f"SELECT {_TRACK} FROM tracks ORDER BY popularity DESC, idx LIMIT ?",
            (limit,),
        )
        return [Listed(track := Track(*row), float(track.popularity)) for row in rows]

    def _unpacked(self, query: str, own_id: str, limit: int) -> list[Listed]:
        """The lines that a query finds packed: tracks, their numbers, and reasons if there are any."""
        row = self._db.execute(query, (own_id,)).fetchone()
        if not row or not row[0]:
            return []
        tracks, numbers, reasons = (np.frombuffer(row[place], kind) for place, kind in enumerate(("<i4", "<f4", "<i4")))
        lines = np.column_stack([tracks, reasons.reshape(len(tracks), -1)])[:limit].tolist()
        known = self.tracks_at({index for line in lines for index in line if index >= 0})
        return [
            Listed(known[track], number, tuple(known[index] for index in due_to if index >= 0))
            for (track, *due_to), number in zip(lines, numbers.tolist(), strict=False)
        ]

    def tracks_at(self, indexes: Collection[int]) -> dict[int, Track]:
        """Tracks by their indexes."""
        found = self._db.execute(
            f"SELECT idx, {_TRACK} FROM tracks WHERE idx IN ({','.join('?' * len(indexes))})", tuple(indexes)
        )
        return {row[0]: Track(*row[1:]) for row in found}


def _matching(text: str) -> tuple[str, tuple[str, ...]]:
    """The condition of SQL that picks the tracks with all words of a text, and its values."""
    words = re.findall(r"\w+", text)
    if not words:
        return "", ()
    return "WHERE idx IN (SELECT rowid FROM tracks_fts WHERE tracks_fts MATCH ?)", (" ".join(f'"{w}"*' for w in words),)


def build_store(version: Path, interactions: Path) -> None:
    """Writes `serving.sqlite` from a version's own Parquet files and the interactions behind it.

    Files are taken one by one. So recommendations and interactions must lie in the order of the users' indexes.
    """
    tracks = pq.read_table(version / "tracks.parquet").sort_by("index")
    users = pq.read_table(version / "users.parquet").sort_by("index")
    with closing(sqlite3.connect(version / FILE)) as db, db:
        db.executescript(_SCHEMA)
        described = (
            tracks[name].to_pylist() for name in ("index", "track_id", "title", "artist", "genre", "popularity")
        )
        names = tracks["track_id"]
        similar = _packed(_lists(version / "similar", ("track_id", names), ("similar_id", names)), len(tracks), 2)
        db.executemany(
            "INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((*track, *alike) for track, alike in zip(zip(*described, strict=True), similar, strict=True)),
        )
        about = (users[name].to_pylist() for name in ("index", "user_id", "age", "country", "interactions", "rung"))
        listed = _lists(version / "recommendations", ("user_id", users["user_id"]), ("track_id", names))
        lists = _packed(listed, len(users), 3)
        heard = _packed(_history(interactions), len(users), 2)
        db.executemany(
            "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (*who, *mine, *history)
                for who, mine, history in zip(zip(*about, strict=True), lists, heard, strict=True)
            ),
        )
        db.executescript(_FINISH)


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


def _history(interactions: Path) -> Iterator[Lines]:
    """Each file's users, tracks and values, by user, the highest value first."""
    for file in sorted(interactions.glob("*.parquet")):
        table = pq.read_table(file, columns=["user", "track", "value"])
        users, tracks, values = (table[name].to_numpy() for name in table.column_names)
        order = np.lexsort((tracks, -values, users))
        yield users[order], tracks[order], values[order]


def _packed(files: Iterator[Lines], num_users: int, columns: int) -> Iterator[tuple[bytes, ...]]:
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
