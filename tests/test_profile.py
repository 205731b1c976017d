"""The profile of the interactions, against numbers worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from config.dataset import Interactions
from spark.profile import count_distribution, profile, value_distribution

KEYS: dict[str, Any] = {"path": "x.csv", "user": "u", "track": "t", "value": "v", "duplicates": "sum"}
PLAYS = Interactions(**KEYS, feedback="plays")
RATINGS = Interactions(**KEYS, feedback="rating", rating_range=(1, 5))


def of_values(spark: SparkSession, values: list[float], about: Interactions) -> dict[str, Any]:
    """The distribution of the values."""
    return value_distribution(spark.createDataFrame(pd.DataFrame({"value": values})), about)


def test_ratings_fall_into_eight_equal_bins_of_which_the_last_holds_the_highest(spark: SparkSession) -> None:
    # Bins half a point wide from 1 to 5. Mean 26.75 / 8. The 2nd, 4th and 6th of the eight are the quartiles.
    found = of_values(spark, [5.0, 1.0, 2.0, 1.0, 4.75, 5.0, 3.0, 5.0], RATINGS)
    assert found["histogram"] == [
        {"from": 1.0, "to": 1.5, "count": 2},
        {"from": 2.0, "to": 2.5, "count": 1},
        {"from": 3.0, "to": 3.5, "count": 1},
        {"from": 4.5, "to": 5.0, "count": 4},
    ]
    assert found["mean"] == pytest.approx(3.34375)
    assert (found["min"], found["max"], found["quartiles"]) == (1.0, 5.0, [1.0, 3.0, 5.0])


def test_plays_fall_into_bins_that_double(spark: SparkSession) -> None:
    found = of_values(spark, [0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 1000.0], PLAYS)
    assert [(each["from"], each["to"], each["count"]) for each in found["histogram"]] == [
        (0.5, 1.0, 1),
        (1.0, 2.0, 1),
        (2.0, 4.0, 2),
        (4.0, 8.0, 2),
        (8.0, 16.0, 1),
        (512.0, 1024.0, 1),
    ]


def test_each_power_of_two_begins_its_own_bin(spark: SparkSession) -> None:
    found = of_values(spark, [2.0**n for n in range(50)], PLAYS)
    assert [each["from"] for each in found["histogram"]] == [2.0**n for n in range(50)]


def test_the_deviation_is_that_of_the_whole_population(spark: SparkSession) -> None:
    # Mean 3; squares of the differences 4, 0, 4: their mean is 8 / 3.
    assert of_values(spark, [1.0, 3.0, 5.0], PLAYS)["deviation"] == pytest.approx((8 / 3) ** 0.5)


def test_a_small_table_is_counted(spark: SparkSession, tmp_path: Path) -> None:
    # Three users (one of them silent) and four tracks; 3 of 12 pairs occur.
    pd.DataFrame({"interactions": [2, 0, 1]}).to_parquet(tmp_path / "users.parquet")
    pd.DataFrame({"popularity": [1, 2, 0, 0]}).to_parquet(tmp_path / "tracks.parquet")
    interactions = spark.createDataFrame(pd.DataFrame({"value": [1.0, 2.0, 2.0]}))
    found = profile(interactions, tmp_path / "users.parquet", tmp_path / "tracks.parquet", PLAYS)
    assert (found["users"], found["tracks"], found["interactions"]) == (3, 4, 3)
    assert found["sparsity"] == pytest.approx(0.75)
    assert found["feedback"] == "plays"
    assert found["per_user"] == {
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
    assert found["per_track"]["histogram"][0] == {"from": 0, "to": 1, "count": 2}
    assert sum(each["count"] for each in found["value"]["histogram"]) == 3


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_every_count_falls_into_the_one_bin_that_holds_it(counts: list[int]) -> None:
    for each in count_distribution(np.array(counts))["histogram"]:
        assert each["count"] == sum(each["from"] <= count < each["to"] for count in counts)
    assert sum(each["count"] for each in count_distribution(np.array(counts))["histogram"]) == len(counts)
