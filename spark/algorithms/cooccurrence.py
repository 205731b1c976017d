"""Compiled kernels of item-based models: co-occurrence of tracks, and scores from nearest neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def cooccurrence_rows(by_track, by_user, weights, left, right, first, last):  # type: ignore[no-untyped-def]
    """Weighted co-occurrence of tracks `first` to `last` (exclusive) with every track, shape (last - first, tracks).

    The entry of tracks i and j is Σ w_u · left_i · right_j over the users u who heard both. With unit weights it is
    the number of these users: a row of the Gram matrix of the binary user-item matrix.

    Args:
        by_track, by_user: the same interactions in both orientations, each as `(indptr, indices)`.
        weights: user weights w.
        left, right: track weights.
    """
    track_indptr, track_indices = by_track
    user_indptr, user_indices = by_user
    rows = np.zeros((last - first, len(left)), np.float32)
    for track in range(first, last):
        row = rows[track - first]
        for entry in range(track_indptr[track], track_indptr[track + 1]):
            user = track_indices[entry]
            weight = weights[user] * left[track]
            for other in range(user_indptr[user], user_indptr[user + 1]):
                row[user_indices[other]] += weight * right[user_indices[other]]
    return rows


@njit(cache=True, nogil=True)
def add_neighbours(indptr, indices, users, starts, neighbours, similarities, scores):  # type: ignore[no-untyped-def]
    """Add to each user's scores the similarities of the neighbours of every track in their history.

    Args:
        indptr, indices: the users' histories in CSR form.
        users: the user of each row of `scores`.
        starts, neighbours, similarities: each track's neighbours in CSR form.
        scores: shape (users, tracks), modified.
    """
    for row in range(len(users)):
        user_scores = scores[row]
        for entry in range(indptr[users[row]], indptr[users[row] + 1]):
            for neighbour in range(starts[indices[entry]], starts[indices[entry] + 1]):
                user_scores[neighbours[neighbour]] += similarities[neighbour]
