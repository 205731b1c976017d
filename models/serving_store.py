"""`serving.sqlite`: a published version, laid out for look-ups. `models.serving_store_writer` writes it.

A track's primary key is its *popularity rank*: 0 is the track with the most listeners. A query in the order of the key
that stops early returns the most popular tracks. Lists are packed columns, one blob each of popularity ranks (`int32`)
and scores (`float32`, little-endian), so a look-up reads a row or two. An explanation has the same number of ranks for
each entry of a list, padded with −1.

This module imports neither numpy nor Arrow, so that a process that only looks up starts fast and stays small.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import struct
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from models.serving_records import AudienceMember, ScoredTrack, StoredTrack, StoredUser
from models.track_cache import TrackCache

FILE = "serving.sqlite"

MAX_AUDIENCE = 20
"""Maximum number of users stored per track to whom it is recommended."""

_USER = "users.user_id, age, country, interactions, tier"
_TRACK = "track_id, title, artist, genre, popularity"
_RECOMMENDATIONS = "recommendations, scores, explanations"
_HISTORY = "history, history_values, x''"
_OF_USER = "FROM users JOIN user_lists USING (idx) WHERE users.user_id = ?"
_OF_TRACK = "FROM tracks JOIN track_lists USING (idx) WHERE track_id = ?"
_JSON_LIST = "(SELECT value FROM json_each(?))"


class ServingStore:
    """Read access to a version's `serving.sqlite`. Any thread may use it, one at a time. Close it, or use `with`.

    Stores of the same version share a cache of tracks.
    """

    def __init__(self, version: Path, prepare: Callable[[StoredTrack], Any] | None = None) -> None:
        """Open the store read-only.

        Args:
            prepare: computes `prepared` of each cached track.

        Raises:
            FileNotFoundError: the version has no `serving.sqlite`.
        """
        self.version = version
        if not (version / FILE).is_file():
            raise FileNotFoundError(f"{version} is not a published version: it has no {FILE}.")
        file = (version / FILE).resolve()
        # Not memory-mapped: reading a mapped file that was truncated would kill the process.
        self._db = sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self._tracks = TrackCache(file, self._db, prepare)

    def __enter__(self) -> ServingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; later look-ups fail."""
        self._db.close()

    # -- users ---------------------------------------------------------------------------------------------------------

    def user(self, user_id: str) -> StoredUser | None:
        """Return a user; None if the version does not have the id."""
        row = self._db.execute(f"SELECT {_USER} FROM users WHERE user_id = ?", (user_id,)).fetchone()
        return StoredUser._make(row) if row else None

    def users(self, prefix: str = "", limit: int = 20, after: str = "") -> list[StoredUser]:
        """Return the users whose id has a prefix, in the order of their ids, from the first id greater than `after`."""
        query = f"SELECT {_USER} FROM users WHERE user_id >= ? AND user_id > ? ORDER BY user_id"
        rows = self._db.execute(query, (prefix, after))
        matches = itertools.takewhile(lambda row: row[0].startswith(prefix), rows)  # reads the index row by row
        return [StoredUser._make(row) for row in itertools.islice(matches, limit)]

    def recommendations(self, user_id: str, limit: int) -> list[ScoredTrack]:
        """Return the beginning of a user's list, best first."""
        return self._read_list(f"SELECT {_RECOMMENDATIONS} {_OF_USER}", user_id, limit)

    def history(self, user_id: str, limit: int) -> list[ScoredTrack]:
        """Return the tracks a user has heard, the highest value first."""
        return self._read_list(f"SELECT {_HISTORY} {_OF_USER}", user_id, limit)

    def user_with_list(self, user_id: str, limit: int) -> tuple[StoredUser, list[ScoredTrack]] | None:
        """Return a user and the beginning of their list from a single look-up; None for an unknown id."""
        row = self._db.execute(f"SELECT {_USER}, {_RECOMMENDATIONS} {_OF_USER}", (user_id,)).fetchone()
        return (StoredUser._make(row[:5]), self._unpack_list(row[5:], limit)) if row else None

    # -- tracks --------------------------------------------------------------------------------------------------------

    @property
    def num_tracks(self) -> int:
        """Size of the catalogue."""
        return int(self._db.execute("SELECT coalesce(max(popularity_rank), -1) + 1 FROM tracks").fetchone()[0])

    def track(self, track_id: str) -> StoredTrack | None:
        """Return a track; None if the version does not have the id."""
        row = self._db.execute(f"SELECT {_TRACK} FROM tracks WHERE track_id = ?", (track_id,)).fetchone()
        return StoredTrack(*row) if row else None

    def search_tracks(self, text: str, limit: int = 20, offset: int = 0) -> list[StoredTrack]:
        """Return the tracks whose title or artist has every word of `text` as a prefix of a word, most popular first.

        A text without words matches all tracks.
        """
        if not (match := _fts_query(text)):
            return self._most_popular(limit, offset)
        query = "SELECT rowid FROM tracks_fts WHERE tracks_fts MATCH ? ORDER BY rowid LIMIT ? OFFSET ?"
        return self._tracks_at([row[0] for row in self._db.execute(query, (match, limit, offset))])

    def count_matches(self, text: str) -> int:
        """Return how many tracks `search_tracks` finds."""
        if not (match := _fts_query(text)):
            return self.num_tracks
        query = "SELECT count(*) FROM tracks_fts WHERE tracks_fts MATCH ?"
        return int(self._db.execute(query, (match,)).fetchone()[0])

    def popular(self, limit: int) -> list[ScoredTrack]:
        """Return the most popular tracks; the score is the number of listeners."""
        return [ScoredTrack(track, float(track.popularity)) for track in self._most_popular(limit)]

    def similar(self, track_id: str, limit: int) -> list[ScoredTrack]:
        """Return the tracks most similar to a track, best first."""
        return self._read_list(f"SELECT similar, similarities, x'' {_OF_TRACK}", track_id, limit)

    def audience(self, track_id: str, limit: int = MAX_AUDIENCE) -> tuple[int, list[AudienceMember]]:
        """Return in how many users' lists a track is, and the users in whose lists it ranks highest.

        Args:
            limit: maximum number of users; at most `MAX_AUDIENCE` are stored.
        """
        query = f"SELECT audience_size, audience, audience_ranks, audience_scores {_OF_TRACK}"
        row = self._db.execute(query, (track_id,)).fetchone()
        if row is None:
            return 0, []
        indexes, ranks, scores = _ints(row[1], limit), _ints(row[2], limit), _floats(row[3], limit)
        query = f"SELECT user_lists.idx, {_USER} FROM user_lists JOIN users USING (user_id) WHERE user_lists.idx IN"
        rows = self._db.execute(f"{query} {_JSON_LIST}", (json.dumps(indexes),))
        users = {index: StoredUser._make(columns) for index, *columns in rows}
        members = zip(indexes, ranks, scores, strict=True)
        return row[0], [AudienceMember(users[index], rank, score) for index, rank, score in members]

    # -- by the model's track indexes ----------------------------------------------------------------------------------

    def track_indexes(self, track_ids: Collection[str]) -> dict[str, int]:
        """Map the ids to the model's indexes, in the same order, without unknown ids."""
        query = f"SELECT track_id, idx FROM tracks WHERE track_id IN ({','.join('?' * len(track_ids))})"
        indexes = dict(self._db.execute(query, tuple(track_ids)).fetchall())
        return {track: indexes[track] for track in track_ids if track in indexes}

    def tracks_by_index(self, indexes: Collection[int]) -> dict[int, StoredTrack]:
        """Map the model's indexes to tracks."""
        query = f"SELECT idx, popularity_rank FROM track_lists WHERE idx IN {_JSON_LIST}"
        ranks = dict(self._db.execute(query, (json.dumps(list(indexes)),)).fetchall())
        tracks = self._tracks.get(ranks.values())
        return {index: tracks[rank] for index, rank in ranks.items()}

    def similarities(self, index: int) -> dict[int, float]:
        """Map the indexes of the tracks similar to one to their similarities, as far as they are stored."""
        row = self._db.execute("SELECT similar, similarities FROM track_lists WHERE idx = ?", (index,)).fetchone()
        ranks, similarities = _ints(row[0]), _floats(row[1])
        query = f"SELECT popularity_rank, idx FROM tracks WHERE popularity_rank IN {_JSON_LIST}"
        indexes = dict(self._db.execute(query, (json.dumps(ranks),)).fetchall())
        return {indexes[rank]: similarity for rank, similarity in zip(ranks, similarities, strict=True)}

    # ------------------------------------------------------------------------------------------------------------------

    def _most_popular(self, limit: int, offset: int = 0) -> list[StoredTrack]:
        return self._tracks_at(range(offset, min(offset + limit, self.num_tracks)))

    def _tracks_at(self, ranks: Sequence[int]) -> list[StoredTrack]:
        tracks = self._tracks.get(ranks)
        return [tracks[rank] for rank in ranks]

    def _read_list(self, query: str, owner_id: str, limit: int) -> list[ScoredTrack]:
        row = self._db.execute(query, (owner_id,)).fetchone()
        return self._unpack_list(row, limit) if row else []

    def _unpack_list(self, packed: tuple[bytes, bytes, bytes], limit: int) -> list[ScoredTrack]:
        """Unpack the beginning of a list from its columns of ranks, scores and explanations, which may be empty."""
        width = len(packed[2]) // len(packed[0]) if packed[0] else 0
        ranks, scores, explanations = (
            _ints(packed[0], limit),
            _floats(packed[1], limit),
            _ints(packed[2], width * limit),
        )
        try:
            return _scored_tracks(self._tracks.cached, ranks, scores, explanations, width)
        except KeyError:  # a track is not cached
            tracks = self._tracks.get((*ranks, *explanations))
            return _scored_tracks(tracks, ranks, scores, explanations, width)


