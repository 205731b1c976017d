"""The best k tracks of every user, without what they have heard: each task takes some users and writes their lists.

Whatever scores users in blocks goes through the same selection. Models of factors go a shorter way, where the products
are never written out, and tracks that cannot get into a list are passed over. Memory: a block of users holds at most
`_BLOCK_BYTES` of scores at a time, whatever the number of users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.scorer import FloatArray, IndexArray, Scorer
from spark.storage.interaction_matrix import CSRMatrix

Places = NDArray[np.int64]

_BLOCK_BYTES = 16 << 20
_BLOCK_USERS = 512


@dataclass(frozen=True)
class TopKLists:
    """The lists of some users, best track first."""

    tracks: IndexArray
    """Shape (users, k)."""
    scores: FloatArray
    sizes: NDArray[np.int64]
    """How many places of each list are taken; those behind hold nothing."""

    @classmethod
    def empty(cls, users: int, k: int) -> TopKLists:
        """With nothing in them yet."""
        return cls(np.zeros((users, k), np.int32), np.zeros((users, k), np.float32), np.zeros(users, np.int64))

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Which places are, shape (users, k)."""
        taken: NDArray[np.bool_] = np.arange(self.tracks.shape[1]) < self.sizes[:, None]
        return taken

    def of(self, places: Places) -> TopKLists:
        """Those at some places."""
        return TopKLists(self.tracks[places], self.scores[places], self.sizes[places])

    def put(self, places: Places, others: TopKLists) -> None:
        """Takes other lists, as long as these, for those at some places."""
        self.tracks[places], self.scores[places], self.sizes[places] = others.tracks, others.scores, others.sizes


def top_k(
    scorer: Scorer, users: IndexArray, heard: CSRMatrix, k: int, eligible: NDArray[np.bool_] | None = None
) -> TopKLists:
    """The best k tracks of some users that they have not heard.

    Args:
        heard: the tracks that each user heard, by user.
        k: at most the number of tracks.
        eligible: which tracks may be listed, shape (num_tracks,); all where it is None.
    """
    lists = TopKLists.empty(len(users), k)
    rest = np.arange(len(users))
    if isinstance(scorer, FactorScorer):
        factors, known = scorer.user_factors(users)
        _by_products(scorer, factors, known, users, heard, eligible, lists)
        rest = np.flatnonzero(~known | (lists.sizes < k))
    size = max(1, min(_BLOCK_USERS, _BLOCK_BYTES // (4 * scorer.num_tracks)))
    for places in _blocks(rest, size):
        some = users[places]
        lists.put(places, top_k_from_scores(scorer.scores(some, heard), some, heard, k, eligible))
    return lists


def top_k_from_scores(
    scores: FloatArray, users: IndexArray, heard: CSRMatrix, k: int, eligible: NDArray[np.bool_] | None = None
) -> TopKLists:
    """The same out of scores that are written out, shape (len(users), num_tracks)."""
    from spark.lists import topk_kernel

    tracks = np.arange(scores.shape[1], dtype=np.int32)
    if eligible is not None:
        tracks, scores = tracks[eligible], np.ascontiguousarray(scores[:, eligible])
    lists = TopKLists.empty(len(users), k)
    found = (lists.scores, lists.tracks, lists.sizes)
    topk_kernel.offer(
        scores, tracks, np.arange(len(users)), users.astype(np.int64), heard.indptr, heard.indices, *found
    )
    topk_kernel.sort_lists(*found)
    return lists


def _by_products(
    scorer: FactorScorer,
    factors: FloatArray,
    known: NDArray[np.bool_],
    users: IndexArray,
    heard: CSRMatrix,
    eligible: NDArray[np.bool_] | None,
    lists: TopKLists,
) -> None:
    """Puts in the lists of the known users, out of known tracks."""
    from spark.lists import topk_kernel

    order, sorted_factors, norms = scorer.by_norm
    if eligible is not None:
        order, sorted_factors, norms = order[eligible[order]], sorted_factors[eligible[order]], norms[eligible[order]]
    for places in _blocks(np.flatnonzero(known), topk_kernel.TILE_ROWS):
        some, mine = users[places].astype(np.int64), factors[places]
        block = TopKLists.empty(len(places), lists.tracks.shape[1])
        found = (block.scores, block.tracks, block.sizes)
        topk_kernel.offer_products(mine, order, sorted_factors, norms, some, heard.indptr, heard.indices, *found)
        topk_kernel.rescore(mine, scorer.track_factors, *found)
        topk_kernel.sort_lists(*found)
        lists.put(places, block)


def _blocks(places: Places, size: int) -> Iterator[Places]:
    """The places, so many of them at a time."""
    return (places[start : start + size] for start in range(0, len(places), size))
