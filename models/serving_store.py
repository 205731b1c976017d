"""`serving.sqlite`: a published version, laid out for looking things up. `models.serving_store_writer` writes it.

Tracks are numbered by *place*: 0 is the one that most users have heard, so whatever goes through tracks in the order of
their places and stops early has the most heard ones. Lists are packed, a column of bytes each for places (`int32`) and
numbers (`float32`, little-endian), so that a look-up reads a row or two; tracks that were read before are kept. Reasons
are equally many places a line, −1 where there are fewer.

Nothing here needs numpy or Arrow: a process that only looks things up starts faster and stays small without them.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import struct
import unicodedata
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from weakref import WeakValueDictionary

FILE = "serving.sqlite"

MAX_AUDIENCE = 20
"""So many users are stored for a track that it is recommended to."""

MAX_CACHED_TRACKS = 100_000
"""So many tracks of a version are kept once they were read: 100 MB or so, with what a server makes of them."""

_TOGETHER = 32
"""So many tracks whose places lie in a block are read together: the second one costs a tenth of the first."""

_USER = "users.user_id, age, country, interactions, tier"
_TRACK = "place, track_id, title, artist, genre, popularity"
_LISTED, _HEARD = "items, scores, because", "heard, heard_values, x''"
_OF_USER = "FROM users JOIN user_lists USING (idx) WHERE users.user_id = ?"
_OF_TRACK = "FROM tracks JOIN track_lists USING (idx) WHERE track_id = ?"
_GIVEN = "(SELECT value FROM json_each(?))"


class StoredUser(NamedTuple):
    """A user, and how many tracks they have heard."""

    user_id: str
    age: int | None
    country: str | None
    interactions: int
    tier: str
    """What their list stands on: a key of `config.fallbacks.TIERS`."""


@dataclass(slots=True)
class StoredTrack:
    """A track, and how many users have heard it."""

    track_id: str
    title: str | None
    artist: str | None
    genre: str | None
    popularity: int
    prepared: Any = field(default=None, repr=False, compare=False)
    """What `prepare` of the store that read it first has made of it: the same tracks are asked for again and again."""


class ScoredTrack(NamedTuple):
    """A line of a list: a track with its score, or with what the user gave it (plays, or a rating)."""

    track: StoredTrack
    number: float
    because: tuple[StoredTrack, ...] = ()
    """What the user heard that contributed most to a recommendation."""


class AudienceMember(NamedTuple):
    """A user to whom a track is recommended, and where it stands in their list."""

    user: StoredUser
    rank: int
    score: float


class _Known(dict[int, StoredTrack]):
    """Tracks by their places: a dictionary that goes when the last store of its file does."""


_known: WeakValueDictionary[tuple[str, int, int], _Known] = WeakValueDictionary()


class ServingStore:
    """Reads a published version's `serving.sqlite`. Any thread may use it, one at a time; close it, or use `with`.

    Stores of the same version share the tracks that they have read.
    """

    def __init__(self, version: Path, prepare: Callable[[StoredTrack], Any] | None = None) -> None:
        """Opens read-only.

        Args:
            prepare: makes `prepared` of each track that is kept.

        Raises:
            FileNotFoundError: the version has no `serving.sqlite`.
        """
        self.version, self._prepare = version, prepare
        path = version / FILE
        if not path.is_file():
            raise FileNotFoundError(f"{version} is not a published version: it has no {FILE}.")
        where, state = str(path.resolve()), path.stat()
        self._known = _known.setdefault((where, state.st_ino, state.st_mtime_ns), _Known())
        # Not mapped into memory: of a file that is cut short, a mapping would end the process.
        self._db = sqlite3.connect(f"file:{quote(where)}?mode=ro&immutable=1", uri=True, check_same_thread=False)

    def __enter__(self) -> ServingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; nothing can be looked up any more."""
        self._db.close()

    def user(self, user_id: str) -> StoredUser | None:
        """The user of that id; None where there is none."""
        row = self._db.execute(f"SELECT {_USER} FROM users WHERE user_id = ?", (user_id,)).fetchone()
        return StoredUser._make(row) if row else None

    def users(self, prefix: str = "", limit: int = 20, after: str = "") -> list[StoredUser]:
        """Users whose id begins so, in the order of their ids; those after one of them, if it is named."""
        query = f"SELECT {_USER} FROM users WHERE user_id >= ? AND user_id > ? ORDER BY user_id"
        rows = self._db.execute(query, (prefix, after))
        matching = itertools.takewhile(lambda row: row[0].startswith(prefix), rows)  # from the index, row by row
        return [StoredUser._make(row) for row in itertools.islice(matching, limit)]

    def recommendations(self, user_id: str, limit: int) -> list[ScoredTrack]:
        """A user's list, best first: at most as many lines as are stored."""
        return self._list(f"SELECT {_LISTED} {_OF_USER}", user_id, limit)

    def history(self, user_id: str, limit: int) -> list[ScoredTrack]:
        """What a user has heard, the highest value first."""
        return self._list(f"SELECT {_HEARD} {_OF_USER}", user_id, limit)

    def user_with_list(self, user_id: str, limit: int) -> tuple[StoredUser, list[ScoredTrack]] | None:
        """A user and their recommendations, in one look-up; None where there is no such user."""
        row = self._db.execute(f"SELECT {_USER}, {_LISTED} {_OF_USER}", (user_id,)).fetchone()
        return (StoredUser._make(row[:5]), self._lines(row[5:], limit)) if row else None

    def track(self, track_id: str) -> StoredTrack | None:
        """The track of that id; None where there is none."""
        row = self._db.execute(f"SELECT {_TRACK} FROM tracks WHERE track_id = ?", (track_id,)).fetchone()
        return StoredTrack(*row[1:]) if row else None

    def find_tracks(self, text: str, limit: int = 20, skipped: int = 0) -> list[StoredTrack]:
        """Tracks in whose title or artist every word of a text occurs, or a word that begins so; the most heard first.

        Without a word in it, the most heard of all.

        Args:
            skipped: how many of them to leave out, from the first.
        """
        if not (wanted := _matching(text)):
            return self._most_heard(limit, skipped)
        query = "SELECT rowid FROM tracks_fts WHERE tracks_fts MATCH ? ORDER BY rowid LIMIT ? OFFSET ?"
        places = [row[0] for row in self._db.execute(query, (wanted, limit, skipped))]
        found = self._at(places)
        return [found[place] for place in places]

    def count_tracks(self, text: str) -> int:
        """How many tracks `find_tracks` finds."""
        if not (wanted := _matching(text)):
            return self.num_tracks
        query = "SELECT count(*) FROM tracks_fts WHERE tracks_fts MATCH ?"
        return int(self._db.execute(query, (wanted,)).fetchone()[0])

    def similar(self, track_id: str, limit: int) -> list[ScoredTrack]:
        """The tracks that are most similar to a track, with how much they are."""
        return self._list(f"SELECT similar, similarities, x'' {_OF_TRACK}", track_id, limit)

    def recommended_to(self, track_id: str, limit: int = MAX_AUDIENCE) -> tuple[int, list[AudienceMember]]:
        """In how many users' lists a track stands, and those in whose lists it stands highest.

        Args:
            limit: of the users; at most `MAX_AUDIENCE` are stored.
        """
        query = f"SELECT reach, reached, ranks, reached_scores {_OF_TRACK}"
        row = self._db.execute(query, (track_id,)).fetchone()
        if row is None:
            return 0, []
        reach, users, ranks, scores = row[0], *(_whole(part, limit) for part in row[1:3]), _real(row[3], limit)
        query = f"SELECT user_lists.idx, {_USER} FROM user_lists JOIN users USING (user_id) WHERE user_lists.idx IN"
        known = {
            row[0]: StoredUser._make(row[1:]) for row in self._db.execute(f"{query} {_GIVEN}", (json.dumps(users),))
        }
        lines = zip(users, ranks, scores, strict=True)
        return reach, [AudienceMember(known[user], rank, score) for user, rank, score in lines]

    @property
    def num_tracks(self) -> int:
        """Size of the catalogue."""
        return int(self._db.execute("SELECT coalesce(max(place), -1) + 1 FROM tracks").fetchone()[0])

    def indexes(self, track_ids: Collection[str]) -> dict[str, int]:
        """The model's indexes of those of some ids that there are, in their order."""
        query = f"SELECT track_id, idx FROM tracks WHERE track_id IN ({','.join('?' * len(track_ids))})"
        found = dict(self._db.execute(query, tuple(track_ids)).fetchall())
        return {track: found[track] for track in track_ids if track in found}

    def tracks_at(self, indexes: Collection[int]) -> dict[int, StoredTrack]:
        """Tracks by the model's indexes."""
        query = f"SELECT idx, place FROM track_lists WHERE idx IN {_GIVEN}"
        places = dict(self._db.execute(query, (json.dumps(list(indexes)),)).fetchall())
        found = self._at(places.values())
        return {index: found[place] for index, place in places.items()}

    def similar_to(self, index: int) -> dict[int, float]:
        """How similar other tracks are to that of an index, by their indexes, as far as it is stored."""
        row = self._db.execute("SELECT similar, similarities FROM track_lists WHERE idx = ?", (index,)).fetchone()
        places, numbers = _whole(row[0]), _real(row[1])
        query = f"SELECT place, idx FROM tracks WHERE place IN {_GIVEN}"
        index_of = dict(self._db.execute(query, (json.dumps(places),)).fetchall())
        return {index_of[place]: number for place, number in zip(places, numbers, strict=True)}

    def popular(self, limit: int) -> list[ScoredTrack]:
        """The tracks that most users have heard, with that number."""
        return [ScoredTrack(track, float(track.popularity)) for track in self._most_heard(limit)]

    def _most_heard(self, limit: int, skipped: int = 0) -> list[StoredTrack]:
        places = range(skipped, min(skipped + limit, self.num_tracks))
        found = self._at(places)
        return [found[place] for place in places]

    def _list(self, query: str, own_id: str, limit: int) -> list[ScoredTrack]:
        """The lines of a list that a query finds packed."""
        row = self._db.execute(query, (own_id,)).fetchone()
        return self._lines(row, limit) if row else []

    def _lines(self, packed: tuple[bytes, bytes, bytes], limit: int) -> list[ScoredTrack]:
        """The first lines of a packed list: places, their numbers, and reasons if there are any."""
        items, numbers, because = packed
        places, each = _whole(items, limit), len(because) // len(items) if items else 0
        numbered, reasons = _real(numbers, limit), _whole(because, each * limit)
        try:
            return _listed(self._known, places, numbered, reasons, each)
        except KeyError:  # some are not known yet
            return _listed(self._at((*places, *reasons)), places, numbered, reasons, each)

    def _at(self, places: Collection[int]) -> Mapping[int, StoredTrack]:
        """Tracks by their places, among others; those that are not known yet are read in one go. −1 is none."""
        known = self._known
        missing = {place for place in places if place not in known and place >= 0}
        if not missing:
            return known
        # A process that looks up once reads nothing but what it needs, and so does one that has all that it may keep.
        together = _TOGETHER if known and len(known) + _TOGETHER * len(missing) <= MAX_CACHED_TRACKS else 1
        # All in one row: between rows, other threads would take their turn.
        query = (
            f"SELECT json_group_array(json_array({_TRACK})) FROM {_GIVEN} AS given "
            "JOIN tracks ON place BETWEEN given.value AND given.value + ? - 1"
        )
        firsts = json.dumps([*{place - place % together for place in missing}])
        (rows,) = self._db.execute(query, (firsts, together)).fetchone()
        read = {place: StoredTrack(*of_track) for place, *of_track in json.loads(rows)}
        if len(known) < MAX_CACHED_TRACKS:  # the first ones stay: what is seen early is seen often
            if (prepare := self._prepare) is not None:
                for track in read.values():
                    track.prepared = prepare(track)
            known.update(read)
            return known
        return ChainMap(read, known)


