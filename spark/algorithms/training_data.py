"""The interactions that a model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession

from config.dataset import Interactions
from spark.storage.interaction_matrix import TRACK, load_csr
from spark.storage.tables import read_parquet

ProgressReport = Callable[[str, float], None]
"""Receives a description of the current step and the fraction of the training that is done."""


@dataclass(frozen=True)
class TrainingData:
    """Interactions as Parquet and as a CSR matrix, with the size of the catalogue and the metadata tables."""

    spark: SparkSession
    interactions: tuple[Path, ...]
    """Directories of Parquet files with the columns user, track, value, sorted by user and track."""
    matrix: Path
    """The same interactions as memory-mapped CSR matrices: see `spark.storage.interaction_matrix`."""
    num_users: int
    num_tracks: int
    rating_range: tuple[float, float] | None
    """Lowest and highest rating; None for implicit feedback."""
    track_table: Path | None = None
    """Parquet of track metadata, ordered by track index."""
    user_table: Path | None = None
    """Parquet of user metadata, ordered by user index."""

    @classmethod
    def read(
        cls, spark: SparkSession, ingested: Path, interactions: tuple[Path, ...], matrix: Path, about: Interactions
    ) -> TrainingData:
        """Combine a subset of the interactions with the tables that Ingest wrote.

        Args:
            interactions, matrix: the subset, as Parquet and as CSR matrices.
        """
        user_table, track_table = ingested / "users", ingested / "tracks"
        num_users, num_tracks = (ds.dataset(table).count_rows() for table in (user_table, track_table))
        return cls(spark, interactions, matrix, num_users, num_tracks, about.rating_range, track_table, user_table)

    @classmethod
    def all_interactions(cls, spark: SparkSession, ingested: Path, about: Interactions) -> TrainingData:
        """All interactions that Ingest wrote."""
        return cls.read(spark, ingested, (ingested / "interactions",), ingested / "matrix", about)

    @classmethod
    def without_test(cls, spark: SparkSession, ingested: Path, split: Path, about: Interactions) -> TrainingData:
        """The training and validation parts of a split."""
        parts = (split / "parts" / "part=train", split / "parts" / "part=validation")
        return cls.read(spark, ingested, parts, split / "matrix", about)

    @property
    def count(self) -> int:
        """Number of interactions."""
        return len(load_csr(self.matrix, TRACK).indices)

    @property
    def dataframe(self) -> DataFrame:
        """The interactions as a Spark DataFrame."""
        return read_parquet(self.spark, *self.interactions)
