"""The baseline: the same most popular tracks for every user."""

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
    """Create an empty model directory: `fit_model` saves the popularity of each track with every model."""
    into.mkdir()
    return {}


def load(model: Path) -> PopularityScorer:
    """Open a saved model."""
    return PopularityScorer(load_popularity(model))


@dataclass(frozen=True)
class PopularityScorer(RankingScorer):
    """Scores a track by its number of listeners."""

    ranks_by_popularity = True

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: never."""
        return np.zeros(len(users), bool)

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        return np.tile(self.popularity, (len(users), 1))
