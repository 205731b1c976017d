"""Content: recommends tracks whose tags, genre and artist are those of what a user heard, heard by others or not.

A track is the vector of its features, each weighted by the logarithm of how rare it is (Sparck Jones 1972), of length
1; a user is the sum of what they heard, of length 1; a score is the cosine of the two.
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

_FEATURES = ("artist", "genre", "tags")


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Describes every track of the catalogue.

    Raises:
        NotApplicable: the catalogue has none of the features.
    """
    assert training.track_table is not None
    table = read_indexed(training.track_table)
    rows, words = _words(table)
    if not len(words):
        raise NotApplicable("tracks have neither tags nor genre nor artist")
    features, columns = np.unique(words, return_inverse=True)
    occurrences = np.bincount(columns)
    rarity = np.log(len(table) / occurrences).astype(np.float32)
    matrix = sparse.csr_matrix((rarity[columns], (rows, columns)), (len(table), len(features)))
    into.mkdir()
    sparse.save_npz(into / "tracks.npz", _unit(matrix))
    return {}


def _words(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Each feature of each track: the track's index, and the feature, such as "genre rock"."""
    rows, words = [np.zeros(0, np.int64)], [np.zeros(0, np.str_)]
    for name in _FEATURES:
        if name in table.column_names:
            places, texts = explode_texts(table[name])
            rows.append(places)
            words.append(np.array([f"{name} {text}" for text in texts.to_pylist()], dtype=np.str_))
    pairs = np.unique(np.rec.fromarrays([np.concatenate(rows), np.concatenate(words)]))
    return pairs["f0"], pairs["f1"]


def _unit(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The rows, each of length 1, but for those that are 0."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return sparse.csr_matrix(sparse.diags(scale.astype(np.float32)) @ matrix, dtype=np.float32)


def load(model: Path) -> ContentScorer:
    """Opens a saved model."""
    return ContentScorer(load_popularity(model), sparse.load_npz(model / "tracks.npz").tocsr())


@dataclass(frozen=True)
class ContentScorer(RankingScorer):
    """Scores by the cosine of a user's profile and each track's features."""

    features: sparse.csr_matrix
    """Shape (tracks, features), rows of length 1, or 0 where nothing is known of a track."""

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray(np.diff(self.features.indptr) > 0)

    @cached_property
    def new_tracks(self) -> NDArray[np.bool_]:
        """Which tracks hardly anybody has heard, and something is known of."""
        return np.asarray((self.popularity < COLD_TRACK_LISTENERS) & self.known_tracks)

    @cached_property
    def _tracks(self) -> sparse.csr_matrix:
        """The features by rows, one a feature: products with it need no conversion."""
        return self.features.T.tocsr()

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        profiles = _unit(user_item_matrix(heard, users, self.num_tracks) @ self.features)
        scores = np.ascontiguousarray((profiles @ self._tracks).toarray(), np.float32)
        return fill_missing_scores(scores, self.known_tracks, np.diff(profiles.indptr) == 0, self.popularity)
