"""What models of items share: scores follow from what a user has heard, so that the model itself knows no users."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spark.algorithms.scorer import IndexArray
from spark.storage.interaction_matrix import CSRMatrix


def user_item_matrix(heard: CSRMatrix, users: IndexArray, num_tracks: int) -> sparse.csr_matrix:
    """What some users heard as ones, shape (len(users), num_tracks)."""
    starts, columns = heard.take_rows(users)
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), (len(users), num_tracks))
