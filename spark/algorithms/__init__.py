"""The algorithms that compete, behind one seam.

An algorithm is a module with two functions:

- `fit(training, settings, into)` trains with Spark, saves a model directory, and returns what else `load` must know;
- `load(model)` opens that directory, in whatever process, as a `Scorer`: numpy alone, no session.

Everything downstream (top-k, evaluation) sees scorers only, so another engine or model changes nothing there.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from config.dataset import Interactions
from config.durable import read_json, write_json
from spark.tables import read_parquet

Indexes = NDArray[np.int32]
Floats = NDArray[np.float32]

_MODULES = {
    "popularity": "spark.algorithms.popularity",
    "als": "spark.algorithms.implicit_als",
    "als_explicit": "spark.algorithms.explicit_als",
}
_LABEL = "algorithm.json"
_POPULARITY = "popularity.npy"


@dataclass(frozen=True)
class Training:
    """What a model is trained on: interactions (user, track, value), and how many users and tracks there are in all."""

    interactions: DataFrame
    num_users: int
    num_tracks: int
    count: int
    """Number of interactions."""
    rating_range: tuple[float, float] | None

    @classmethod
    def read(cls, spark: SparkSession, ingested: Path, interactions: Path, about: Interactions) -> Training:
        """From the directory that Ingest wrote, and the Parquet of those interactions that are to be learned."""
        sizes = {name: ds.dataset(ingested / name).count_rows() for name in ("users", "tracks")}
        return cls(
            read_parquet(spark, interactions),
            num_users=sizes["users"],
            num_tracks=sizes["tracks"],
            count=ds.dataset(interactions).count_rows(),
            rating_range=about.rating_range,
        )

    @property
    def spark(self) -> SparkSession:
        """The session that the interactions belong to."""
        return self.interactions.sparkSession


class Scorer(Protocol):
    """A trained model, ready to score."""

    predicts_ratings: bool

    def scores(self, users: Indexes) -> Floats:
        """Scores of every track for a block of users, shape (len(users), num_tracks): the higher, the better.

        The array is the caller's to change. Every score is finite.
        """

    def ratings(self, users: Indexes, tracks: Indexes) -> Floats:
        """Predicted ratings of pairs, shape (len(users),), within the range of the ratings."""


def fit(name: str, training: Training, settings: Mapping[str, Any], into: Path) -> None:
    """Trains the named algorithm and saves the model, with the popularity of each track beside it."""
    facts = importlib.import_module(_MODULES[name]).fit(training, settings, into)
    heard = training.interactions.groupBy("track").count().toPandas()
    popularity = np.zeros(training.num_tracks, np.float32)
    popularity[heard["track"].to_numpy()] = heard["count"].to_numpy()
    np.save(into / _POPULARITY, popularity)
    write_json(into / _LABEL, {"name": name, "num_users": training.num_users, **facts})


@lru_cache(maxsize=2)
def load(model: Path) -> Scorer:
    """Opens a saved model; a process that asks again gets the same object."""
    scorer: Scorer = importlib.import_module(_MODULES[label_of(model)["name"]]).load(model)
    return scorer


def label_of(model: Path) -> dict[str, Any]:
    """What a saved model says of itself: the algorithm's name, num_users, and what its `fit` returned."""
    label: dict[str, Any] = read_json(model / _LABEL)
    return label


def popularity_of(model: Path) -> Floats:
    """How many users each track has in the training data, shape (num_tracks,)."""
    counts: Floats = np.load(model / _POPULARITY)
    return counts
