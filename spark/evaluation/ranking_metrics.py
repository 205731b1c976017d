"""Ranking metrics of top-k lists with binary relevance, one value for each user.

Definitions: Järvelin and Kekäläinen (2002) for NDCG; Manning, Raghavan and Schütze (2008), chapter 8, for the others.
Average precision is normalised by min(k, relevant), so that a perfect list scores 1.

Arguments of all metrics:

    hits      shape (users, at least k): whether the track at each position is relevant; False beyond a list's end
    relevant  shape (users,): the number of relevant tracks of each user, at least 1
    k         the list length
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark.evaluation.metric_registry import Values, metric

CURVES = ("ndcg", "recall", "precision")
"""Metrics that are reported at every list length up to the longest."""

Indexes = NDArray[np.int32]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]


def find_hits(
    lists: Indexes, taken: Bools, rows: Counts, tracks: Indexes, num_tracks: int, depth: int
) -> tuple[Bools, Counts]:
    """Return `hits`, shape (users, depth), and `relevant`, shape (users,).

    Args:
        lists: tracks, shape (users, at most depth).
        taken: which positions of the lists hold a track.
        rows, tracks: pairs of a user's row and a relevant track.
    """
    hits = np.zeros((len(lists), depth), bool)
    listed = np.arange(len(lists))[:, None] * num_tracks + lists
    hits[:, : lists.shape[1]] = np.isin(listed, rows * num_tracks + tracks) & taken
    return hits, np.bincount(rows, minlength=len(lists))


@metric("ndcg")
def ndcg(hits: Bools, relevant: Counts, k: int) -> Values:
    """Return the discounted cumulative gain, divided by that of a perfect list."""
    discounts, ideal_gains = _gains(k)
    # A cumulative sum adds position by position, as `curves` does; a plain sum would round differently.
    gains: Values = np.cumsum(hits[:, :k] * discounts, axis=1)[:, -1]
    return np.asarray(gains / ideal_gains[np.minimum(relevant, k)])


@metric("recall")
def recall(hits: Bools, relevant: Counts, k: int) -> Values:
    """Return the share of the relevant tracks that are in the list."""
    return np.asarray(hits[:, :k].sum(axis=1) / relevant)


@metric("precision")
def precision(hits: Bools, relevant: Counts, k: int) -> Values:
    """Return the share of k that is relevant."""
    return np.asarray(hits[:, :k].sum(axis=1) / k)


@metric("map")
def average_precision(hits: Bools, relevant: Counts, k: int) -> Values:
    """Return the precision at each hit, summed and divided by min(k, relevant)."""
    top = hits[:, :k]
    precision_at_hits = np.cumsum(top, axis=1) / np.arange(1, k + 1) * top
    return np.asarray(precision_at_hits.sum(axis=1) / np.minimum(relevant, k))


@metric("mrr")
def reciprocal_rank(hits: Bools, relevant: Counts, k: int) -> Values:
    """Return one divided by the position of the first hit, 0 without a hit."""
    top = hits[:, :k]
    return np.asarray((top.sum(axis=1) > 0) / (top.argmax(axis=1) + 1))


@metric("hit_rate")
def hit_rate(hits: Bools, relevant: Counts, k: int) -> Values:
    """Return 1 if the list has a hit, else 0."""
    return np.asarray(hits[:, :k].sum(axis=1) > 0, np.float64)


def pack_hits(hits: Bools) -> Indexes:
    """Return the hits of each user as one number whose lowest bit is the first position; for up to 31 positions."""
    return (hits @ (1 << np.arange(hits.shape[1]))).astype(np.int32)


def curves(packed_hits: Indexes, relevant: Counts, depth: int) -> dict[str, list[float]]:
    """Return the means over users of `CURVES` at list lengths 1, 2, … `depth`, in one pass over the positions.

    The values are exactly those of the metrics' own functions.
    """
    discounts, ideal_gains = _gains(depth)
    hit_counts, gains = np.zeros(len(packed_hits), np.int64), np.zeros(len(packed_hits))
    means: dict[str, list[float]] = {name: [] for name in CURVES}
    for position in range(depth):
        hit, k = (packed_hits >> position) & 1, position + 1
        hit_counts += hit
        gains += hit * discounts[position]
        at_k = {
            "ndcg": gains / ideal_gains[np.minimum(relevant, k)],
            "recall": hit_counts / relevant,
            "precision": hit_counts / k,
        }
        for name, values in at_k.items():
            means[name].append(float(np.mean(values)))
    return means


def _gains(depth: int) -> tuple[Values, Values]:
    """Return the gain of a hit at each position, and the largest gain of 0, 1, … `depth` hits."""
    discounts = 1.0 / np.log2(np.arange(2, depth + 2))
    return discounts, np.concatenate([[0.0], np.cumsum(discounts)])
