"""The compiled part of models of items: which tracks are heard by the same users, and scores from neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def cooccurrence_rows(by_track, by_user, weights, left, right, first, last):  # type: ignore[no-untyped-def]
    """How much the tracks first to last are heard together with every track, shape (last − first, tracks), float32.

    The entry of tracks i and j is Σ w_u · left_i · right_j over the users u of both: with all ones the number of
    these users, the Gram matrix of a matrix of ones.

    Args:
        by_track, by_user: the same interactions, `starts` and `columns` each.
        weights: of the users.
        left, right: of the tracks.
    """
    track_starts, track_columns = by_track
    user_starts, user_columns = by_user
    found = np.zeros((last - first, len(left)), np.float32)
    for track in range(first, last):
        row = found[track - first]
        for entry in range(track_starts[track], track_starts[track + 1]):
            user = track_columns[entry]
            weight = weights[user] * left[track]
            for other in range(user_starts[user], user_starts[user + 1]):
                row[user_columns[other]] += weight * right[user_columns[other]]
    return found


@njit(cache=True, nogil=True)
def add_neighbours(heard_starts, heard, users, starts, neighbours, similarities, scores):  # type: ignore[no-untyped-def]
    """Adds to each user's scores the similarities of the neighbours of every track that they heard.

    Args:
        heard_starts, heard: the tracks that each user heard.
        users: the user of each row of scores.
        starts, neighbours, similarities: each track's neighbours.
        scores: shape (users, tracks), changed.
    """
    for row in range(len(users)):
        mine = scores[row]
        for entry in range(heard_starts[users[row]], heard_starts[users[row] + 1]):
            for place in range(starts[heard[entry]], starts[heard[entry] + 1]):
                mine[neighbours[place]] += similarities[place]
