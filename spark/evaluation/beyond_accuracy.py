"""What else lists are like, beyond their hits: how novel, varied and popular, and how they spread over the catalogue.

Novelty is the mean self-information of the tracks (Zhou et al. 2010), diversity one minus the mean similarity within a
list (Ziegler et al. 2005), ARP the average recommendation popularity (Yin et al. 2012). All are means over the places
of a list that are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark.algorithms.scorer import COLD_TRACK_LISTENERS
from spark.lists.topk import TopKLists
from spark.storage.tables import explode_texts, read_indexed

PER_LIST = ("novelty", "diversity", "arp", "cold_tracks")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class TrackLabels:
    """What the catalogue says of the tracks: track t has `labels[starts[t]:starts[t + 1]]`, ascending."""

    starts: NDArray[np.int64]
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class CatalogueStatistics:
    """What is known of the tracks beside what a model makes of them."""

    listeners: Values
    """Users of each track in the training part, shape (num_tracks,)."""
    users: int
    """Users who have something in the training part."""
    labels: TrackLabels | None
    """Absent where the dataset says nothing of any track."""


def list_metrics(lists: TopKLists, catalogue: CatalogueStatistics, k: int) -> dict[str, Values]:
    """Each of `PER_LIST` for the first k places of each list; NaN for a list with nothing to take a mean of.

    A track without listeners counts for novelty as if it had one: its self-information would be infinite.
    """
    first, taken = lists.tracks[:, :k], lists.taken[:, :k]
    informative = -np.log2(np.maximum(catalogue.listeners, 1) / catalogue.users)
    return {
        "novelty": _means(informative[first], taken),
        "diversity": _diversity(first, lists.sizes, catalogue.labels),
        "arp": _means(catalogue.listeners[first], taken),
        "cold_tracks": _means(catalogue.listeners[first] < COLD_TRACK_LISTENERS, taken),
    }


def gini(counts: NDArray[np.int64]) -> float:
    """The Gini coefficient of how often each track is recommended: 0 all alike, towards 1 one gets all.

    Args:
        counts: shape (num_tracks,), not all zero.
    """
    ranks = 2 * np.arange(1, len(counts) + 1) - len(counts) - 1
    return float(np.sort(counts) @ ranks / (len(counts) * counts.sum()))


@lru_cache(maxsize=2)
def load_track_labels(catalogue: Path) -> TrackLabels | None:
    """The artist, genre and tags of each track as numbers, from the Parquet of tracks; None where none is known.

    Genre and tags are of one kind, because where the catalogue has no genre the first tag is it.
    """
    table = read_indexed(catalogue)
    artists, styles = (
        [explode_texts(table[name]) for name in names if name in table.column_names]
        for names in (["artist"], ["genre", "tags"])
    )
    tracks, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    total = 0
    for kind in (artists, styles):
        if kind:
            encoded = pa.concat_arrays([texts for _, texts in kind]).dictionary_encode()
            tracks += [rows for rows, _ in kind]
            labels.append(encoded.indices.to_numpy().astype(np.int64) + total)
            total += len(encoded.dictionary)
    if total == 0:
        return None
    each = np.unique(np.concatenate(tracks) * total + np.concatenate(labels))
    counts = np.bincount(each // total, minlength=len(table))
    return TrackLabels(np.concatenate([[0], np.cumsum(counts)]), (each % total).astype(np.int32))


def _diversity(tracks: NDArray[np.int32], sizes: NDArray[np.int64], labels: TrackLabels | None) -> Values:
    """One minus the mean Jaccard similarity of the pairs of tracks of which something is known."""
    if labels is None:
        return np.full(len(tracks), np.nan)
    from spark.evaluation import diversity_kernel

    sums, pairs = np.zeros(len(tracks)), np.zeros(len(tracks), np.int64)
    diversity_kernel.similarities(np.ascontiguousarray(tracks), sizes, labels.starts, labels.labels, sums, pairs)
    return 1 - _divided(sums, pairs)


def _means(of: NDArray[np.generic], taken: NDArray[np.bool_]) -> Values:
    """The mean over the places of each list that are taken."""
    return _divided(np.where(taken, of, 0).sum(axis=1), taken.sum(axis=1))


def _divided(sums: NDArray[np.generic], counts: NDArray[np.int64]) -> Values:
    """Sums by counts; NaN where there is nothing."""
    quotients: Values = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return quotients
