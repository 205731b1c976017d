"""The best k tracks of every user, without what they have heard: each task takes some users and writes their lists.

Whatever scores users in blocks goes through the same selection. Models of factors go a shorter way, where the products
are never written out, and tracks that cannot get into a list are passed over. Memory: a block of users holds at most
`_BLOCK_BYTES` of scores at a time, whatever the number of users.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark.algorithms import Floats, Indexes, Scorer
from spark.algorithms.factors import FactorScorer
from spark.blocks import Rows

Places = NDArray[np.int64]
Offer = Callable[..., None]

_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Lists:
    """The lists of some users, best track first."""

    tracks: Indexes
    """Shape (users, k)."""
    scores: Floats
    sizes: NDArray[np.int64]
    """How many places of each list are taken; those behind hold nothing."""

    @classmethod
    def empty(cls, users: int, k: int) -> Lists:
        """With nothing in them yet."""
        return cls(np.zeros((users, k), np.int32), np.zeros((users, k), np.float32), np.zeros(users, np.int64))

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Which places are, shape (users, k)."""
        taken: NDArray[np.bool_] = np.arange(self.tracks.shape[1]) < self.sizes[:, None]
        return taken


def best(scorer: Scorer, users: Indexes, heard: Rows, k: int, eligible: NDArray[np.bool_] | None = None) -> Lists:
    """The best k tracks of some users that they have not heard.

    Args:
        heard: the tracks that each user heard, by user.
        k: at most the number of tracks.
        eligible: which tracks may be listed, shape (num_tracks,); all where it is None.
    """
    lists = Lists.empty(len(users), k)
    if isinstance(scorer, FactorScorer):
        factors, known = scorer.user_factors(users)
        _by_products(scorer, factors, known, users, heard, eligible, lists)
        rest = np.flatnonzero(~known | (lists.sizes < k))
    else:
        rest = np.arange(len(users))
    _by_scores(scorer, rest, users, heard, eligible, lists)
    return lists


def _by_products(
    scorer: FactorScorer,
    factors: Floats,
    known: NDArray[np.bool_],
    users: Indexes,
    heard: Rows,
    eligible: NDArray[np.bool_] | None,
    lists: Lists,
) -> None:
    """Lists of the known users, out of known tracks."""
    from spark import selection

    order, sorted_factors, norms = scorer.by_norm
    if eligible is not None:
        order, sorted_factors, norms = order[eligible[order]], sorted_factors[eligible[order]], norms[eligible[order]]

    def offer(block: Places, rows: Places, *found: NDArray[Any]) -> None:
        selection.offer_products(
            factors[block], order, sorted_factors, norms, rows, heard.starts, heard.columns, *found
        )
        selection.rescore(factors[block], scorer.track_factors, *found)

    _fill(lists, np.flatnonzero(known), users, selection.TILE_ROWS, offer)


def _by_scores(
    scorer: Scorer,
    places: Places,
    users: Indexes,
    heard: Rows,
    eligible: NDArray[np.bool_] | None,
    lists: Lists,
) -> None:
    """Lists of the users at some places, out of all tracks, with every score written out."""
    from spark import selection

    tracks = np.arange(scorer.num_tracks, dtype=np.int32)
    if eligible is not None:
        tracks = tracks[eligible]

    def offer(block: Places, rows: Places, *found: NDArray[Any]) -> None:
        scores = scorer.scores(users[block], heard)
        if eligible is not None:
            scores = np.ascontiguousarray(scores[:, eligible])
        selection.offer(scores, tracks, np.arange(len(block)), rows, heard.starts, heard.columns, *found)

    size = max(1, min(selection.TILE_ROWS, _BLOCK_BYTES // (4 * scorer.num_tracks)))
    _fill(lists, places, users, size, offer)


def _fill(lists: Lists, places: Places, users: Indexes, size: int, offer: Offer) -> None:
    """Makes the lists at some places anew, a block of them at a time.

    Args:
        offer: given a block of places, and whose lists they are, puts into scores, tracks and sizes what belongs there.
    """
    from spark import selection

    for start in range(0, len(places), size):
        block = places[start : start + size]
        found = [np.zeros_like(part[block]) for part in (lists.scores, lists.tracks, lists.sizes)]
        offer(block, users[block].astype(np.int64), *found)
        selection.sort_lists(*found)
        lists.scores[block], lists.tracks[block], lists.sizes[block] = found
