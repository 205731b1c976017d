"""Popularity within a segment: the most popular tracks in the user's country or, if it is unknown, age group.

The score of a track is the smoothed share of the segment's users who heard it,

    (listeners in the segment + m · share of all users) / (users in the segment + m)

so that small segments stay close to overall popularity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import NotApplicable
from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import FloatArray, IndexArray, RankingScorer
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.evaluation.user_segments import segment_users
from spark.storage.interaction_matrix import USER, CSRMatrix, load_csr

_SMOOTHING = 100.0
"""m in the formula above."""


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Count the listeners of each track in each segment.

    Raises:
        NotApplicable: no country and no age group has enough users.
    """
    matrix = load_csr(training.matrix, USER)
    history_sizes = np.diff(matrix.indptr)
    segment, names = _assign_segments(training, history_sizes)
    if not names:
        raise NotApplicable("users have neither country nor age that enough of them share")
    counts = np.zeros((len(names), training.num_tracks), np.float32)
    for code in range(len(names)):
        in_segment = np.repeat(segment == code, history_sizes)
        counts[code] = np.bincount(matrix.indices[in_segment], minlength=training.num_tracks)
    listeners = max(int(np.count_nonzero(history_sizes)), 1)
    overall_share = np.bincount(matrix.indices, minlength=training.num_tracks) / listeners
    sizes = np.bincount(segment[(segment >= 0) & (history_sizes > 0)], minlength=len(names))
    shares = (counts + _SMOOTHING * overall_share) / (sizes[:, None] + _SMOOTHING)
    into.mkdir()
    np.save(into / "shares.npy", np.vstack([shares, overall_share]).astype(np.float32))
    np.save(into / "segment.npy", segment.astype(np.int16))
    return {"segments": names}


def _assign_segments(training: TrainingData, history_sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Return each user's segment, -1 for none, and the names of the segments."""
    users = np.arange(len(history_sizes), dtype=np.int32)
    segment, names = np.full(len(users), -1), list[str]()
    segmentations = {} if training.user_table is None else segment_users(users, history_sizes, training.user_table)
    for kind in ("country", "age"):
        if kind in segmentations:
            codes = segmentations[kind].codes
            segment = np.where((segment < 0) & (codes >= 0), codes + len(names), segment)
            names += segmentations[kind].names
    return segment, names


def load(model: Path) -> SegmentScorer:
    """Open a saved model."""
    return SegmentScorer(load_popularity(model), np.load(model / "shares.npy"), np.load(model / "segment.npy"))


@dataclass(frozen=True)
class SegmentScorer(RankingScorer):
    """Scores a track by the share of the user's segment that heard it."""

    shares: FloatArray
    """Shape (segments + 1, num_tracks); the last row is the share of all users."""
    segment: NDArray[np.int16]
    """Each user's segment, -1 for none; shape (num_users,)."""
    ranks_by_popularity = True

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: whether the user belongs to a segment."""
        return np.asarray(self.segment[users] >= 0)

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        scores: FloatArray = self.shares[self.segment[users]]
        return scores
