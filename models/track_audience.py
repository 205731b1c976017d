"""The audience of each track: how many users' lists it is in, and the users in whose lists it ranks highest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = tuple[NDArray[Any], ...]
"""Arrays of the same length: tracks, users, ranks and scores."""


class TrackAudience:
    """Collects the audience of each track from lists that are added file by file.

    Of a track's users, a lower rank precedes a higher one, then a higher score, then a lower user index.
    """

    def __init__(self, num_tracks: int, limit: int) -> None:
        """Start without lists.

        Args:
            limit: maximum number of users to keep per track.
        """
        self.sizes: NDArray[np.int64] = np.zeros(num_tracks, np.int64)
        """Number of lists each track is in, shape (num_tracks,)."""
        self._limit = limit
        self._best: Columns = tuple(np.empty(0, dtype) for dtype in (np.int64, np.int64, np.int64, np.float32))
        self._pending: list[Columns] = []
        self._worst_rank = np.full(num_tracks, np.iinfo(np.int64).max)
        """Per track: the rank of the last user kept once `limit` users are; worse ones are skipped."""

    def add(self, users: NDArray[np.int64], tracks: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Add complete lists, sorted by user and rank. Each call has higher user indexes than the one before."""
        self.sizes += np.bincount(tracks, minlength=len(self.sizes))
        ranks = _position_in_group(users) + 1
        candidates = ranks <= self._worst_rank[tracks]  # few, after the first files
        self._pending.append(tuple(column[candidates] for column in (tracks, users, ranks, scores)))
        if sum(len(columns[0]) for columns in self._pending) > len(self._best[0]):  # so that merges are rare
            self._merge()

    def best(self) -> Columns:
        """Return tracks, users, ranks and scores, sorted by track, the best user first."""
        self._merge()
        return self._best

    def _merge(self) -> None:
        tracks, users, ranks, scores = (np.concatenate(parts) for parts in zip(self._best, *self._pending, strict=True))
        order = np.lexsort((-scores, ranks, tracks))  # stable: ties stay in the order of the users
        position = _position_in_group(tracks[order])
        last, kept = order[position == self._limit - 1], order[position < self._limit]
        self._worst_rank[tracks[last]] = ranks[last]
        self._best, self._pending = (tracks[kept], users[kept], ranks[kept], scores[kept]), []


def _position_in_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row's position within its group, from 0; rows are sorted by group."""
    positions: NDArray[np.int64] = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return positions
