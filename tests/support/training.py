"""Training data as Ingest writes it, small enough that each algorithm is trained in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from spark.algorithms.training_data import TrainingData
from spark.storage.interaction_matrix import CSRMatrix, build_interaction_matrix

NUM_USERS, NUM_TRACKS = 24, 16
SILENT, UNHEARD = 7, 5
"""A user without interactions, and a track without listeners."""


def random_ratings() -> pd.DataFrame:
    """Return ratings from 1 to 5. The lower a track's index, the more users have it."""
    rng = np.random.default_rng(2)
    heard = rng.random((NUM_USERS, NUM_TRACKS)) < np.linspace(0.9, 0.2, NUM_TRACKS)
    heard[SILENT] = False
    heard[:, UNHEARD] = False
    users, tracks = np.nonzero(heard)
    values = rng.integers(1, 6, size=len(users)).astype(float)
    return pd.DataFrame({"user": users.astype(np.int32), "track": tracks.astype(np.int32), "value": values})


RATINGS = random_ratings()
POPULARITY = np.bincount(RATINGS["track"], minlength=NUM_TRACKS)
"""Number of listeners of each track."""

HEARD = CSRMatrix(
    np.concatenate([[0], np.cumsum(np.bincount(RATINGS["user"], minlength=NUM_USERS))]),
    RATINGS["track"].to_numpy(np.int32),
    np.ones(len(RATINGS), np.float32),
)
ALL_USERS = np.arange(NUM_USERS, dtype=np.int32)
KNOWN_USERS = np.delete(ALL_USERS, SILENT)

ALS: dict[str, Any] = {
    "engine": "encore", "rank": 3, "max_iter": 2, "reg_param": 0.05, "reg_exponent": 1.0, "steps": 3, "seed": 1,
    "patience": 0, "say_objective": False,
}  # fmt: skip
IMPLICIT = ALS | {"alpha": 10.0, "value": "binary"}
EXPLICIT = ALS | {"biases": True, "steps": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "als": IMPLICIT,
    "als by MLlib": IMPLICIT | {"engine": "mllib"},
    "als_explicit": EXPLICIT,
    "als_explicit by MLlib": EXPLICIT | {"engine": "mllib"},
    "item-knn by cosine": {"similarity": "cosine", "neighbours": 200},
    "item-knn by bm25": {"similarity": "bm25", "neighbours": 200},
    "ease": {"reg_param": 10.0, "min_listeners": 1},
    "content": {},
}
SETTINGS["hybrid"] = {"weights": {"als": 0.7, "ease": 0.3, "content": 0.0}, "parts": dict(SETTINGS)}
"""Settings of every algorithm and variant; the first word of a key names the algorithm."""


def write_table(directory: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, with the types in which Ingest writes indexes."""
    directory.mkdir(parents=True, exist_ok=True)
    int32 = {column: "int32" for column in ("index", "user", "track") if column in table}
    table.astype(int32).to_parquet(directory / "part-0.parquet", index=False)


def write_training_data(
    spark: SparkSession,
    directory: Path,
    interactions: pd.DataFrame,
    tracks: pd.DataFrame,
    users: pd.DataFrame,
    rating_range: tuple[float, float] | None = None,
) -> TrainingData:
    """Write `interactions`, `tracks`, `users` and `matrix` as Ingest does, and return them as training data.

    Args:
        interactions: columns user, track, value.
        tracks, users: one row for each index.
    """
    write_table(directory / "interactions", interactions.sort_values(["user", "track"]))
    write_table(directory / "tracks", tracks)
    write_table(directory / "users", users)
    sizes = len(users), len(tracks)
    build_interaction_matrix(spark, [directory / "interactions"], *sizes, directory / "matrix")
    return TrainingData(
        spark, (directory / "interactions",), directory / "matrix", *sizes, rating_range,
        directory / "tracks", directory / "users",
    )  # fmt: skip


def write_ratings(
    spark: SparkSession,
    directory: Path,
    ratings: pd.DataFrame,
    num_users: int = NUM_USERS,
    num_tracks: int = NUM_TRACKS,
) -> TrainingData:
    """Write ratings from 1 to 5 as training data, with four artists and without user attributes."""
    tracks = pd.DataFrame({"index": range(num_tracks), "artist": [f"a{track % 4}" for track in range(num_tracks)]})
    users = pd.DataFrame({"index": range(num_users)})
    return write_training_data(spark, directory, ratings, tracks, users, (1.0, 5.0))
