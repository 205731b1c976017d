"""Matrix factorisation models: saved as Spark ML's `ALSModel`, opened with numpy alone.

Format: `metadata/part-00000`, a line of JSON; `userFactors/` and `itemFactors/`, Parquet with the columns `id` and
`features`, with rows only for users and tracks in the training data. Writing it needs neither Spark's writer nor a JVM.
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
from spark.algorithms.scorer import FloatArray, IndexArray, InnerProducts, Scorer, fill_missing_scores
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, load_csr
from spark.storage.tables import write_atomically

DIRECTORIES = {USER: "userFactors", TRACK: "itemFactors"}
_ROWS_PER_FILE = 1 << 17
_ROWS_PER_GROUP = 1 << 14


def save_factors(spark: SparkSession, matrix: Path, flat: dict[str, Path], width: int, into: Path) -> None:
    """Save the factors of both sides as an `ALSModel` at `into`.

    Args:
        matrix: the training data; users and tracks without interactions are left out.
        flat: a float32 file per side, shape (rows, width).
    """
    tasks = []
    for side, directory in DIRECTORIES.items():
        (into / directory).mkdir(parents=True)
        count = len(load_csr(matrix, side))
        tasks += [(side, first, min(first + _ROWS_PER_FILE, count)) for first in range(0, count, _ROWS_PER_FILE)]

    def save_range(task: tuple[str, int, int]) -> None:
        side, first, last = task
        known = np.flatnonzero(np.diff(load_csr(matrix, side).indptr[first : last + 1]))
        factors = np.fromfile(flat[side], np.float32, (last - first) * width, offset=4 * width * first)
        rows = factors.reshape(-1, width)[known]
        features = pa.ListArray.from_arrays(np.arange(0, rows.size + 1, width, dtype=np.int32), rows.ravel())
        table = pa.table({"id": (known + first).astype(np.int32), "features": features})
        name = f"part-{first // _ROWS_PER_FILE:05}.parquet"
        write = partial(pq.write_table, table, row_group_size=_ROWS_PER_GROUP, use_dictionary=False, compression="none")
        write_atomically(into / DIRECTORIES[side] / name, write)

    run_tasks(spark, save_range, tasks)
    for directory in DIRECTORIES.values():
        (into / directory / SUCCESS).touch()
    _write_metadata(into, width)


def _write_metadata(into: Path, rank: int) -> None:
    metadata = {
        "class": "org.apache.spark.ml.recommendation.ALSModel", "timestamp": 0, "sparkVersion": pyspark.__version__,
        "uid": "ALS_encore", "paramMap": {"userCol": "user", "itemCol": "track"},
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
class FactorScorer(Scorer):
    """Scores a track by the inner product of user and track factors.

    Users without factors get the popularity ranking. Tracks without factors rank below all others.
    """

    read_user_factors: Callable[[int, int], tuple[FloatArray, NDArray[np.bool_]]]
    """Returns the factors of a range of users, end exclusive, and whether each of them has factors."""
    track_factors: FloatArray
    """Shape (num_tracks, width); zero rows for unknown tracks."""
    known: NDArray[np.bool_]
    """Whether each track has factors, shape (num_tracks,)."""
    popularity: FloatArray
    rank: int | None = None
    """Number of leading columns that are factors, if biases follow them; None: all columns."""
    objective: Mapping[str, Any] | None = None
    """Fields of `spark.algorithms.als.half_iteration.Objective`; None for a model trained by MLlib."""
    predicts_ratings: bool = False
    mean: float = 0.0
    """Mean rating of the training data."""
    rating_range: tuple[float, float] = (-np.inf, np.inf)

    @property
    def num_tracks(self) -> int:
        """See `Scorer`."""
        return len(self.popularity)

    @property
    def known_tracks(self) -> NDArray[np.bool_]:
        """See `Scorer`."""
        return self.known

    def user_factors(self, users: IndexArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the users' factors, shape (len(users), width), and whether each of them has factors."""
        first, last = (int(users.min()), int(users.max()) + 1) if len(users) else (0, 0)
        factors, known = self.read_user_factors(first, last)
        return factors[users - first], known[users - first]

    def can_personalize(self, users: IndexArray, history: CSRMatrix) -> NDArray[np.bool_]:
        """See `Scorer`: whether the user has factors."""
        return self.user_factors(users)[1]

    def scores(self, users: IndexArray, history: CSRMatrix) -> FloatArray:
        """See `Scorer`."""
        factors, known_users = self.user_factors(users)
        scores: FloatArray = factors @ self.track_factors.T
        return fill_missing_scores(scores, self.known, ~known_users, self.popularity)

    def inner_products(self, users: IndexArray) -> InnerProducts:
        """See `Scorer`."""
        return InnerProducts(*self.user_factors(users), self.track_factors, self._by_norm)

    @cached_property
    def _by_norm(self) -> tuple[IndexArray, FloatArray, FloatArray]:
        norms = np.linalg.norm(self.track_factors, axis=1).astype(np.float32)
        known = np.flatnonzero(self.known)
        order = known[np.argsort(-norms[known], kind="stable")].astype(np.int32)
        return order, self.track_factors[order], norms[order]

    def ratings(self, users: IndexArray, tracks: IndexArray) -> FloatArray:
        """See `Scorer`. A pair with an unknown user or track gets the mean rating of the training data."""
        factors, known_users = self.user_factors(users)
        predictions = np.einsum("nf,nf->n", factors, self.track_factors[tracks])
        known = known_users & self.known[tracks]
        return np.clip(np.where(known, predictions, np.float32(self.mean)), *self.rating_range)

    def explain(self, history: IndexArray, values: FloatArray, tracks: IndexArray) -> NDArray[np.floating] | None:
        """See `Scorer`: the exact decomposition of Hu, Koren and Volinsky (2008, section 5).

        With track factors Y, confidence c = 1 + w and W = (YᵀY + Σ w y yᵀ + λ nᵉ I)⁻¹, the user's factors are Σ c W y.
        The score of track i is therefore the sum of y_iᵀ W y_j c_j over the heard tracks j.

        Returns:
            None if the objective is unknown or one of ratings.
        """
        objective = self.objective
        if objective is None or objective["value"] == "rating":
            return None
        y = self.track_factors[history].astype(np.float64)
        strengths = {"binary": np.ones(len(values)), "linear": np.asarray(values), "log": np.log1p(values)}
        weights = objective["alpha"] * np.asarray(strengths[objective["value"]], np.float64)
        matrix = self._gram + (y * weights[:, None]).T @ y
        matrix[np.diag_indices_from(matrix)] += objective["reg_param"] * len(history) ** objective["reg_exponent"]
        similarities = y @ np.linalg.solve(matrix, self.track_factors[tracks].T.astype(np.float64))
        contributions: NDArray[np.float64] = (similarities * (1 + weights)[:, None]).T
        return contributions

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        return np.asarray(self.track_factors.T @ self.track_factors, np.float64)

    def similarity_scorer(self) -> FactorScorer:
        """See `Scorer`: by the cosine similarity of the tracks' factors."""
        return self._cosine_scorer

    @cached_property
    def _cosine_scorer(self) -> FactorScorer:
        factors = self.track_factors[:, : self.rank]
        unit = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return FactorScorer(
            lambda first, last: (unit[first:last], self.known[first:last]), unit, self.known,
            self.popularity,
        )  # fmt: skip


