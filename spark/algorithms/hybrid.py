"""Hybrid: a weighted sum of the standardised scores of several models.

The scores of each model are scaled to mean 0 and standard deviation 1 over the catalogue, user by user. The weights are
learned on the validation part: see `spark.evaluation.blend_weights`. The models use different signals (taste, metadata,
co-occurrence), so that their errors differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.files import read_json, write_json
from spark.algorithms.saved_model import fit_model, load_scorer
from spark.algorithms.scorer import FloatArray, IndexArray, Scorer, standardize_scores
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.storage.interaction_matrix import CSRMatrix

_WEIGHTS = "weights.json"


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Train the parts that have a positive weight, each into a directory of its name.

    Settings: "weights", the weight of each part; "parts", the settings of each part.
    """
    into.mkdir()
    weights = {name: weight for name, weight in settings["weights"].items() if weight > 0}
    for number, name in enumerate(weights):
        report(name, number / len(weights))
        fit_model(name, training, settings["parts"][name], into / name)
    write_json(into / _WEIGHTS, weights)
    return {"weights": weights}


def load(model: Path) -> HybridScorer:
    """Open a saved model."""
    weights = read_json(model / _WEIGHTS)
    return HybridScorer({name: load_scorer(model / name) for name in weights}, weights)


@dataclass(frozen=True)
class HybridScorer(Scorer):
    """Scores a track by the weighted sum of the parts' standardised scores."""

    parts: dict[str, Scorer]
    weights: dict[str, float]

    @property
    def num_tracks(self) -> int:
        """See `Scorer`."""
        return next(iter(self.parts.values())).num_tracks

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`: whether any part knows the track."""
        return self._any_part(lambda part: part.known_tracks)

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: whether any part can."""
        return self._any_part(lambda part: part.can_personalize(users, history))

    def _any_part(self, flags: Callable[[Scorer], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        return np.asarray(np.any([flags(part) for part in self.parts.values()], axis=0))

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        total = np.zeros((len(users), self.num_tracks), np.float32)
        for name, part in self.parts.items():
            scores = standardize_scores(part.scores(users, history))
            scores *= np.float32(self.weights[name])
            total += scores
        return total

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating]:
        """See `Scorer`: the weighted sum of the parts' contributions, each normalised to a sum of 1 per track."""
        total = np.zeros((len(tracks), len(history)))
        for name, part in self.parts.items():
            shares = part.explain(history, values, tracks)
            if shares is not None:
                sums = np.abs(shares).sum(axis=1, keepdims=True)
                total += self.weights[name] * np.divide(shares, sums, out=np.zeros(shares.shape), where=sums > 0)
        return total

    def similarity_scorer(self) -> HybridScorer | None:
        """See `Scorer`: the weighted sum of the parts' similarities."""
        scorers = {name: part.similarity_scorer() for name, part in self.parts.items()}
        parts = {name: scorer for name, scorer in scorers.items() if scorer is not None}
        return HybridScorer(parts, self.weights) if parts else None
