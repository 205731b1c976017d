"""What models of items share: scores follow from what a user has heard, so that the model itself knows no users."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spark.algorithms import Indexes
from spark.blocks import Rows


def histories(heard: Rows, users: Indexes, num_tracks: int) -> sparse.csr_matrix:
    """What some users heard as ones, shape (len(users), num_tracks)."""
    lengths = np.diff(heard.starts)[users]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(starts[-1]) + np.repeat(heard.starts[users] - starts[:-1], lengths)
    columns = heard.columns[places]
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), (len(users), num_tracks))
