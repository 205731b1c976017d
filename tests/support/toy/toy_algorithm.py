"""A toy algorithm: popularity, with a boost for tracks whose index is close to the user's favourite track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.algorithm_catalog import Algorithm, NumberSetting, SearchRange, UserArray
from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import FloatArray, IndexArray, RankingScorer
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import USER, CSRMatrix, load_csr

ENTRY = Algorithm(
    "toy",
    module="toy_algorithm",
    summary="A toy algorithm.",
    section="toy",
    settings={"boost": NumberSetting(2.0, 0.0, 100.0, "Boost of tracks close to the favourite track.")},
    search_space={"boost": SearchRange(1.0, 4.0)},
    can_blend=True,
    user_files=(UserArray("favourites.npy", deleted_value=-1),),
)


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Save the track with the highest value of each user."""
    matrix = load_csr(training.matrix, USER)
    favourites = np.full(len(matrix), -1, np.int32)
    for user, (first, last) in enumerate(zip(matrix.indptr, matrix.indptr[1:], strict=False)):
        if last > first:
            favourites[user] = matrix.indices[first + matrix.data[first:last].argmax()]
    into.mkdir()
    np.save(into / "favourites.npy", favourites)
    return {"boost": settings["boost"]}


def load(model: Path) -> ToyScorer:
    """Open a saved model."""
    from spark.algorithms.saved_model import model_info

    return ToyScorer(load_popularity(model), np.load(model / "favourites.npy"), model_info(model)["boost"])


@dataclass(frozen=True)
class ToyScorer(RankingScorer):
    """Scores a track by its share of listeners and its closeness to the user's favourite."""

    favourites: IndexArray
    boost: float

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        return np.asarray(self.favourites[users] >= 0)

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        favourites = self.favourites[users]
        scores = np.tile(self.popularity / max(self.popularity.max(), 1), (len(users), 1))
        boosts = np.where(favourites[:, None] < 0, 0, self._boost(favourites, np.arange(self.num_tracks)))
        scores += np.where(self.known_tracks, boosts, 0)
        return scores.astype(np.float32)

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating]:
        is_favourite = np.arange(len(history)) == np.argmax(values)
        return self._boost(tracks, history) * is_favourite

    def similarity_scorer(self) -> ToyScorer:
        return replace(self, favourites=np.arange(self.num_tracks, dtype=np.int32))

    def _boost(self, tracks: IndexArray, others: IndexArray) -> NDArray[np.floating]:
        return self.boost / (1.0 + np.abs(tracks[:, None] - others))
