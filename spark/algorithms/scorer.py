"""The interface of a trained model: it scores tracks for users, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spark.storage.interaction_matrix import CSRMatrix

IndexArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]

COLD_TRACK_LISTENERS = 5
"""A track with fewer listeners in the training data is cold."""


class Scorer(Protocol):
    """A trained model, ready to score."""

    @property
    def predicts_ratings(self) -> bool:
        """Whether `ratings` is implemented."""

    @property
    def num_tracks(self) -> int:
        """Number of tracks in the catalogue."""

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """Whether the model can score each track, shape (num_tracks,). Unknown tracks rank below the others."""

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """Whether the scores of each user differ from the popularity ranking, shape (len(users),)."""

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """Score every track for a batch of users, shape (len(users), num_tracks). Higher is better.

        All scores are finite. The caller may modify the array.

        Args:
            history: the tracks that each user of the dataset heard, one row per user.
        """

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """Predict the rating of each (user, track) pair, shape (len(users),), within the range of the ratings."""


@dataclass(frozen=True)
class RankingScorer:
    """Base class of scorers that rank tracks and predict no ratings."""

    popularity: FloatArray
    """Number of listeners of each track in the training data, shape (num_tracks,)."""
    predicts_ratings = False

    @property
    def num_tracks(self) -> int:
        """See `Scorer`."""
        return len(self.popularity)

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray(self.popularity > 0)

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: whether the user heard a known track."""
        indptr, indices = history.take_rows(users)
        known = np.concatenate([[0], np.cumsum(self.known_tracks[indices])])
        return np.asarray(known[indptr[1:]] > known[indptr[:-1]])

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """See `Scorer`."""
        raise NotImplementedError(f"{type(self).__name__} does not predict ratings.")


def fill_missing_scores(
    scores: FloatArray, known: NDArray[np.bool_], no_history: NDArray[np.bool_], popularity: FloatArray
) -> FloatArray:
    """Rank unknown tracks below all others, and all tracks by popularity for users without a history. In place.

    Args:
        scores: shape (users, tracks).
        known: whether the model can score each track, shape (tracks,).
        no_history: whether each user heard no known track, shape (users,).
        popularity: shape (tracks,).
    """
    if not known.all():
        lowest = scores.min(axis=1, where=known, initial=np.float32(np.finfo(np.float32).max / 2))
        scores[:, ~known] = np.nextafter(lowest, np.float32(-np.inf))[:, None]
    scores[no_history] = popularity
    return scores


def standardize_scores(scores: FloatArray) -> FloatArray:
    """Scale each row to mean 0 and standard deviation 1, in place; a constant row becomes 0."""
    scores -= scores.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    deviations = np.sqrt(np.einsum("uc,uc->u", scores, scores) / scores.shape[1])
    scores /= np.where(deviations > 0, deviations, 1)[:, None]
    return scores
