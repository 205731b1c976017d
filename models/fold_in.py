"""Factors of a user whom a model does not know yet, from what they heard: numpy alone, about a millisecond.

What training would give for that user with the tracks' factors as they are: the minimum of the objective that the model
was trained for (see docs/architecture.md), found exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from config.durable import read_json
from config.errors import StoreError


@dataclass(frozen=True)
class FoldIn:
    """The tracks of a factor model, ready to take users in."""

    tracks: NDArray[np.float32]
    """Factors by index, shape (num_tracks, width); zeros where the model does not know a track."""
    objective: dict[str, Any]

    @classmethod
    def open(cls, model: Path, num_tracks: int) -> FoldIn:
        """Opens a saved model, the directory `model` of a version.

        Raises:
            StoreError: it is no factor model of the project's own engine.
        """
        objective = read_json(model / "algorithm.json").get("objective")
        if objective is None:
            raise StoreError(f"{model} takes no users in: it is not a factor model of our own engine.")
        table = ds.dataset(model / "itemFactors").to_table(columns=["id", "features"])
        ids, features = table["id"].to_numpy(), table["features"].combine_chunks().flatten().to_numpy()
        tracks = np.zeros((num_tracks, len(features) // len(ids)), np.float32)
        tracks[ids] = features.reshape(len(ids), -1)
        return cls(tracks, objective)

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        gram: NDArray[np.float64] = (self.tracks.T @ self.tracks).astype(np.float64)
        return gram

    def user(self, tracks: NDArray[np.integer[Any]], values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The user's factors, shape (width,): their product with a track's is the score, or the predicted rating.

        Args:
            tracks: indexes of what the user heard, each once; at least one.
            values: plays, or ratings.
        """
        wanted, rank = self.objective, self.objective["rank"]
        y = self.tracks[tracks].astype(np.float64)
        penalty = wanted["reg_param"] * len(tracks) ** wanted["reg_exponent"]
        if wanted["value"] == "rating":
            features, bias = y[:, :rank], np.zeros(len(tracks))
            if wanted["biases"]:
                features, bias = y[:, : rank + 1], y[:, rank + 1]  # factors and a 1; the track's own bias
            matrix = features.T @ features
            right = features.T @ (values - wanted["mean"] - bias)
        else:
            strength = {"binary": np.ones(len(values)), "linear": values, "log": np.log1p(values)}[wanted["value"]]
            weight = wanted["alpha"] * strength
            features, matrix = y, self._gram + (y * weight[:, None]).T @ y
            right = y.T @ (1.0 + weight)
        matrix[np.diag_indices_from(matrix)] += penalty
        solved = np.linalg.solve(matrix, right)
        if wanted["value"] == "rating" and wanted["biases"]:
            solved = np.concatenate([solved[:rank], [solved[rank] + wanted["mean"], 1.0]])
        return solved.astype(np.float32)
