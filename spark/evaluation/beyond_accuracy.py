"""Metrics that describe lists: novelty, diversity, popularity, and exposure of the catalogue.

Novelty is the mean self-information of the tracks (Zhou et al. 2010), diversity one minus the mean similarity within a
list (Ziegler et al. 2005), ARP the average recommendation popularity (Yin et al. 2012).

Metrics of lists have one value for each user, a mean over the first k tracks of the list; NaN if there is nothing to
average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.scorer import COLD_TRACK_LISTENERS
from spark.evaluation.metric_registry import Values, metric
from spark.evaluation.track_labels import TrackLabels
from spark.lists.topk import TopKLists


@dataclass(frozen=True)
class CatalogueStatistics:
    """Facts about the tracks that do not depend on a model."""

    listeners: Values
    """Users of each track in the training part, shape (num_tracks,)."""
    users: int
    """Users with interactions in the training part."""
    labels: TrackLabels | None
    """None if the dataset has neither artists nor genres nor tags."""


@metric("novelty")
def novelty(lists: TopKLists, catalogue: CatalogueStatistics, k: int) -> Values:
    """Return the mean self-information in bits.

    A track without listeners counts as having one, because its self-information would be infinite.
    """
    self_information = -np.log2(np.maximum(catalogue.listeners, 1) / catalogue.users)
    return _mean_over_list(self_information, lists, k)


@metric("diversity")
def diversity(lists: TopKLists, catalogue: CatalogueStatistics, k: int) -> Values:
    """Return one minus the mean Jaccard similarity of all pairs of tracks that have labels."""
    tracks, labels = lists.tracks[:, :k], catalogue.labels
    if labels is None:
        return np.full(len(tracks), np.nan)
    from spark.evaluation import diversity_kernel

    sums, pairs = np.zeros(len(tracks)), np.zeros(len(tracks), np.int64)
    diversity_kernel.similarities(np.ascontiguousarray(tracks), lists.sizes, labels.starts, labels.labels, sums, pairs)
    return 1 - _divide(sums, pairs)


@metric("arp")
def average_popularity(lists: TopKLists, catalogue: CatalogueStatistics, k: int) -> Values:
    """Return the mean number of listeners."""
    return _mean_over_list(catalogue.listeners, lists, k)


@metric("cold_tracks")
def cold_track_share(lists: TopKLists, catalogue: CatalogueStatistics, k: int) -> Values:
    """Return the share of tracks with fewer than `COLD_TRACK_LISTENERS` listeners."""
    return _mean_over_list(catalogue.listeners < COLD_TRACK_LISTENERS, lists, k)


@metric("cold_users")
def is_cold_user(training_counts: NDArray[np.int64]) -> Values:
    """Return 1 for a user without interactions in the training part, else 0."""
    return np.asarray(training_counts == 0, np.float64)


@metric("coverage")
def coverage(counts: NDArray[np.int64]) -> float:
    """Return the share of the tracks that are recommended at all.

    Args:
        counts: how often each track is recommended, shape (num_tracks,).
    """
    return float(np.count_nonzero(counts)) / len(counts)


@metric("gini")
def gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini coefficient of how often each track is recommended; NaN if no track is.

    Args:
        counts: shape (num_tracks,).
    """
    if not counts.any():
        return float("nan")
    ranks = 2 * np.arange(1, len(counts) + 1) - len(counts) - 1
    return float(np.sort(counts) @ ranks / (len(counts) * counts.sum()))


def _mean_over_list(track_values: NDArray[np.generic], lists: TopKLists, k: int) -> Values:
    """Return the mean over the first k tracks of each list."""
    tracks, taken = lists.tracks[:, :k], lists.taken[:, :k]
    return _divide(np.where(taken, track_values[tracks], 0).sum(axis=1), taken.sum(axis=1))


def _divide(sums: NDArray[np.generic], counts: NDArray[np.int64]) -> Values:
    """Return sums divided by counts; NaN where the count is 0."""
    quotients: Values = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return quotients