def _listed(
    known: Mapping[int, StoredTrack], places: Sequence[int], numbers: Sequence[float], reasons: Sequence[int], each: int
) -> list[ScoredTrack]:
    """The lines of a list, each with so many reasons.

    Raises:
        KeyError: a track is not known.
    """
    lines = zip(places, numbers, strict=True)
    if not each:
        return [ScoredTrack(known[place], number) for place, number in lines]
    due_to: Iterable[Sequence[int]] = zip(*[iter(reasons)] * each, strict=True)  # as many at a time as a line has
    if -1 in reasons:
        due_to = ([reason for reason in due if reason >= 0] for due in due_to)
    at = known.__getitem__
    return [
        ScoredTrack(at(place), number, tuple(map(at, due))) for (place, number), due in zip(lines, due_to, strict=True)
    ]


def _whole(packed: bytes, limit: int | None = None) -> Sequence[int]:
    """The first whole numbers of a packed column."""
    return _unpacked("i", packed, limit)


def _real(packed: bytes, limit: int | None = None) -> Sequence[float]:
    """The first real numbers of a packed column."""
    return _unpacked("f", packed, limit)


def _unpacked(kind: str, packed: bytes, limit: int | None) -> tuple[Any, ...]:
    """The first numbers of four bytes each."""
    count = len(packed) // 4
    return struct.unpack_from(f"<{count if limit is None else min(count, limit)}{kind}", packed)


def _matching(text: str) -> str:
    """What full-text search is asked for the words of a text; empty where there is none.

    Accents are composed first: a lone one would cut a word in two.
    """
    return " ".join(f'"{word}"*' for word in re.findall(r"\w+", unicodedata.normalize("NFC", text)))
