"""Explanations: the tracks of the user's history that contribute most to each recommendation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.scorer import IndexArray, Scorer
from spark.storage.interaction_matrix import CSRMatrix

REASONS = 2
"""Maximum number of tracks that explain a recommendation."""


def explain_lists(
    scorer: Scorer, users: IndexArray, history: CSRMatrix, tracks: IndexArray, sizes: NDArray[np.int64]
) -> IndexArray:
    """The tracks of the history that contribute most to each recommendation, shape (users, k, REASONS).

    Missing explanations are -1: if fewer tracks have a positive contribution, or the model cannot attribute its scores.

    Args:
        tracks, sizes: the users' lists: see `spark.lists.topk.TopKLists`.
    """
    reasons = np.full((*tracks.shape, REASONS), -1, np.int32)
    for row, user in enumerate(users.tolist()):
        entries = slice(history.indptr[user], history.indptr[user + 1])
        heard, listed = history.indices[entries], tracks[row, : sizes[row]]
        if not len(heard) or not len(listed):
            continue
        contributions = scorer.explain(heard, history.data[entries], listed)
        if contributions is None:
            continue
        order = np.argsort(-contributions, axis=1, kind="stable")[:, :REASONS]
        positive = np.take_along_axis(contributions, order, axis=1) > 0
        reasons[row, : len(listed), : order.shape[1]] = np.where(positive, heard[order], -1)
    return reasons
