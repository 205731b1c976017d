"""Item-based nearest neighbours (Deshpande and Karypis 2004): tracks heard by the same users are similar.

Similarity is the cosine of the tracks' columns in the user-item matrix: binary, or weighted by BM25, which discounts
popular tracks and users with long histories (Robertson and Zaragoza 2009; a user is a document, an interaction an
occurrence). Each task computes the co-occurrences of a range of tracks and keeps only the nearest neighbours, so that
no dense tracks × tracks matrix is stored.
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
"""The usual constants of BM25."""
_PAIRS_PER_TASK = 200_000_000
"""Approximate number of co-occurring pairs of interactions that a task visits."""
_TRACKS_PER_BATCH = 64


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Save the nearest neighbours of each track."""
    into.mkdir()
    matrix, similarity, max_neighbours = training.matrix, settings["similarity"], settings["neighbours"]

    def save_range(tracks: tuple[int, int]) -> str:
        starts, neighbours, similarities = _nearest_neighbours(matrix, similarity, max_neighbours, *tracks)
        name = f"{tracks[0]:09}.npz"
        np.savez(into / name, starts=starts, tracks=neighbours, similarities=similarities)
        return name

    names = run_tasks(training.spark, save_range, _track_ranges(matrix))
    ranges = [np.load(into / name) for name in names]
    counts = np.concatenate([np.diff(saved["starts"]) for saved in ranges])
    np.save(into / "starts.npy", np.concatenate([[0], np.cumsum(counts)]))
    for array in ("tracks", "similarities"):
        np.save(into / f"{array}.npy", np.concatenate([saved[array] for saved in ranges]))
    for file in into.glob("*.npz"):
        file.unlink()
    return {}


def _track_ranges(matrix: Path) -> list[tuple[int, int]]:
    """Split the tracks into ranges, end exclusive, that visit about `_PAIRS_PER_TASK` pairs of interactions each."""
    by_track, by_user = load_csr(matrix, TRACK), load_csr(matrix, USER)
    history_sizes = np.diff(by_user.indptr)[by_track.indices]
    pairs = np.concatenate([[0], np.cumsum(history_sizes)])[by_track.indptr]
    cuts = np.searchsorted(pairs, np.arange(_PAIRS_PER_TASK, pairs[-1], _PAIRS_PER_TASK))
    return list(itertools.pairwise(sorted({0, *cuts.tolist(), len(by_track)})))


def _nearest_neighbours(
    matrix: Path, similarity: str, max_neighbours: int, first: int, last: int
) -> tuple[NDArray[np.int64], IndexArray, FloatArray]:
    """The nearest neighbours of tracks `first` to `last` (exclusive) in CSR form; ties go to the lower index."""
    from spark.algorithms.cooccurrence import cooccurrence_rows

    by_user, by_track = load_csr(matrix, USER), load_csr(matrix, TRACK)
    user_weights, track_weights = _weights(by_user, by_track, similarity)
    starts, neighbours, similarities = [0], [], []
    for begin in range(first, last, _TRACKS_PER_BATCH):
        end = min(begin + _TRACKS_PER_BATCH, last)
        rows = cooccurrence_rows(
            (by_track.indptr, by_track.indices), (by_user.indptr, by_user.indices),
            user_weights, track_weights, track_weights, begin, end,
        )  # fmt: skip
        rows[np.arange(end - begin), np.arange(begin, end)] = 0  # a track is not its own neighbour
        for row in rows:
            cooccurring = np.flatnonzero(row)
            order = np.lexsort((cooccurring, -row[cooccurring]))[:max_neighbours]
            nearest = np.sort(cooccurring[order]).astype(np.int32)
            starts.append(starts[-1] + len(nearest))
            neighbours.append(nearest)
            similarities.append(row[nearest])
    return np.array(starts), np.concatenate(neighbours), np.concatenate(similarities)


def _weights(by_user: CSRMatrix, by_track: CSRMatrix, similarity: str) -> tuple[FloatArray, FloatArray]:
    """User and track weights with which the weighted co-occurrence of two tracks is their similarity."""
    history_sizes, listeners = np.diff(by_user.indptr), np.diff(by_track.indptr)
    if similarity == "cosine":
        users, tracks = np.ones(len(history_sizes)), np.ones(len(listeners))
        squared_norms = listeners.astype(np.float64)
    else:
        tracks = np.log((len(history_sizes) - listeners + 0.5) / (listeners + 0.5) + 1.0)
        mean_size = max(history_sizes.mean(), 1e-9)
        users = ((_K1 + 1) / (1 + _K1 * (1 - _B + _B * history_sizes / mean_size))) ** 2
        sums = np.concatenate([[0.0], np.cumsum(users[by_track.indices])])
        squared_norms = tracks**2 * np.diff(sums[by_track.indptr])
    norms = np.sqrt(np.maximum(squared_norms, np.finfo(np.float64).tiny))
    return users.astype(np.float32), np.where(listeners > 0, tracks / norms, 0.0).astype(np.float32)


def load(model: Path) -> NeighbourScorer:
    """Open a saved model."""
    starts, tracks, similarities = (
        np.load(model / f"{name}.npy", mmap_mode="r") for name in ("starts", "tracks", "similarities")
    )
    return NeighbourScorer(load_popularity(model), starts, tracks, similarities)


@dataclass(frozen=True)
class NeighbourScorer(RankingScorer):
    """Scores a track by the sum of its similarities to the tracks in the history that have it as a neighbour."""

    starts: NDArray[np.int64]
    """The neighbours of track t are the entries `starts[t]` to `starts[t + 1]` of the other two arrays."""
    neighbours: IndexArray
    similarities: FloatArray

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        from spark.algorithms.cooccurrence import add_neighbours

        scores = np.zeros((len(users), self.num_tracks), np.float32)
        add_neighbours(
            history.indptr, history.indices, users.astype(np.int64),
            self.starts, self.neighbours, self.similarities, scores,
        )  # fmt: skip
        return fill_missing_scores(scores, self.known_tracks, np.asarray(~scores.any(axis=1)), self.popularity)

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating]:
        """See `Scorer`: the similarity of each pair."""
        return np.stack([self._similarities_to(track, tracks) for track in history.tolist()], axis=1)

    def _similarities_to(self, track: int, others: IndexArray) -> FloatArray:
        """Similarity of others to a track, shape (len(others),); 0 for those that are not its neighbours."""
        entries = slice(self.starts[track], self.starts[track + 1])
        neighbours, similarities = self.neighbours[entries], np.zeros(len(others), np.float32)
        if len(neighbours):
            positions = np.minimum(np.searchsorted(neighbours, others), len(neighbours) - 1)
            similarities[:] = np.where(neighbours[positions] == others, self.similarities[entries][positions], 0)
        return similarities
