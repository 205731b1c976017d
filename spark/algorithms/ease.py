"""EASE (Steck 2019): each track is predicted from all others by a linear model, in closed form.

With G the matrix of how many users heard both of two tracks, P = (G + λI)⁻¹ and the weights are B = −P / diag(P), its
diagonal 0; a user's scores are the sum of the rows of what they heard. G comes from Spark, a range of tracks a task;
it is inverted in one process. Tracks with few listeners say little and cost much: they are left out.
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
from spark.runtime.worker_tasks import available_memory, run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, allocate_file, load_csr, memory_map, write_at

_MATRICES = 3
"""Of the size of G, which are in memory at once."""
_TRACKS_PER_TASK = 512
_GRAM = "gram"


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Learns the weights of all pairs of tracks that enough users heard.

    Raises:
        NotApplicable: the matrices would not fit into the memory.
    """
    listeners = np.diff(load_csr(training.blocks, TRACK).indptr)
    tracks = np.flatnonzero(listeners >= settings["min_listeners"]).astype(np.int32)
    _refuse_too_large(len(tracks), settings["min_listeners"])
    into.mkdir()
    report("counting pairs of tracks", 0.1)
    gram = _gram(training, tracks, into / _GRAM)
    report(f"inverting {len(tracks):,} × {len(tracks):,}", 0.5)
    np.save(into / "weights.npy", _weights(gram, settings["reg_param"]))
    np.save(into / "tracks.npy", tracks)
    (into / _GRAM).unlink()
    return {}


def _refuse_too_large(count: int, min_listeners: int) -> None:
    needed, there = _MATRICES * 4 * count**2, available_memory()
    if count == 0:
        raise NotApplicable(f"no track has {min_listeners} listeners ([ease] min_listeners)")
    if needed > there / 2:
        raise NotApplicable(
            f"{count:,} tracks have {min_listeners} listeners or more; their matrices take {needed / 2**30:.1f} GB, "
            f"more than half of the {there / 2**30:.1f} GB here: raise [ease] min_listeners"
        )


def _gram(training: TrainingData, tracks: IndexArray, file: Path) -> NDArray[np.float32]:
    """How many users heard both of two tracks, shape (len(tracks),) * 2, made by tasks in a file."""
    blocks, count = training.blocks, len(tracks)
    allocate_file(file, 4 * count**2)

    def count_together(first: int) -> None:
        from spark.algorithms.cooccurrence import cooccurrence_rows

        by_user, by_track = load_csr(blocks, USER), load_csr(blocks, TRACK)
        users, every = np.ones(len(by_user), np.float32), np.ones(len(by_track), np.float32)
        for at in range(first, min(first + _TRACKS_PER_TASK, count)):
            track = int(tracks[at])
            rows = cooccurrence_rows(
                (by_track.indptr, by_track.indices), (by_user.indptr, by_user.indices), users, every, every,
                track, track + 1,
            )  # fmt: skip
            write_at(file, 4 * count * at, rows[0, tracks])

    run_tasks(training.spark, count_together, range(0, count, _TRACKS_PER_TASK))
    return memory_map(file, np.float32).reshape(count, count)


def _weights(gram: NDArray[np.float32], reg_param: float) -> NDArray[np.float32]:
    """B, from G."""
    from scipy.linalg import lapack

    regularised = np.array(gram, order="F")
    regularised[np.diag_indices_from(regularised)] += np.float32(reg_param)
    factor, failed = lapack.spotrf(regularised, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise NotApplicable(f"the matrix cannot be inverted: raise [ease] reg_param = {reg_param:g}")
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    inverse /= -np.diag(inverse)[None, :].copy()
    inverse[np.diag_indices_from(inverse)] = 0
    return np.ascontiguousarray(inverse)


def load(model: Path) -> EaseScorer:
    """Opens a saved model."""
    weights = np.load(model / "weights.npy", mmap_mode="r")
    return EaseScorer(load_popularity(model), weights, np.load(model / "tracks.npy"))


@dataclass(frozen=True)
class EaseScorer(RankingScorer):
    """Scores by the sum of the weights of what a user heard."""

    weights: NDArray[np.float32]
    """Shape (tracks of the model,) * 2: from each, a row, to each, a column."""
    tracks: IndexArray
    """Which tracks those are."""

    @cached_property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray(self._places >= 0)

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        history = user_item_matrix(heard, users, self.num_tracks)[:, self.tracks]
        scores = np.zeros((len(users), self.num_tracks), np.float32)
        scores[:, self.tracks] = history @ self.weights
        return fill_missing_scores(scores, self.known_tracks, np.diff(history.indptr) == 0, self.popularity)

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The row and column of each track in the weights; −1 where it is left out."""
        places = np.full(self.num_tracks, -1)
        places[self.tracks] = np.arange(len(self.tracks))
        return places

    def weights_between(self, origins: IndexArray, targets: IndexArray) -> FloatArray:
        """The weights from some tracks to others, shape (origins, targets); 0 where one of them is left out."""
        rows, columns = self._places[origins], self._places[targets]
        found: FloatArray = self.weights[np.ix_(np.maximum(rows, 0), np.maximum(columns, 0))]
        found[rows < 0] = 0
        found[:, columns < 0] = 0
        return found
