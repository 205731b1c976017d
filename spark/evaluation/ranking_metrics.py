"""Ranking metrics of top-k lists, one value a user.

Binary relevance. `hits` says for each place of each user's list whether the track there is relevant, `relevant`
how many tracks are relevant to each user in all. Definitions: Järvelin and Kekäläinen (2002) for NDCG, Manning,
Raghavan and Schütze (2008), chapter 8, for the others; average precision is normalised by min(k, relevant), so
that a perfect list scores 1. The reciprocal rank is that of the first hit among the first k, and 0 without one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUTOFFS = (10, 20)
"""The lengths of list at which metrics are reported."""

METRICS = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate")

CURVES = ("ndcg", "recall", "precision")
"""The metrics that are reported at every length of list up to the longest."""

Indexes = NDArray[np.int32]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def find_hits(
    lists: Indexes, taken: Bools, rows: Counts, tracks: Indexes, num_tracks: int, depth: int
) -> tuple[Bools, Counts]:
    """Which places of the lists have a relevant track, shape (users, depth), and how many tracks are relevant to each.

    Args:
        lists: tracks, shape (users, at most depth).
        taken: which places of the lists hold one.
        rows, tracks: the relevant tracks, and the row of the user whom each is relevant to.
    """
    hits = np.zeros((len(lists), depth), bool)
    places = np.arange(len(lists))[:, None] * num_tracks + lists
    hits[:, : lists.shape[1]] = np.isin(places, rows * num_tracks + tracks) & taken
    return hits, np.bincount(rows, minlength=len(lists))


def metrics_at(hits: Bools, relevant: Counts, k: int) -> dict[str, Values]:
    """Every metric at `k`, by its plain name.

    Args:
        hits: shape (users, at least k); places beyond the end of a shorter list are False.
        relevant: shape (users,), at least 1 each.
    """
    top = hits[:, :k]
    found = top.sum(axis=1)
    ideal = np.minimum(relevant, k)
    discounts, best = _gains(k)
    precision_at_hits = np.cumsum(top, axis=1) / np.arange(1, k + 1) * top
    return {
        "ndcg": np.cumsum(top * discounts, axis=1)[:, -1] / best[ideal],  # place by place, as `curves` adds
        "recall": found / relevant,
        "precision": found / k,
        "map": precision_at_hits.sum(axis=1) / ideal,
        "mrr": (found > 0) / (top.argmax(axis=1) + 1),
        "hit_rate": (found > 0).astype(np.float64),
    }


def pack_hits(hits: Bools) -> Indexes:
    """Each user's hits in one number: the first place is its lowest bit. For up to 31 places."""
    return (hits @ (1 << np.arange(hits.shape[1]))).astype(np.int32)


def curves(hits: Indexes, relevant: Counts, depth: int) -> dict[str, list[float]]:
    """Means over users of `CURVES` at 1, 2, … `depth` places: exactly those of `metrics_at`, in one pass over places.

    Args:
        hits: as `packed` made them.
        relevant: shape (users,), at least 1 each.
    """
    discounts, best = _gains(depth)
    found, gained = np.zeros(len(hits), np.int64), np.zeros(len(hits))
    means: dict[str, list[float]] = {name: [] for name in CURVES}
    for place in range(depth):
        hit, k = (hits >> place) & 1, place + 1
        found += hit
        gained += hit * discounts[place]
        at_k = {"ndcg": gained / best[np.minimum(relevant, k)], "recall": found / relevant, "precision": found / k}
        for name, values in at_k.items():
            means[name].append(float(np.mean(values)))
    return means


def _gains(depth: int) -> tuple[Values, Values]:
    """What a hit at each place counts, and the most that 0, 1, … `depth` hits can."""
    discounts = 1.0 / np.log2(np.arange(2, depth + 2))
    return discounts, np.concatenate([[0.0], np.cumsum(discounts)])
