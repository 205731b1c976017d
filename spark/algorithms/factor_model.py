"""Models of factors: saving them as Spark ML's `ALSModel`, opening them with numpy alone, and scoring.

The format: `metadata/part-00000`, one line of JSON; `userFactors/` and `itemFactors/`, Parquet of `id` and `features`,
only of users and tracks that the training knew. Spark's own writer is not needed for it, nor the JVM.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyspark
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from config.paths import SUCCESS
from spark.algorithms.saved_model import load_popularity
from spark.algorithms.scorer import FloatArray, IndexArray, fill_missing_scores
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, load_csr
from spark.storage.tables import write_atomically

DIRECTORIES = {USER: "userFactors", TRACK: "itemFactors"}
_ROWS_PER_FILE = 1 << 17
_ROWS_PER_GROUP = 1 << 14


def save_factors(spark: SparkSession, blocks: Path, flat: dict[str, Path], width: int, into: Path) -> None:
    """Saves flat files of factors, one a side, as an `ALSModel` at `into`.

    Args:
        blocks: what the model was trained on: rows without entries are unknown.
        flat: float32 files, rows by index, `width` columns.
    """
    tasks = []
    for side, directory in DIRECTORIES.items():
        (into / directory).mkdir(parents=True)
        count = len(load_csr(blocks, side))
        tasks += [(side, first, min(first + _ROWS_PER_FILE, count)) for first in range(0, count, _ROWS_PER_FILE)]

    def save(task: tuple[str, int, int]) -> None:
        side, first, last = task
        entries = np.diff(load_csr(blocks, side).indptr[first : last + 1])
        known = np.flatnonzero(entries)
        factors = np.fromfile(flat[side], np.float32, (last - first) * width, offset=4 * width * first)
        rows = factors.reshape(-1, width)[known]
        features = pa.ListArray.from_arrays(np.arange(0, rows.size + 1, width, dtype=np.int32), rows.ravel())
        table = pa.table({"id": (known + first).astype(np.int32), "features": features})
        name = f"part-{first // _ROWS_PER_FILE:05}.parquet"
        plain = partial(pq.write_table, table, row_group_size=_ROWS_PER_GROUP, use_dictionary=False, compression="none")
        write_atomically(into / DIRECTORIES[side] / name, plain)

    run_tasks(spark, save, tasks)
    for directory in DIRECTORIES.values():
        (into / directory / SUCCESS).touch()
    _write_metadata(into, width)


def _write_metadata(into: Path, rank: int) -> None:
    uid = "ALS_encore"
    metadata = {
        "class": "org.apache.spark.ml.recommendation.ALSModel", "timestamp": 0, "sparkVersion": pyspark.__version__,
        "uid": uid, "paramMap": {"userCol": "user", "itemCol": "track"},
        "defaultParamMap": {
            "blockSize": 4096, "coldStartStrategy": "nan", "itemCol": "item", "predictionCol": "prediction",
            "userCol": "user",
        },
        "rank": rank,
    }  # fmt: skip
    (into / "metadata").mkdir()
    (into / "metadata" / "part-00000").write_text(json.dumps(metadata) + "\n", encoding="utf-8")
    (into / "metadata" / SUCCESS).touch()


@dataclass(frozen=True)
class FactorScorer:
    """Scores by the product of user and track factors.

    A user without factors (nothing of theirs was in the training data) gets the order of popularity. A track
    without factors ranks below all that have some.
    """

    read_users: Callable[[int, int], tuple[FloatArray, np.ndarray]]
    """Gives the factors of the users from one index to before another, and which of them are known."""
    track_factors: FloatArray
    """Shape (num_tracks, width); zeros where a track is unknown."""
    known_tracks: np.ndarray
    popularity: FloatArray
    rank: int | None = None
    """How many columns are factors, if those behind are biases."""
    objective: Mapping[str, Any] | None = None
    """What was minimised: see `spark.algorithms.als.training.Objective`. Unknown of a model of MLlib's."""
    predicts_ratings: bool = False
    mean: float = 0.0
    rating_range: tuple[float, float] = (-np.inf, np.inf)

    @cached_property
    def by_direction(self) -> FactorScorer:
        """Scores tracks, in the place of users, by the cosine of their factors with those of each track."""
        factors = self.track_factors[:, : self.rank]
        unit = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return FactorScorer(
            lambda first, last: (unit[first:last], self.known_tracks[first:last]), unit, self.known_tracks,
            self.popularity,
        )  # fmt: skip

    @property
    def num_tracks(self) -> int:
        """See `Scorer`."""
        return len(self.popularity)

    @cached_property
    def by_norm(self) -> tuple[IndexArray, FloatArray, FloatArray]:
        """The known tracks in descending order of their norms: indexes, factors, norms."""
        norms = np.linalg.norm(self.track_factors, axis=1).astype(np.float32)
        known = np.flatnonzero(self.known_tracks)
        order = known[np.argsort(-norms[known], kind="stable")].astype(np.int32)
        return order, self.track_factors[order], norms[order]

    def user_factors(self, users: IndexArray) -> tuple[FloatArray, np.ndarray]:
        """Factors of the users, shape (len(users), width), and which of them are known."""
        first, last = (int(users.min()), int(users.max()) + 1) if len(users) else (0, 0)
        factors, known = self.read_users(first, last)
        return factors[users - first], known[users - first]

    def can_personalize(self, users: IndexArray, heard: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return self.user_factors(users)[1]

    def scores(self, users: IndexArray, heard: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        factors, known = self.user_factors(users)
        scores: FloatArray = factors @ self.track_factors.T
        return fill_missing_scores(scores, self.known_tracks, ~known, self.popularity)

    def contributions(self, heard: IndexArray, values: FloatArray, listed: IndexArray) -> NDArray[np.float64] | None:
        """What each track that a user heard adds to the score of each listed one, shape (listed, heard).

        With y the factors of tracks, c = 1 + w a user's confidence and W = (YᵀY + Σ w y yᵀ + λ n^e I)⁻¹, the user's
        factors are Σ c W y, so that a score is the sum of y_i W y_j c_j over the tracks j that were heard (Hu et al.).
        None where the model's objective is not known, or one of ratings.
        """
        wanted = self.objective
        if wanted is None or wanted["value"] == "rating":
            return None
        y = self.track_factors[heard].astype(np.float64)
        strengths = {"binary": np.ones(len(values)), "linear": np.asarray(values), "log": np.log1p(values)}
        weight = wanted["alpha"] * np.asarray(strengths[wanted["value"]], np.float64)
        matrix = self._gram + (y * weight[:, None]).T @ y
        matrix[np.diag_indices_from(matrix)] += wanted["reg_param"] * len(heard) ** wanted["reg_exponent"]
        similar = y @ np.linalg.solve(matrix, self.track_factors[listed].T.astype(np.float64))
        shares: NDArray[np.float64] = (similar * (1 + weight)[:, None]).T
        return shares

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        return np.asarray(self.track_factors.T @ self.track_factors, np.float64)

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """See `Scorer`. A pair with an unknown side gets the mean of the training data."""
        factors, known = self.user_factors(users)
        predicted = np.einsum("nf,nf->n", factors, self.track_factors[tracks])
        known = known & self.known_tracks[tracks]
        return np.clip(np.where(known, predicted, np.float32(self.mean)), *self.rating_range)


def load_factors(model: Path, **more: Any) -> FactorScorer:
    """Opens a saved `ALSModel` with numpy alone; `more` goes to the scorer."""
    popularity = load_popularity(model)
    tracks, known = _dense(model / DIRECTORIES[TRACK], 0, len(popularity))
    return FactorScorer(partial(_dense, model / DIRECTORIES[USER]), tracks, known, popularity, **more)


@lru_cache(maxsize=4)
def _dense(factors: Path, first: int, last: int) -> tuple[FloatArray, np.ndarray]:
    """Factors of the indexes from first to last, zero where there are none; and where there are some."""
    within = (pc.field("id") >= first) & (pc.field("id") < last)
    # Read ahead, the memory that a worker holds grows with every range that it reads.
    plain = ds.ParquetFragmentScanOptions(pre_buffer=False)
    table = ds.dataset(factors).to_table(columns=["id", "features"], filter=within, fragment_scan_options=plain)
    ids = table["id"].to_numpy() - first
    features = table["features"].combine_chunks().flatten().to_numpy()
    width = _width(factors)
    dense = np.zeros((last - first, width), np.float32)
    dense[ids] = features.reshape(-1, width)
    known = np.zeros(last - first, bool)
    known[ids] = True
    return dense, known


@lru_cache(maxsize=4)
def _width(factors: Path) -> int:
    return len(ds.dataset(factors).head(1)["features"][0])
