"""A cache of a serving store's tracks, shared by all stores of the same file in the process."""

from __future__ import annotations

import json
import sqlite3
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from models.serving_records import StoredTrack

MAX_CACHED_TRACKS = 100_000
"""Maximum number of cached tracks per version: about 100 MB including what `prepare` returns."""

_BLOCK = 32
"""Tracks of neighbouring popularity ranks that are read together: each further one costs a tenth of the first."""

# One row for all tracks, because other threads may run between rows.
_QUERY = """
SELECT json_group_array(json_array(popularity_rank, track_id, title, artist, genre, popularity))
FROM (SELECT value FROM json_each(?)) AS block
JOIN tracks ON popularity_rank BETWEEN block.value AND block.value + ? - 1
"""


class _Tracks(dict[int, StoredTrack]):
    """Tracks by popularity rank. A subclass, because a plain dict does not support weak references."""


_shared: WeakValueDictionary[tuple[str, int, int], _Tracks] = WeakValueDictionary()
"""By path, inode and modification time of the file. An entry lives as long as a store of its file."""


class TrackCache:
    """Reads tracks by popularity rank and keeps them."""

    def __init__(self, file: Path, db: sqlite3.Connection, prepare: Callable[[StoredTrack], Any] | None) -> None:
        """Share the cache of a file's stores.

        Args:
            db: an open connection to the file.
            prepare: computes `prepared` of each track that is kept.
        """
        status = file.stat()
        self.cached = _shared.setdefault((str(file), status.st_ino, status.st_mtime_ns), _Tracks())
        """The cached tracks by popularity rank."""
        self._db, self._prepare = db, prepare

    def get(self, ranks: Collection[int]) -> Mapping[int, StoredTrack]:
        """Return a mapping that has at least the tracks of these popularity ranks; −1 means no track."""
        missing = {rank for rank in ranks if rank not in self.cached and rank >= 0}
        if not missing:
            return self.cached
        tracks = self._read(missing)
        if len(self.cached) >= MAX_CACHED_TRACKS:  # the first ones stay: frequent tracks are seen early
            return ChainMap(tracks, self.cached)
        if self._prepare is not None:
            for track in tracks.values():
                track.prepared = self._prepare(track)
        self.cached.update(tracks)
        return self.cached

    def _read(self, ranks: Collection[int]) -> dict[int, StoredTrack]:
        # The first look-up of a process, or one with a nearly full cache, reads only the tracks it needs.
        is_warm = self.cached and len(self.cached) + _BLOCK * len(ranks) <= MAX_CACHED_TRACKS
        size = _BLOCK if is_warm else 1
        firsts = json.dumps(list({rank - rank % size for rank in ranks}))
        (rows,) = self._db.execute(_QUERY, (firsts, size)).fetchone()
        return {rank: StoredTrack(*columns) for rank, *columns in json.loads(rows)}
