"""The baseline: everyone gets what most users have heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import FloatArray, IndexArray, RankingScorer
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import CSRMatrix


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Makes the model's directory; the counts that every model carries are all there is to it."""
    into.mkdir()
    return {}


def load(model: Path) -> PopularityScorer:
    """Opens a saved model."""
    return PopularityScorer(load_popularity(model))


@dataclass(frozen=True)
class PopularityScorer(RankingScorer):
    """Scores a track by its number of users, the same for everyone."""

    def can_personalize(self, users: IndexArray, heard: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: of nobody."""
        return np.zeros(len(users), bool)

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        return np.tile(self.popularity, (len(users), 1))
