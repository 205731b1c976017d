"""Spark MLlib's alternating least squares, and scoring with the factors it leaves.

MLlib scales λ by the number of interactions of each user and track (Zhou et al. 2008): `reg_exponent` 1 in the
project's objective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame

from spark.algorithms import Floats, Indexes, Training, label_of, popularity_of

_ROWS_PER_BLOCK = 250_000


def fit_factors(
    training: Training, ratings: DataFrame, settings: Mapping[str, Any], into: Path, *, implicit: bool
) -> None:
    """Trains on `ratings` (user, track, value) and saves an ordinary `ALSModel` at `into`."""
    blocks = min(64, max(2, training.count // _ROWS_PER_BLOCK))  # from the data alone: the result depends on it
    model = ALS(
        userCol="user",
        itemCol="track",
        ratingCol="value",
        rank=settings["rank"],
        maxIter=settings["max_iter"],
        regParam=settings["reg_param"],
        alpha=settings.get("alpha", 1.0),
        seed=settings["seed"],
        implicitPrefs=implicit,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
    ).fit(ratings)
    model.write().save(str(into))


@dataclass(frozen=True)
class FactorScorer:
    """Scores by the product of user and track factors.

    A user without factors (nothing of theirs was in the training data) gets the order of popularity. A track
    without factors ranks below all that have some.
    """

    user_factors: Floats
    track_factors: Floats
    known_users: np.ndarray
    unknown_tracks: np.ndarray
    popularity: Floats
    predicts_ratings: bool = False
    mean: float = 0.0
    rating_range: tuple[float, float] = (-np.inf, np.inf)

    def scores(self, users: Indexes) -> Floats:
        """See `Scorer`."""
        scores = self.user_factors[users] @ self.track_factors.T
        if self.unknown_tracks.size:
            scores[:, self.unknown_tracks] = np.nextafter(scores.min(axis=1), np.float32(-np.inf))[:, None]
        scores[~self.known_users[users]] = self.popularity
        return scores

    def ratings(self, users: Indexes, tracks: Indexes) -> Floats:
        """See `Scorer`. A pair with an unknown side gets the mean of the training data."""
        predicted = np.einsum("nf,nf->n", self.user_factors[users], self.track_factors[tracks])
        known = self.known_users[users] & ~np.isin(tracks, self.unknown_tracks)
        return np.clip(np.where(known, predicted, np.float32(self.mean)), *self.rating_range)


def load_factors(model: Path, **more: Any) -> FactorScorer:
    """Opens a saved `ALSModel` with numpy alone; `more` goes to the scorer."""
    popularity = popularity_of(model)
    users, known_users = _dense(model / "userFactors", label_of(model)["num_users"])
    tracks, known_tracks = _dense(model / "itemFactors", len(popularity))
    return FactorScorer(users, tracks, known_users, np.flatnonzero(~known_tracks), popularity, **more)


def _dense(factors: Path, count: int) -> tuple[Floats, np.ndarray]:
    """Factors by index, shape (count, rank), zero where there are none; and where there are some."""
    table = ds.dataset(factors).to_table(columns=["id", "features"])
    ids = table["id"].to_numpy()
    features = table["features"].combine_chunks().flatten().to_numpy()
    dense = np.zeros((count, len(features) // max(1, len(ids))), np.float32)
    dense[ids] = features.reshape(len(ids), -1)
    known = np.zeros(count, bool)
    known[ids] = True
    return dense, known
