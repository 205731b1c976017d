"""Folding in: the factors of a new user from their history, in about a millisecond, with numpy only.

The factors minimise the objective that the model was trained for (see docs/architecture.md), with the track factors
fixed. They are the exact solution of a linear system: one half-step of ALS (Hu, Koren and Volinsky 2008).
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
    """The track factors of a model, into which users can be folded."""

    tracks: NDArray[np.float32]
    """Track factors, shape (num_tracks, width); zeros for tracks that the model does not have."""
    objective: dict[str, Any]
    """The training objective, from `algorithm.json`."""

    @classmethod
    def open(cls, model: Path, num_tracks: int) -> FoldIn:
        """Open the directory of a saved model.

        Raises:
            StoreError: it is not a factor model of the native engine.
        """
        objective = read_json(model / "algorithm.json").get("objective")
        if objective is None:
            raise StoreError(f"Users cannot be folded into {model}: it is not a factor model of the native engine.")
        tracks = np.zeros((num_tracks, 0), np.float32)
        for ids, features in _read_factors(model / "itemFactors"):
            if not tracks.size:
                tracks = np.zeros((num_tracks, features.shape[1]), np.float32)
            tracks[ids] = features
        fold_in = cls(tracks, objective)
        fold_in._gram, fold_in._unknown  # noqa: B018 - computed here, so that the first requests do not all do it
        return fold_in

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        """The Gram matrix of the track factors, shape (width, width)."""
        gram: NDArray[np.float64] = (self.tracks.T @ self.tracks).astype(np.float64)
        return gram

    @cached_property
    def _unknown(self) -> NDArray[np.intp]:
        """Indexes of the tracks without factors."""
        return np.flatnonzero(~self.tracks.any(axis=1))

    def best(self, heard: Mapping[int, float], limit: int) -> list[tuple[int, float]]:
        """Return the `limit` best tracks for a user and their scores, in order, without tracks that have no factors.

        Args:
            heard: plays or rating by track index; not empty.
        """
        scores = self.tracks @ self.user_factors(np.array(list(heard)), np.array(list(heard.values())))
        scores[self._unknown] = -np.inf
        limit = min(limit, len(scores) - len(self._unknown))
        top = np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])  # including all ties with the last one
        order = top[np.argsort(-scores[top], kind="stable")][:limit]
        return list(zip(order.tolist(), scores[order].tolist(), strict=True))

    def user_factors(self, tracks: NDArray[np.integer[Any]], values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return a user's factors, shape (width,). Their product with a track's is the score or predicted rating.

        Args:
            tracks: distinct indexes of the tracks heard; not empty.
            values: plays or ratings of the tracks.
        """
        objective, rank = self.objective, self.objective["rank"]
        y = self.tracks[tracks].astype(np.float64)
        penalty = objective["reg_param"] * len(tracks) ** objective["reg_exponent"]
        if objective["value"] == "rating":
            features, bias = y[:, :rank], np.zeros(len(tracks))
            if objective["biases"]:
                features, bias = y[:, : rank + 1], y[:, rank + 1]  # the factors and a 1; the track's bias
            matrix = features.T @ features
            target = features.T @ (values - objective["mean"] - bias)
        else:
            strength = {"binary": np.ones(len(values)), "linear": values, "log": np.log1p(values)}[objective["value"]]
            weight = objective["alpha"] * strength
            features, matrix = y, self._gram + (y * weight[:, None]).T @ y
            target = y.T @ (1.0 + weight)
        matrix[np.diag_indices_from(matrix)] += penalty
        solved = np.linalg.solve(matrix, target)
        if objective["value"] == "rating" and objective["biases"]:
            solved = np.concatenate([solved[:rank], [solved[rank] + objective["mean"], 1.0]])
        return solved.astype(np.float32)


def _read_factors(directory: Path) -> Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.float32]]]:
    """Yield track indexes and factors in batches: reading all at once would hold three copies in memory."""
    for file in sorted(directory.glob("*.parquet")):
        with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(_BATCH, columns=["id", "features"], use_threads=False):
                features = batch["features"].flatten().to_numpy().reshape(len(batch), -1)
                yield batch["id"].to_numpy(), features
    pa.default_memory_pool().release_unused()
