"""The interface of a trained model: it scores tracks for users, with numpy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark.storage.interaction_matrix import CSRMatrix

IndexArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]

COLD_TRACK_LISTENERS = 5
"""A track with fewer listeners in the training data is cold."""


@dataclass(frozen=True)
class InnerProducts:
    """Scores as inner products of user and track factors, so that top-k need not materialise all of them."""

    user_factors: FloatArray
    """Shape (users, width)."""
    known_users: NDArray[np.bool_]
    """Whether each user has factors, shape (users,)."""
    track_factors: FloatArray
    """Shape (num_tracks, width)."""
    by_norm: tuple[IndexArray, FloatArray, FloatArray]
    """The known tracks in descending order of their norms: indexes, factors, norms."""


class Scorer(ABC):
    """A trained model, ready to score.

    A subclass implements the four abstract members. All others have a default that fits a model which ranks tracks by
    the user's history.
    """

    predicts_ratings: bool = False
    """Whether `ratings` is implemented."""
    ranks_by_popularity: bool = False
    """Whether the scores ignore the user's history, as those of a popularity baseline do."""

    @property
    @abstractmethod
    def num_tracks(self) -> int:
        """Number of tracks in the catalogue."""

    @property
    @abstractmethod
    def known_tracks(self) -> NDArray[np.bool_]:
        """Whether the model can score each track, shape (num_tracks,). Unknown tracks rank below the others."""

    @abstractmethod
    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """Whether the scores of each user differ from the popularity ranking, shape (len(users),)."""

    @abstractmethod
    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """Score every track for a batch of users, shape (len(users), num_tracks). Higher is better.

        All scores are finite. The caller may modify the array.

        Args:
            history: the tracks that each user of the dataset heard, one row per user.
        """

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """Predict the rating of each (user, track) pair, shape (len(users),), within the range of the ratings."""
        raise NotImplementedError(f"{type(self).__name__} does not predict ratings.")

    def inner_products(self, users: IndexArray) -> InnerProducts | None:
        """The factors whose inner products are the scores; None if the scores have no such form."""
        return None

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating] | None:
        """Contribution of each heard track to the score of each given track, shape (len(tracks), len(history)).

        Args:
            history: the tracks that one user heard.
            values: the values of these interactions.
            tracks: the tracks to explain.

        Returns:
            None if the model cannot attribute its scores.
        """
        return None

    def similarity_scorer(self) -> Scorer | None:
        """A scorer that takes tracks in place of users, each with itself as its history, and scores similar tracks.

        The default scores them for a user who heard that one track. None if the model has no similar tracks.
        """
        return None if self.ranks_by_popularity else self

    @property
    def cold_tracks(self) -> NDArray[np.bool_]:
        """Which tracks the model can recommend although they have few listeners, shape (num_tracks,)."""
        return np.zeros(self.num_tracks, bool)


@dataclass(frozen=True)
class RankingScorer(Scorer):
    """Base class of scorers that work from the user's history and know the popularity of each track."""

    popularity: FloatArray
    """Number of listeners of each track in the training data, shape (num_tracks,)."""

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
