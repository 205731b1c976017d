"""Top-k selection: the best k tracks of each user, without those in their history.

Scores are computed for a batch of users at a time, so that memory is bounded by `_BATCH_BYTES`. For models whose scores
are inner products, a fused kernel skips both the score matrix and the tracks that cannot reach any list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.scorer import FloatArray, IndexArray, InnerProducts, Scorer
from spark.storage.interaction_matrix import CSRMatrix

Positions = NDArray[np.int64]
"""Positions in an array of users."""

_BATCH_BYTES = 16 << 20
_BATCH_USERS = 512


@dataclass(frozen=True)
class TopKLists:
    """Ranked lists of some users, best track first."""

    tracks: IndexArray
    """Shape (users, k)."""
    scores: FloatArray
    """Shape (users, k)."""
    sizes: NDArray[np.int64]
    """Length of each list, at most k; the entries beyond it are undefined."""

    @classmethod
    def empty(cls, users: int, k: int) -> TopKLists:
        """Lists of length 0 with room for k tracks each."""
        return cls(np.zeros((users, k), np.int32), np.zeros((users, k), np.float32), np.zeros(users, np.int64))

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Whether each entry belongs to its list, shape (users, k)."""
        taken: NDArray[np.bool_] = np.arange(self.tracks.shape[1]) < self.sizes[:, None]
        return taken

    def of(self, positions: Positions) -> TopKLists:
        """The lists at some positions."""
        return TopKLists(self.tracks[positions], self.scores[positions], self.sizes[positions])

    def put(self, positions: Positions, others: TopKLists) -> None:
        """Replace the lists at some positions."""
        self.tracks[positions], self.scores[positions] = others.tracks, others.scores
        self.sizes[positions] = others.sizes


def top_k(
    scorer: Scorer, users: IndexArray, history: CSRMatrix, k: int, eligible: NDArray[np.bool_] | None = None
) -> TopKLists:
    """Select the best k tracks of some users, without those in their history.

    Args:
        history: the tracks that each user heard, one row per user.
        k: at most the number of tracks.
        eligible: whether each track may be listed, shape (num_tracks,); None allows all.
    """
    lists = TopKLists.empty(len(users), k)
    remaining = np.arange(len(users))
    products = scorer.inner_products(users)
    if products is not None:
        _put_by_products(products, users, history, eligible, lists)
        remaining = np.flatnonzero(~products.known_users | (lists.sizes < k))
    size = max(1, min(_BATCH_USERS, _BATCH_BYTES // (4 * scorer.num_tracks)))
    for positions in _batches(remaining, size):
        batch = users[positions]
        lists.put(positions, top_k_from_scores(scorer.scores(batch, history), batch, history, k, eligible))
    return lists


def top_k_from_scores(
    scores: FloatArray, users: IndexArray, history: CSRMatrix, k: int, eligible: NDArray[np.bool_] | None = None
) -> TopKLists:
    """Select the best k tracks from a score matrix, shape (len(users), num_tracks). Other arguments as in `top_k`."""
    from spark.lists import topk_kernel

    tracks = np.arange(scores.shape[1], dtype=np.int32)
    if eligible is not None:
        tracks, scores = tracks[eligible], np.ascontiguousarray(scores[:, eligible])
    lists = TopKLists.empty(len(users), k)
    heaps = (lists.scores, lists.tracks, lists.sizes)
    topk_kernel.offer(
        scores, tracks, np.arange(len(users)), users.astype(np.int64), history.indptr, history.indices, *heaps
    )
    topk_kernel.sort_lists(*heaps)
    return lists


def _put_by_products(
    products: InnerProducts,
    users: IndexArray,
    history: CSRMatrix,
    eligible: NDArray[np.bool_] | None,
    lists: TopKLists,
) -> None:
    """Fill the lists of the known users with known tracks."""
    from spark.lists import topk_kernel

    order, factors, norms = products.by_norm
    if eligible is not None:
        chosen = eligible[order]
        order, factors, norms = order[chosen], factors[chosen], norms[chosen]
    for positions in _batches(np.flatnonzero(products.known_users), topk_kernel.TILE_ROWS):
        rows, user_factors = users[positions].astype(np.int64), products.user_factors[positions]
        batch = TopKLists.empty(len(positions), lists.tracks.shape[1])
        heaps = (batch.scores, batch.tracks, batch.sizes)
        topk_kernel.offer_products(user_factors, order, factors, norms, rows, history.indptr, history.indices, *heaps)
        topk_kernel.rescore(user_factors, products.track_factors, *heaps)
        topk_kernel.sort_lists(*heaps)
        lists.put(positions, batch)


def _batches(positions: Positions, size: int) -> Iterator[Positions]:
    return (positions[start : start + size] for start in range(0, len(positions), size))
