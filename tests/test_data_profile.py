"""The profile of the interactions, compared with figures computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from config.dataset import Dataset, Interactions
from spark.ingest.data_profile import profile_interactions
from spark.ingest.distributions import ValueCounts, count_distribution
from spark.ingest.ingest_counts import IngestCounts

KEYS: dict[str, Any] = {"path": "x.csv", "user": "u", "track": "t", "value": "v", "duplicates": "sum"}
PLAYS = Interactions(**KEYS, feedback="plays")
RATINGS = Interactions(**KEYS, feedback="rating", rating_range=(1, 5))


def values_of(spark: SparkSession, tmp_path: Path, *files: list[float], times: list[int] | None = None) -> ValueCounts:
    """Count the values of interactions in these files."""
    for number, values in enumerate(files):
        time_column = pa.array(times if times else [None] * len(values), pa.int64())
        pq.write_table(
            pa.table({"value": np.array(values, float), "time": time_column}), tmp_path / f"{number}.parquet"
        )
    return ValueCounts.of(spark, tmp_path)


def test_ratings_have_eight_equal_bins(spark: SparkSession, tmp_path: Path) -> None:
    # Bins of width 0.5 from 1 to 5. The mean is 26.75 / 8; the quartiles are the 2nd, 4th and 6th of the eight values.
    distribution = values_of(spark, tmp_path, [5.0, 1.0, 2.0, 1.0], [], [4.75, 5.0, 3.0, 5.0]).distribution(RATINGS)
    assert distribution["histogram"] == [
        {"from": 1.0, "to": 1.5, "count": 2},
        {"from": 2.0, "to": 2.5, "count": 1},
        {"from": 3.0, "to": 3.5, "count": 1},
        {"from": 4.5, "to": 5.0, "count": 4},
    ]
    assert distribution["mean"] == pytest.approx(3.34375)
    assert (distribution["min"], distribution["max"], distribution["quartiles"]) == (1.0, 5.0, [1.0, 3.0, 5.0])


def test_plays_have_doubling_bins(spark: SparkSession, tmp_path: Path) -> None:
    distribution = values_of(spark, tmp_path, [0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 1000.0]).distribution(PLAYS)
    assert [(b["from"], b["to"], b["count"]) for b in distribution["histogram"]] == [
        (0.5, 1.0, 1),
        (1.0, 2.0, 1),
        (2.0, 4.0, 2),
        (4.0, 8.0, 2),
        (8.0, 16.0, 1),
        (512.0, 1024.0, 1),
    ]


def test_each_power_of_two_starts_a_new_bin(spark: SparkSession, tmp_path: Path) -> None:
    distribution = values_of(spark, tmp_path, [2.0**n for n in range(50)]).distribution(PLAYS)
    assert [b["from"] for b in distribution["histogram"]] == [2.0**n for n in range(50)]


def test_population_standard_deviation(spark: SparkSession, tmp_path: Path) -> None:
    # The mean is 3 and the squared differences are 4, 0 and 4, so the variance is 8 / 3.
    assert values_of(spark, tmp_path, [1.0, 3.0, 5.0]).deviation == pytest.approx((8 / 3) ** 0.5)


def test_equal_values_are_counted_together(spark: SparkSession, tmp_path: Path) -> None:
    counts = values_of(spark, tmp_path, [2.0, 2.0004, 7.0], times=[86_400, 0, 4_102_444_800])
    assert counts.commonest == (2.0, 2)
    assert counts.times == {"first": "1970-01-01T00:00:00Z", "last": "2100-01-01T00:00:00Z"}
    assert counts.future == 1
    assert values_of(spark, tmp_path, [1.0]).times is None


def test_profile_of_a_small_table(spark: SparkSession, tmp_path: Path) -> None:
    # Three users (one without interactions) and four tracks; 3 of 12 pairs occur.
    for name, columns in {
        "users": {"interactions": [2, 0, 1]},
        "tracks": {"popularity": [1, 2, 0, 0], "rows": [1, None, 1, 1]},
        "interactions": {"value": [1.0, 2.0, 2.0], "time": pa.nulls(3, pa.int64())},
    }.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "part-0.parquet")
    dataset = Dataset.model_validate(
        {"name": "x", "title": "X", "interactions": PLAYS, "tracks": {"path": "t.csv", "id": "id"}}
    )
    counted = IngestCounts(
        read=5, rejected={"not_a_number": 1}, kept=4, merged=1, unusable={"tracks": 2}, examples={"not_a_number": ["a"]}
    )
    profile = profile_interactions(spark, tmp_path, dataset, counted)
    assert (profile["users"], profile["tracks"], profile["interactions"]) == (3, 4, 3)
    assert profile["sparsity"] == pytest.approx(0.75)
    assert profile["feedback"] == "plays"
    assert profile["rows"] == {"read": 5, "kept": 3, "merged": 1, "rejected": 1, "outside": 0}
    assert profile["window"] is None
    assert profile["per_user"] == {
        "mean": 1.0,
        "min": 0,
        "max": 2,
        "quartiles": [0.5, 1.0, 1.5],
        "histogram": [
            {"from": 0, "to": 1, "count": 1},
            {"from": 1, "to": 2, "count": 1},
            {"from": 2, "to": 4, "count": 1},
        ],
    }
    assert profile["per_track"]["histogram"][0] == {"from": 0, "to": 1, "count": 2}
    assert sum(b["count"] for b in profile["value"]["histogram"]) == 3
    checks = {check["check"]: check for check in profile["checks"]}
    assert checks["without_entry"]["figure"] == 0.5
    assert checks["unusable_tracks"]["figure"] == 2


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_every_count_is_in_its_bin(counts: list[int]) -> None:
    for b in count_distribution(np.array(counts))["histogram"]:
        assert b["count"] == sum(b["from"] <= count < b["to"] for count in counts)
    assert sum(b["count"] for b in count_distribution(np.array(counts))["histogram"]) == len(counts)
