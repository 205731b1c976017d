"""Content-based recommendation: tracks that share artist, genre and tags with the user's history.

A track is a unit vector of its features with inverse document frequency weights (Sparck Jones 1972); a user is the
normalised sum of the tracks in their history; the score is the cosine similarity of the two. Tracks need no listeners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from common.errors import NotApplicable
from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import COLD_TRACK_LISTENERS, FloatArray, IndexArray, RankingScorer, fill_missing_scores
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.algorithms.user_item_matrix import user_item_matrix
from spark.storage.interaction_matrix import CSRMatrix
from spark.storage.tables import explode_texts, read_indexed

_COLUMNS = ("artist", "genre", "tags")


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Save the feature vector of every track in the catalogue.

    Raises:
        NotApplicable: the catalogue has none of the features.
    """
    assert training.track_table is not None
    table = read_indexed(training.track_table)
    tracks, terms = _track_terms(table)
    if not len(terms):
        raise NotApplicable("tracks have neither tags nor genre nor artist")
    vocabulary, columns = np.unique(terms, return_inverse=True)
    idf = np.log(len(table) / np.bincount(columns)).astype(np.float32)
    features = sparse.csr_matrix((idf[columns], (tracks, columns)), (len(table), len(vocabulary)))
    into.mkdir()
    sparse.save_npz(into / "tracks.npz", _normalize_rows(features))
    return {}


def _track_terms(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """List the distinct (track index, term) pairs; a term is a column and its value, such as "genre rock"."""
    tracks, terms = [np.zeros(0, np.int64)], [np.zeros(0, np.str_)]
    for column in _COLUMNS:
        if column in table.column_names:
            rows, texts = explode_texts(table[column])
            tracks.append(rows)
            terms.append(np.array([f"{column} {text}" for text in texts.to_pylist()], dtype=np.str_))
    pairs = np.unique(np.rec.fromarrays([np.concatenate(tracks), np.concatenate(terms)]))
    return pairs["f0"], pairs["f1"]


def _normalize_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale each row to unit length; zero rows stay zero."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return sparse.csr_matrix(sparse.diags(scale.astype(np.float32)) @ matrix, dtype=np.float32)


def load(model: Path) -> ContentScorer:
    """Open a saved model."""
    return ContentScorer(load_popularity(model), sparse.load_npz(model / "tracks.npz").tocsr())


@dataclass(frozen=True)
class ContentScorer(RankingScorer):
    """Scores a track by the cosine similarity of its features and the user's profile."""

    features: sparse.csr_matrix
    """Shape (num_tracks, features); each row has unit length, or is zero if the track has no metadata."""

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`: whether the track has metadata."""
        return np.asarray(np.diff(self.features.indptr) > 0)

    @cached_property
    def cold_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray((self.popularity < COLD_TRACK_LISTENERS) & self.known_tracks)

    @cached_property
    def _transposed_features(self) -> sparse.csr_matrix:
        """The features in the orientation that sparse products need, converted once."""
        return self.features.T.tocsr()

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        profiles = _normalize_rows(user_item_matrix(history, users, self.num_tracks) @ self.features)
        scores = np.ascontiguousarray((profiles @ self._transposed_features).toarray(), np.float32)
        return fill_missing_scores(scores, self.known_tracks, np.diff(profiles.indptr) == 0, self.popularity)

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating]:
        """See `Scorer`: the cosine similarity of each pair."""
        return np.asarray((self.features[tracks] @ self.features[history].T).toarray())
