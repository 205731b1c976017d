"""Profile the interactions: counts, sparsity, distributions, and the checks of `data_checks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from config.dataset import Dataset
from spark.ingest.data_checks import DataFacts, run_checks
from spark.ingest.distributions import ValueCounts, count_distribution
from spark.ingest.ingest_counts import IngestCounts
from spark.storage.tables import Columns


def profile_interactions(spark: SparkSession, ingested: Path, dataset: Dataset, counts: IngestCounts) -> dict[str, Any]:
    """Return the contents of `profile.json`.

    Args:
        ingested: the directory with `interactions`, `users` and `tracks`.
        counts: the outcome of the ingest, in rows.
    """
    description = dataset.interactions
    per_user = _read_column(ingested / "users", "interactions")
    per_track = _read_column(ingested / "tracks", "popularity")
    values = ValueCounts.of(spark, ingested / "interactions")
    return {
        "feedback": description.feedback,
        "users": len(per_user),
        "tracks": len(per_track),
        "interactions": counts.interactions,
        "sparsity": 1.0 - counts.interactions / (len(per_user) * len(per_track)),
        "value": values.distribution(description),
        "times": values.times,
        "per_user": count_distribution(per_user),
        "per_track": count_distribution(per_track),
        "rows": {
            "read": counts.read,
            "kept": counts.interactions,
            "merged": counts.merged,
            "rejected": sum(counts.rejected.values()),
            "outside": counts.outside,
        },
        "window": counts.window.as_text(),
        "rejected_by_reason": counts.rejected,
        "reject_examples": counts.examples,
        "checks": run_checks(
            DataFacts(
                rows=counts.read,
                per_user=per_user,
                per_track=per_track,
                without_entry=_count_tracks_without_entry(ingested / "tracks") if dataset.tracks is not None else None,
                unusable=counts.unusable,
                is_rating=description.feedback == "rating",
                commonest=values.commonest,
                distinct_values=len(values.counts),
                future=values.future,
            )
        ),
    }


def _count_tracks_without_entry(tracks: Path) -> int:
    """Count the tracks that have interactions and are missing from the catalogue."""
    has_interactions, in_catalogue = pc.field("popularity") > 0, pc.field(Columns.ROWS).is_valid()
    return int(ds.dataset(tracks).count_rows(filter=has_interactions & ~in_catalogue))


def _read_column(parquet: Path, name: str) -> NDArray[np.int64]:
    return np.asarray(ds.dataset(parquet).to_table(columns=[name])[name])
