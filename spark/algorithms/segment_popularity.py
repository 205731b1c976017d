"""Popularity within a segment: users get what is heard most in their country or, where that is not known, at their age.

A score is the estimated share of the segment that hears a track: (heard in the segment + m · overall share) / (size +
m), which is the overall share as long as few of a segment have been seen, and becomes the segment's own.
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
"""m: how many users of no segment in particular count with each segment."""


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Counts the listeners of each track in each segment.

    Raises:
        NotApplicable: users have neither country nor age, or no country and no age has enough users.
    """
    rows = load_csr(training.blocks, USER)
    heard = np.diff(rows.indptr)
    everyone = np.arange(len(heard), dtype=np.int32)
    found = {} if training.user_table is None else segment_users(everyone, heard, training.user_table)
    segment, names = np.full(len(heard), -1), list[str]()
    for kind in ("country", "age"):
        if kind in found:
            codes = found[kind].codes
            segment = np.where((segment < 0) & (codes >= 0), codes + len(names), segment)
            names += found[kind].names
    if not names:
        raise NotApplicable("users have neither country nor age that enough of them share")
    counts = np.zeros((len(names), training.num_tracks), np.float32)
    for place in range(len(names)):
        entries = np.repeat(segment == place, heard)
        counts[place] = np.bincount(rows.indices[entries], minlength=training.num_tracks)
    share = np.bincount(rows.indices, minlength=training.num_tracks) / max(int(np.count_nonzero(heard)), 1)
    sizes = np.bincount(segment[(segment >= 0) & (heard > 0)], minlength=len(names))
    shares = (counts + _SMOOTHING * share) / (sizes[:, None] + _SMOOTHING)
    into.mkdir()
    np.save(into / "shares.npy", np.vstack([shares, share]).astype(np.float32))
    np.save(into / "segment.npy", segment.astype(np.int16))
    return {"segments": names}


def load(model: Path) -> SegmentScorer:
    """Opens a saved model."""
    return SegmentScorer(load_popularity(model), np.load(model / "shares.npy"), np.load(model / "segment.npy"))


@dataclass(frozen=True)
class SegmentScorer(RankingScorer):
    """Scores a track by the share of a user's segment that hears it."""

    shares: FloatArray
    """Shape (segments + 1, tracks); the last is everybody."""
    segment: NDArray[np.int16]
    """Each user's segment; −1: in none."""

    def can_personalize(self, users: IndexArray, heard: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: whether they are in a segment."""
        return np.asarray(self.segment[users] >= 0)

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        scores: FloatArray = self.shares[self.segment[users]]
        return scores