def load_factors(model: Path, **fields: Any) -> FactorScorer:
    """Open a saved `ALSModel`; `fields` are further fields of the scorer."""
    popularity = load_popularity(model)
    tracks, known = _read_factors(model / DIRECTORIES[TRACK], 0, len(popularity))
    return FactorScorer(partial(_read_factors, model / DIRECTORIES[USER]), tracks, known, popularity, **fields)


@lru_cache(maxsize=4)
def _read_factors(directory: Path, first: int, last: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Read the factors of indexes `first` to `last` (exclusive), zeros where missing, and whether each one exists."""
    within = (pc.field("id") >= first) & (pc.field("id") < last)
    # With read-ahead, a worker's memory grows with every range that it reads.
    options = ds.ParquetFragmentScanOptions(pre_buffer=False)
    table = ds.dataset(directory).to_table(columns=["id", "features"], filter=within, fragment_scan_options=options)
    positions = table["id"].to_numpy() - first
    features = table["features"].combine_chunks().flatten().to_numpy()
    width = _width(directory)
    factors = np.zeros((last - first, width), np.float32)
    factors[positions] = features.reshape(-1, width)
    known = np.zeros(last - first, bool)
    known[positions] = True
    return factors, known


@lru_cache(maxsize=4)
def _width(directory: Path) -> int:
    return len(ds.dataset(directory).head(1)["features"][0])
