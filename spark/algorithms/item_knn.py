"""Neighbours of items: a track is similar to those that the same users heard; each keeps its nearest (Deshpande and
Karypis 2004).

Similarity is the cosine of the tracks' columns, whose entries are 1, or BM25's weights, by which tracks that many heard
and users who heard much count less (Robertson and Zaragoza 2009; each interaction is an occurrence). The co-occurrence
is counted sparsely, a range of tracks a task, and each row's nearest are picked at once, so nothing of the size of
tracks × tracks is ever written.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import FloatArray, IndexArray, RankingScorer, fill_missing_scores
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, load_csr

_K1, _B = 1.2, 0.75
"""BM25's customary constants."""
_COST_PER_TASK = 200_000_000
"""Pairs of interactions of one user, about."""
_ROWS = 64


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Finds each track's nearest."""
    into.mkdir()
    blocks, kind, most = training.blocks, settings["similarity"], settings["neighbours"]

    def nearest(task: tuple[int, int]) -> str:
        name = f"{task[0]:09}"
        starts, tracks, similarities = _nearest(blocks, kind, most, *task)
        np.savez(into / name, starts=starts, tracks=tracks, similarities=similarities)
        return f"{name}.npz"

    parts = [np.load(into / name) for name in run_tasks(training.spark, nearest, _tasks(blocks))]
    counts = np.concatenate([np.diff(part["starts"]) for part in parts])
    np.save(into / "starts.npy", np.concatenate([[0], np.cumsum(counts)]))
    for name in ("tracks", "similarities"):
        np.save(into / f"{name}.npy", np.concatenate([part[name] for part in parts]))
    for file in into.glob("*.npz"):
        file.unlink()
    return {}


def _tasks(blocks: Path) -> list[tuple[int, int]]:
    """First track and that after the last of each task, by how many pairs have to be looked at."""
    by_track, by_user = load_csr(blocks, TRACK), load_csr(blocks, USER)
    lengths = np.diff(by_user.indptr)[by_track.indices]
    pairs = np.concatenate([[0], np.cumsum(lengths)])[by_track.indptr]
    cuts = np.searchsorted(pairs, np.arange(_COST_PER_TASK, pairs[-1], _COST_PER_TASK))
    edges = sorted({0, *cuts.tolist(), len(by_track)})
    return list(itertools.pairwise(edges))


def _nearest(
    blocks: Path, kind: str, most: int, first: int, last: int
) -> tuple[NDArray[np.int64], IndexArray, FloatArray]:
    """The nearest of the tracks from first to before last, compressed; of equally near ones the lower index."""
    from spark.algorithms.cooccurrence import cooccurrence_rows

    by_user, by_track = load_csr(blocks, USER), load_csr(blocks, TRACK)
    users, tracks = _weights(by_user, by_track, kind)
    starts, found, similarities = [0], [], []
    for begin in range(first, last, _ROWS):
        end = min(begin + _ROWS, last)
        rows = cooccurrence_rows(
            (by_track.indptr, by_track.indices), (by_user.indptr, by_user.indices), users, tracks, tracks, begin, end
        )
        rows[np.arange(end - begin), np.arange(begin, end)] = 0  # a track is no neighbour of itself
        for row in rows:
            heard_together = np.flatnonzero(row)
            order = np.lexsort((heard_together, -row[heard_together]))[:most]
            nearest = np.sort(heard_together[order]).astype(np.int32)
            starts.append(starts[-1] + len(nearest))
            found.append(nearest)
            similarities.append(row[nearest])
    return np.array(starts), np.concatenate(found), np.concatenate(similarities)


def _weights(by_user: CSRMatrix, by_track: CSRMatrix, kind: str) -> tuple[FloatArray, FloatArray]:
    """The weights of users and of tracks by which a pair of tracks heard together counts."""
    heard, listeners = np.diff(by_user.indptr), np.diff(by_track.indptr)
    if kind == "cosine":
        users, tracks = np.ones(len(heard)), np.ones(len(listeners))
        squares = listeners.astype(np.float64)
    else:
        tracks = np.log((len(heard) - listeners + 0.5) / (listeners + 0.5) + 1.0)
        users = ((_K1 + 1) / (1 + _K1 * (1 - _B + _B * heard / max(heard.mean(), 1e-9)))) ** 2
        sums = np.concatenate([[0.0], np.cumsum(users[by_track.indices])])
        squares = tracks**2 * np.diff(sums[by_track.indptr])
    lengths = np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny))
    return users.astype(np.float32), np.where(listeners > 0, tracks / lengths, 0.0).astype(np.float32)


def load(model: Path) -> NeighbourScorer:
    """Opens a saved model."""
    starts, tracks, similarities = (
        np.load(model / f"{name}.npy", mmap_mode="r") for name in ("starts", "tracks", "similarities")
    )
    return NeighbourScorer(load_popularity(model), starts, tracks, similarities)


@dataclass(frozen=True)
class NeighbourScorer(RankingScorer):
    """Scores a track by its similarity to what a user heard, as far as it is among the nearest of that."""

    starts: NDArray[np.int64]
    neighbours: IndexArray
    similarities: FloatArray

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        from spark.algorithms.cooccurrence import add_neighbours

        scores = np.zeros((len(users), self.num_tracks), np.float32)
        add_neighbours(
            heard.indptr, heard.indices, users.astype(np.int64), self.starts, self.neighbours, self.similarities, scores
        )
        return fill_missing_scores(scores, self.known_tracks, np.asarray(~scores.any(axis=1)), self.popularity)

    def similarities_of(self, track: int, others: IndexArray) -> FloatArray:
        """How similar others are to a track, as far as they are among its nearest; shape (len(others),)."""
        row = slice(self.starts[track], self.starts[track + 1])
        nearest, found = self.neighbours[row], np.zeros(len(others), np.float32)
        if len(nearest):
            places = np.minimum(np.searchsorted(nearest, others), len(nearest) - 1)
            found[:] = np.where(nearest[places] == others, self.similarities[row][places], 0)
        return found
