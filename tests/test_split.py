"""Dealing into training and test: nothing lost, nothing twice, and the same whatever the partitioning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark.split import TEST, TRAIN, deal

COUNT = 20_000


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """Interactions with a random hash each."""
    hashes = np.random.default_rng(1).integers(-(2**63), 2**63, size=COUNT)
    return pd.DataFrame({"user": np.arange(COUNT) % 100, "track": np.arange(COUNT) // 100, "pair": hashes})


@pytest.fixture(scope="module")
def interactions(spark: SparkSession, pairs: pd.DataFrame) -> DataFrame:
    """The same, in Spark."""
    return spark.createDataFrame(pairs)


def held_out(dealt: DataFrame) -> set[int]:
    """The hashes of the pairs in the test part."""
    return set(dealt.where(f"part = '{TEST}'").toPandas()["pair"])


def test_every_row_is_dealt_once_and_otherwise_unchanged(interactions: DataFrame, pairs: pd.DataFrame) -> None:
    dealt = deal(interactions, 0.2, seed=42).toPandas()
    assert set(dealt["part"]) == {TRAIN, TEST}
    together = dealt.drop(columns="part").sort_values(["track", "user"], ignore_index=True)
    pd.testing.assert_frame_equal(together, pairs)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_the_test_part_has_about_its_fraction(interactions: DataFrame, fraction: float) -> None:
    # Four standard deviations of a binomial.
    allowed = 4 * (fraction * (1 - fraction) / COUNT) ** 0.5
    assert len(held_out(deal(interactions, fraction, seed=42))) / COUNT == pytest.approx(fraction, abs=allowed)


def test_a_row_falls_into_its_part_whatever_the_partitions_and_the_other_rows(interactions: DataFrame) -> None:
    everything = held_out(deal(interactions, 0.2, seed=42))
    assert held_out(deal(interactions.repartition(7), 0.2, seed=42)) == everything
    some = interactions.where("user < 30")
    expected = everything & {row["pair"] for row in some.select("pair").collect()}
    assert held_out(deal(some, 0.2, seed=42)) == expected


def test_a_larger_fraction_keeps_what_was_held_out(interactions: DataFrame) -> None:
    assert held_out(deal(interactions, 0.1, seed=42)) < held_out(deal(interactions, 0.3, seed=42))


def test_another_seed_deals_independently(interactions: DataFrame) -> None:
    one, other = held_out(deal(interactions, 0.2, seed=1)), held_out(deal(interactions, 0.2, seed=2))
    # Independent parts share 0.2 · 0.2 of the rows: 800 of 20,000, give or take four deviations of 28.
    assert abs(len(one & other) - 800) < 4 * 28


def test_nothing_is_held_out_for_a_fraction_of_0(interactions: DataFrame) -> None:
    assert held_out(deal(interactions, 0.0, seed=42)) == set()
