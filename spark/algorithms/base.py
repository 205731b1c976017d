"""The algorithms that compete, behind one seam.

An algorithm is a module with two functions:

- `fit(training, settings, into, report)` trains with Spark, saves a model directory, and returns what else `load` must
  know;
- `load(model)` opens that directory, in whatever process, as a `Scorer`: numpy alone, no session.

Everything downstream (top-k, evaluation) sees scorers only, so another engine or model changes nothing there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from common.durable import read_json, write_json
from config.dataset import Interactions
from spark.storage.interaction_matrix import TRACK, CSRMatrix, load_csr
from spark.storage.tables import read_parquet

IndexArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
ProgressReport = Callable[[str, float], None]
"""Told how far a training is: in words, and as a fraction."""

COLD_TRACK_LISTENERS = 5
"""A track with fewer listeners in training is new, or cold."""

_MODULES = {
    "popularity": "spark.algorithms.popularity",
    "segment-popularity": "spark.algorithms.segment_popularity",
    "als": "spark.algorithms.implicit_als",
    "als_explicit": "spark.algorithms.explicit_als",
    "item-knn": "spark.algorithms.item_knn",
    "ease": "spark.algorithms.ease",
    "content": "spark.algorithms.content",
    "hybrid": "spark.algorithms.hybrid",
}
_LABEL = "algorithm.json"
_POPULARITY = "popularity.npy"


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on, and how many users and tracks there are in all."""

    spark: SparkSession
    interactions: tuple[Path, ...]
    """Directories with Parquet of user, track, value: see `spark.storage.interaction_matrix.files_by_range`."""
    blocks: Path
    """The same as compressed rows: see `spark.storage.interaction_matrix`."""
    num_users: int
    num_tracks: int
    rating_range: tuple[float, float] | None
    catalogue: Path | None = None
    """Parquet of the tracks, by index, with what is known of them."""
    listeners: Path | None = None
    """The same of the users."""

    @classmethod
    def read(
        cls, spark: SparkSession, ingested: Path, interactions: tuple[Path, ...], blocks: Path, about: Interactions
    ) -> TrainingData:
        """From the directory that Ingest wrote, and those interactions that are to be learned, in both forms."""
        users, tracks = (ds.dataset(ingested / name).count_rows() for name in ("users", "tracks"))
        described = (ingested / "tracks", ingested / "users")
        return cls(spark, interactions, blocks, users, tracks, about.rating_range, *described)

    @classmethod
    def all_interactions(cls, spark: SparkSession, ingested: Path, about: Interactions) -> TrainingData:
        """All interactions that Ingest wrote."""
        return cls.read(spark, ingested, (ingested / "interactions",), ingested / "matrix", about)

    @classmethod
    def without_test(cls, spark: SparkSession, ingested: Path, split: Path, about: Interactions) -> TrainingData:
        """All that Split dealt but the test part."""
        parts = (split / "parts" / "part=train", split / "parts" / "part=validation")
        return cls.read(spark, ingested, parts, split / "matrix", about)

    @property
    def count(self) -> int:
        """Number of interactions."""
        return len(load_csr(self.blocks, TRACK).indices)

    @property
    def dataframe(self) -> DataFrame:
        """The interactions in Spark."""
        return read_parquet(self.spark, *self.interactions)


class Scorer(Protocol):
    """A trained model, ready to score."""

    @property
    def predicts_ratings(self) -> bool:
        """Whether `ratings` may be asked for."""

    @property
    def num_tracks(self) -> int:
        """Size of the catalogue."""

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """Which tracks the model knows anything of, shape (num_tracks,); the others rank below them."""

    def can_personalize(self, users: IndexArray, heard: CSRMatrix) -> NDArray[np.bool_]:
        """Whether the model has anything to say of each user in particular, shape (len(users),)."""

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """Scores of every track for a block of users, shape (len(users), num_tracks): the higher, the better.

        The array is the caller's to change. Every score is finite. `heard` is what each user has heard, which is all
        that models of items know of a user.
        """

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """Predicted ratings of pairs, shape (len(users),), within the range of the ratings."""


@dataclass(frozen=True)
class RankingScorer:
    """What scorers share that rank tracks and predict no ratings."""

    popularity: FloatArray
    """How many users each track has in the training data, shape (num_tracks,)."""
    predicts_ratings = False

    @property
    def num_tracks(self) -> int:
        """See `Scorer`."""
        return len(self.popularity)

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return np.asarray(self.popularity > 0)

    def can_personalize(self, users: IndexArray, heard: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: whether they heard a track that the model knows."""
        starts, columns = heard.take_rows(users)
        known = np.concatenate([[0], np.cumsum(self.known_tracks[columns])])
        return np.asarray(known[starts[1:]] > known[starts[:-1]])

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """See `Scorer`."""
        raise NotImplementedError(f"{type(self).__name__} does not predict ratings.")


def fill_missing_scores(
    scores: FloatArray, known: NDArray[np.bool_], silent: NDArray[np.bool_], popularity: FloatArray
) -> FloatArray:
    """Scores with the unknown tracks below all others, and popularity for users of whom nothing is known.

    Args:
        scores: shape (users, tracks), changed.
        known: which tracks the model can score.
        silent: which users have no history that says anything.
    """
    if not known.all():
        lowest = scores.min(axis=1, where=known, initial=np.float32(np.finfo(np.float32).max / 2))
        scores[:, ~known] = np.nextafter(lowest, np.float32(-np.inf))[:, None]
    scores[silent] = popularity
    return scores


def standardize_scores(scores: FloatArray) -> FloatArray:
    """Scores with mean 0 and deviation 1 in each row, in place; a row that is the same throughout becomes 0."""
    scores -= scores.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    deviations = np.sqrt(np.einsum("uc,uc->u", scores, scores) / scores.shape[1])
    scores /= np.where(deviations > 0, deviations, 1)[:, None]
    return scores


def fit_model(
    name: str,
    training: TrainingData,
    settings: Mapping[str, Any],
    into: Path,
    report: ProgressReport = lambda text, fraction: None,
) -> None:
    """Trains the named algorithm and saves the model, with the popularity of each track beside it."""
    facts = importlib.import_module(_MODULES[name]).fit(training, settings, into, report)
    np.save(into / _POPULARITY, np.diff(load_csr(training.blocks, TRACK).indptr).astype(np.float32))
    write_json(into / _LABEL, {"name": name, "num_users": training.num_users, **facts})


@lru_cache(maxsize=4)
def load_scorer(model: Path) -> Scorer:
    """Opens a saved model; a process that asks again gets the same object."""
    scorer: Scorer = importlib.import_module(_MODULES[model_info(model)["name"]]).load(model)
    return scorer


def model_info(model: Path) -> dict[str, Any]:
    """What a saved model says of itself: the algorithm's name, num_users, and what its `fit` returned."""
    label: dict[str, Any] = read_json(model / _LABEL)
    return label


def load_popularity(model: Path) -> FloatArray:
    """How many users each track has in the training data, shape (num_tracks,)."""
    counts: FloatArray = np.load(model / _POPULARITY)
    return counts
