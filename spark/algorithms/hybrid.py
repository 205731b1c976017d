"""Hybrid: a weighted sum of what other models say, after each of them is brought to the same scale.

Each model's scores of a user are standardised to mean 0 and deviation 1 over the catalogue, then added with weights
learned on the validation part (`spark.evaluation.blend_weights`). The models use different signals (taste, tags,
co-listening), so their errors differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.durable import read_json, write_json
from spark.algorithms.saved_model import fit_model as fit_part
from spark.algorithms.saved_model import load_scorer as load_part
from spark.algorithms.scorer import FloatArray, IndexArray, Scorer, standardize_scores
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import CSRMatrix

_WEIGHTS = "weights.json"


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Trains the parts that have a weight.

    Settings: "weights", by the names of the parts, and "parts", the settings of each.
    """
    into.mkdir()
    weights = {name: weight for name, weight in settings["weights"].items() if weight > 0}
    for place, name in enumerate(weights):
        report(f"{name}", place / len(weights))
        fit_part(name, training, settings["parts"][name], into / name)
    write_json(into / _WEIGHTS, weights)
    return {"weights": weights}


def load(model: Path) -> HybridScorer:
    """Opens a saved model."""
    weights = read_json(model / _WEIGHTS)
    return HybridScorer({name: load_part(model / name) for name in weights}, weights)


@dataclass(frozen=True)
class HybridScorer:
    """Scores by the weighted sum of the parts' standardised scores."""

    parts: dict[str, Scorer]
    weights: dict[str, float]
    predicts_ratings = False

    @property
    def num_tracks(self) -> int:
        """See `Scorer`."""
        return next(iter(self.parts.values())).num_tracks

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray(np.any([part.known_tracks for part in self.parts.values()], axis=0))

    def can_personalize(self, users: IndexArray, heard: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray(np.any([part.can_personalize(users, heard) for part in self.parts.values()], axis=0))

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        total = np.zeros((len(users), self.num_tracks), np.float32)
        for name, part in self.parts.items():
            scores = standardize_scores(part.scores(users, heard))
            scores *= np.float32(self.weights[name])
            total += scores
        return total

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """See `Scorer`."""
        raise NotImplementedError("A hybrid does not predict ratings.")