def _scored_tracks(
    tracks: Mapping[int, StoredTrack], ranks: Sequence[int], scores: Sequence[float], explanations: Sequence[int],
    width: int,
) -> list[ScoredTrack]:  # fmt: skip
    """Return the entries of a list, each with `width` ranks of `explanations`.

    Raises:
        KeyError: `tracks` does not have a track of the list.
    """
    entries = zip(ranks, scores, strict=True)
    if not width:
        return [ScoredTrack(tracks[rank], score) for rank, score in entries]
    groups: Iterable[Sequence[int]] = zip(*[iter(explanations)] * width, strict=True)
    if -1 in explanations:
        groups = ([rank for rank in group if rank >= 0] for group in groups)
    get = tracks.__getitem__
    return [
        ScoredTrack(get(rank), score, tuple(map(get, group)))
        for (rank, score), group in zip(entries, groups, strict=True)
    ]


def _ints(packed: bytes, limit: int | None = None) -> Sequence[int]:
    return _unpack("i", packed, limit)


def _floats(packed: bytes, limit: int | None = None) -> Sequence[float]:
    return _unpack("f", packed, limit)


def _unpack(kind: str, packed: bytes, limit: int | None) -> tuple[Any, ...]:
    """Unpack the first `limit` numbers of four bytes each."""
    count = len(packed) // 4
    return struct.unpack_from(f"<{count if limit is None else min(count, limit)}{kind}", packed)


def _fts_query(text: str) -> str:
    """Return the full-text query for the words of a text; empty if it has none.

    Accents are composed first, because a combining accent would split a word.
    """
    return " ".join(f'"{word}"*' for word in re.findall(r"\w+", unicodedata.normalize("NFC", text)))
