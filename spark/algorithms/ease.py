"""EASE (Steck 2019): a linear model that predicts each track from all others, in closed form.

With the Gram matrix G, the number of users who heard both of two tracks, P = (G + λI)⁻¹ and the weights are
B = -P / diag(P) with a zero diagonal. A user's scores are the sum of the rows of B of their history. Spark tasks
compute G, a range of tracks each; one process inverts it. Tracks with few listeners are left out: they add little, and
the cost grows with the cube of the number of tracks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import NotApplicable
from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import FloatArray, IndexArray, RankingScorer, fill_missing_scores
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.algorithms.user_item_matrix import user_item_matrix
from spark.runtime.memory import memory_limit
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, allocate_file, load_csr, memory_map, write_at

_MATRICES_IN_MEMORY = 3
"""Peak number of matrices of the size of G."""
_TRACKS_PER_TASK = 512
_GRAM = "gram"


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Learn the weights of all pairs of tracks that have enough listeners.

    Raises:
        NotApplicable: no track has enough listeners, or the matrices do not fit into memory.
    """
    listeners = np.diff(load_csr(training.matrix, TRACK).indptr)
    tracks = np.flatnonzero(listeners >= settings["min_listeners"]).astype(np.int32)
    _check_size(len(tracks), settings["min_listeners"])
    into.mkdir()
    report("counting pairs of tracks", 0.1)
    gram = _gram_matrix(training, tracks, into / _GRAM)
    report(f"inverting {len(tracks):,} × {len(tracks):,}", 0.5)
    np.save(into / "weights.npy", _solve_weights(gram, settings["reg_param"]))
    np.save(into / "tracks.npy", tracks)
    (into / _GRAM).unlink()
    return {}


def _check_size(num_tracks: int, min_listeners: int) -> None:
    needed, available = _MATRICES_IN_MEMORY * 4 * num_tracks**2, memory_limit()
    if num_tracks == 0:
        raise NotApplicable(f"no track has {min_listeners} listeners ([ease] min_listeners)")
    if needed > available / 2:
        raise NotApplicable(
            f"{num_tracks:,} tracks have {min_listeners} listeners or more; their matrices need {needed / 2**30:.1f} "
            f"GB, more than half of the {available / 2**30:.1f} GB of memory: raise [ease] min_listeners"
        )


def _gram_matrix(training: TrainingData, tracks: IndexArray, file: Path) -> NDArray[np.float32]:
    """Count the users who heard both of two tracks, shape (len(tracks), len(tracks)), in a memory-mapped file."""
    matrix, count = training.matrix, len(tracks)
    allocate_file(file, 4 * count**2)

    def write_rows(first: int) -> None:
        from spark.algorithms.cooccurrence import cooccurrence_rows

        by_user, by_track = load_csr(matrix, USER), load_csr(matrix, TRACK)
        user_weights, track_weights = np.ones(len(by_user), np.float32), np.ones(len(by_track), np.float32)
        for row in range(first, min(first + _TRACKS_PER_TASK, count)):
            track = int(tracks[row])
            counts = cooccurrence_rows(
                (by_track.indptr, by_track.indices), (by_user.indptr, by_user.indices),
                user_weights, track_weights, track_weights, track, track + 1,
            )  # fmt: skip
            write_at(file, 4 * count * row, counts[0, tracks])

    run_tasks(training.spark, write_rows, range(0, count, _TRACKS_PER_TASK))
    return memory_map(file, np.float32).reshape(count, count)


def _solve_weights(gram: NDArray[np.float32], reg_param: float) -> NDArray[np.float32]:
    """Compute B from G."""
    from scipy.linalg import lapack

    regularized = np.array(gram, order="F")
    regularized[np.diag_indices_from(regularized)] += np.float32(reg_param)
    cholesky, potrf_error = lapack.spotrf(regularized, lower=True, overwrite_a=True)
    inverse, potri_error = lapack.spotri(cholesky, lower=True, overwrite_c=True)
    if potrf_error or potri_error:
        raise NotApplicable(f"the matrix cannot be inverted: raise [ease] reg_param = {reg_param:g}")
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    inverse /= -np.diag(inverse)[None, :].copy()
    inverse[np.diag_indices_from(inverse)] = 0
    return np.ascontiguousarray(inverse)


def load(model: Path) -> EaseScorer:
    """Open a saved model."""
    weights = np.load(model / "weights.npy", mmap_mode="r")
    return EaseScorer(load_popularity(model), weights, np.load(model / "tracks.npy"))


@dataclass(frozen=True)
class EaseScorer(RankingScorer):
    """Scores a track by the sum of its weights from the tracks in the history."""

    weights: NDArray[np.float32]
    """Shape (modelled tracks, modelled tracks); row: from a heard track, column: to a scored track."""
    tracks: IndexArray
    """Indexes of the modelled tracks."""

    @cached_property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`: whether the track is modelled."""
        return np.asarray(self._positions >= 0)

    @cached_property
    def _positions(self) -> NDArray[np.int64]:
        """Row and column of each track in the weights, -1 if it is not modelled; shape (num_tracks,)."""
        positions = np.full(self.num_tracks, -1)
        positions[self.tracks] = np.arange(len(self.tracks))
        return positions

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        modelled = user_item_matrix(history, users, self.num_tracks)[:, self.tracks]
        scores = np.zeros((len(users), self.num_tracks), np.float32)
        scores[:, self.tracks] = modelled @ self.weights
        return fill_missing_scores(scores, self.known_tracks, np.diff(modelled.indptr) == 0, self.popularity)

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating]:
        """See `Scorer`: the weight of each pair, 0 if one of them is not modelled."""
        rows, columns = self._positions[history], self._positions[tracks]
        weights: FloatArray = self.weights[np.ix_(np.maximum(rows, 0), np.maximum(columns, 0))]
        weights[rows < 0] = 0
        weights[:, columns < 0] = 0
        return weights.T
