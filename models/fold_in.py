"""Factors of a user whom a model does not know yet, from what they heard: numpy alone, about a millisecond.

What training would give for that user with the tracks' factors as they are: the minimum of the objective that the model
was trained for (see docs/architecture.md), found exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.errors import StoreError
from common.files import read_json

_BUFFER, _BATCH = 1 << 16, 4096


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
        tracks = np.zeros((num_tracks, 0), np.float32)
        for ids, features in _factors(model / "itemFactors"):
            if not tracks.size:
                tracks = np.zeros((num_tracks, features.shape[1]), np.float32)
            tracks[ids] = features
        opened = cls(tracks, objective)
        opened._gram, opened._unknown  # noqa: B018 - now, or the first requests would all do it
        return opened

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        gram: NDArray[np.float64] = (self.tracks.T @ self.tracks).astype(np.float64)
        return gram

    @cached_property
    def _unknown(self) -> NDArray[np.intp]:
        return np.flatnonzero(~self.tracks.any(axis=1))

    def best(self, heard: Mapping[int, float], most: int) -> list[tuple[int, float]]:
        """So many tracks with the highest scores for somebody, and these, in order; tracks without factors have none.

        Args:
            heard: plays, or ratings, by the index of the track; at least one.
        """
        scores = self.tracks @ self.user(np.array(list(heard)), np.array(list(heard.values())))
        scores[self._unknown] = -np.inf
        most = min(most, len(scores) - len(self._unknown))
        top = np.flatnonzero(scores >= np.partition(scores, -most)[-most])  # all that tie with the last one
        order = top[np.argsort(-scores[top], kind="stable")][:most]
        return list(zip(order.tolist(), scores[order].tolist(), strict=True))

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


def _factors(directory: Path) -> Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.float32]]]:
    """Indexes and their factors, a batch at a time: read at once, they would be in memory three times."""
    for file in sorted(directory.glob("*.parquet")):
        with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as opened:
            for batch in opened.iter_batches(_BATCH, columns=["id", "features"], use_threads=False):
                features = batch["features"].flatten().to_numpy().reshape(len(batch), -1)
                yield batch["id"].to_numpy(), features
    pa.default_memory_pool().release_unused()
