"""The users' histories as a scipy matrix, for item-based models."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spark.algorithms.scorer import IndexArray
from spark.storage.interaction_matrix import CSRMatrix


def user_item_matrix(history: CSRMatrix, users: IndexArray, num_tracks: int) -> sparse.csr_matrix:
    """Binary matrix of the tracks that some users heard, shape (len(users), num_tracks)."""
    indptr, indices = history.take_rows(users)
    return sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), (len(users), num_tracks))
