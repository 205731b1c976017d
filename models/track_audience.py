"""To whom each track is recommended: gathered from everybody's lists, a file at a time, while a store is written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = tuple[NDArray[Any], ...]


class TrackAudience:
    """In how many lists each track stands, and the users in whose lists it stands highest.

    A higher rank goes before a lower one, then a higher score, then a lower index of the user.
    """

    def __init__(self, num_tracks: int, most: int) -> None:
        """Starts with no list.

        Args:
            most: so many users a track are kept.
        """
        self.counts: NDArray[np.int64] = np.zeros(num_tracks, np.int64)
        self._most = most
        self._best: Columns = tuple(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, np.float32))
        self._waiting: list[Columns] = []
        self._lowest = np.full(num_tracks, np.iinfo(np.int64).max)
        """The rank of the last user that is kept, where there are as many as may be."""

    def add(self, users: NDArray[np.int64], tracks: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Takes whole lists in, by user and rank; users that come later have higher indexes."""
        self.counts += np.bincount(tracks, minlength=len(self.counts))
        ranks = _place_within(users) + 1
        able = ranks <= self._lowest[tracks]  # few of them, after a few files
        self._waiting.append(tuple(column[able] for column in (tracks, users, ranks, scores)))
        if sum(len(columns[0]) for columns in self._waiting) > len(self._best[0]):  # so sorting stays seldom
            self._settle()

    def best(self) -> Columns:
        """Tracks, users, ranks and scores, by track, the best first."""
        self._settle()
        return self._best

    def _settle(self) -> None:
        """Keeps the best of what is kept and what is waiting."""
        tracks, users, ranks, scores = (np.concatenate(parts) for parts in zip(self._best, *self._waiting, strict=True))
        order = np.lexsort((-scores, ranks, tracks))  # stable, so equals stay in the order of the users
        place = _place_within(tracks[order])
        full, kept = order[place == self._most - 1], order[place < self._most]
        self._lowest[tracks[full]] = ranks[full]
        self._best, self._waiting = (tracks[kept], users[kept], ranks[kept], scores[kept]), []


def _place_within(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each row stands within those of its owner, from 0; rows are sorted by owner."""
    found: NDArray[np.int64] = np.arange(len(owners)) - np.searchsorted(owners, owners)
    return found
