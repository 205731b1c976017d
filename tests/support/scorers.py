"""Scorers with given scores, and conversions between lists of tracks and the structures that rank them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spark.algorithms.scorer import FloatArray, IndexArray, Scorer
from spark.lists.topk import TopKLists
from spark.storage.interaction_matrix import CSRMatrix


@dataclass(frozen=True)
class TableScorer(Scorer):
    """A scorer that returns the rows of a table, of shape (users, tracks)."""

    table: FloatArray

    @property
    def num_tracks(self) -> int:
        return self.table.shape[1]

    @property
    def known_tracks(self) -> Any:
        """All tracks are known."""
        return np.ones(self.num_tracks, bool)

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> Any:
        """All users are known."""
        return np.ones(len(users), bool)

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        return self.table[users]


def csr_matrix_of(lists: list[list[int]]) -> CSRMatrix:
    """Return the matrix of users who heard these tracks, with a value of 1 each."""
    indptr = np.concatenate([[0], np.cumsum([len(tracks) for tracks in lists])])
    indices = np.array([track for tracks in lists for track in sorted(tracks)], np.int32)
    return CSRMatrix(indptr, indices, np.ones(len(indices), np.float32))


def tracks_of(lists: TopKLists) -> list[list[int]]:
    """Return the tracks of each list, without the padding at its end."""
    return [row[: int(size)].tolist() for row, size in zip(lists.tracks, lists.sizes, strict=True)]
