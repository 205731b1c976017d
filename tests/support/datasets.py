"""Raw files, dataset descriptions and the outputs of Ingest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from config.dataset import Dataset
from spark.ingest.ingest_counts import IngestCounts
from spark.ingest.raw_to_parquet import ingest

RATINGS: dict[str, Any] = {
    "path": "ratings.csv",
    "user": "user",
    "track": "track",
    "value": "rating",
    "time": "time",
    "feedback": "rating",
    "rating_range": [1, 5],
    "duplicates": "latest",
}
PLAYS: dict[str, Any] = {
    "path": "plays.csv",
    "user": "user",
    "track": "track",
    "value": "plays",
    "feedback": "plays",
    "duplicates": "sum",
}
HEADERLESS: dict[str, Any] = PLAYS | {"header": False, "columns": ["user", "track", "plays"]}


def dataset_of(interactions: dict[str, Any], **tables: dict[str, Any]) -> Dataset:
    """Return the description of a dataset with these tables."""
    return Dataset.model_validate({"name": "mine", "title": "Mine", "interactions": interactions, **tables})


def write_description(file: Path, **interactions: str) -> str:
    """Write a dataset description with these keys of [interactions]; return its path as the `dataset` parameter."""
    keys = {"path": "plays.csv", "duplicates": "sum"} | interactions
    lines = ['title = "Mine"', "[interactions]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return str(file)


def write_csv(directory: Path, **files: str | bytes) -> Path:
    """Write `<name>.csv` files; return the directory."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        (directory / f"{name}.csv").write_bytes(data)
    return directory


def values_by_ids(ingested: Path) -> dict[tuple[str, str], float]:
    """Return the interactions' values by the ids of user and track."""
    users, tracks, rows = (pd.read_parquet(ingested / name) for name in ("users", "tracks", "interactions"))
    user_ids, track_ids = (
        table.set_index("index")[key].loc[rows[side]]
        for table, key, side in ((users, "user_id", "user"), (tracks, "track_id", "track"))
    )
    return dict(zip(zip(user_ids, track_ids, strict=True), rows["value"], strict=True))


@dataclass(frozen=True)
class Ingested:
    """The counts of Ingest and its output directory."""

    counted: IngestCounts
    into: Path

    def table(self, name: str) -> pd.DataFrame:
        """Read one of the outputs: users, tracks, interactions, rejects."""
        return pd.read_parquet(self.into / name)

    def by_index(self, name: str) -> pd.DataFrame:
        """Read users or tracks in the order of their indexes."""
        return self.table(name).sort_values("index", ignore_index=True)

    def pairs(self) -> dict[tuple[str, str], float]:
        """Return the interactions' values by the ids of user and track."""
        return values_by_ids(self.into)


def ingest_into(
    spark: SparkSession, dataset: Dataset, raw: Path, max_reject_fraction: float = 0.0, **window: Any
) -> Ingested:
    """Run ingest on a raw directory; the outputs go to `<raw>-out`."""
    into = raw.with_name(f"{raw.name}-out")
    into.mkdir()
    return Ingested(ingest(spark, dataset, raw, into, max_reject_fraction, **window), into)
