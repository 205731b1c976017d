"""Dealing into training and test: nothing lost, nothing twice, and the same whatever the files and the other rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark.split import Hashes, deal, held_out

COUNT = 20_000
RNG = np.random.default_rng(1)
USERS = RNG.integers(2**32, size=100).astype(np.uint64)[np.arange(COUNT) % 100]
TRACKS = RNG.integers(2**32, size=200).astype(np.uint64)[np.arange(COUNT) // 100]


def chosen(fraction: float, seed: int = 42, users: Hashes = USERS, tracks: Hashes = TRACKS) -> set[int]:
    """The places of the pairs that are held out."""
    return set(np.flatnonzero(held_out(users, tracks, fraction, seed)).tolist())


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_the_test_part_has_about_its_fraction(fraction: float) -> None:
    # Four standard deviations of a binomial.
    allowed = 4 * (fraction * (1 - fraction) / COUNT) ** 0.5
    assert len(chosen(fraction)) / COUNT == pytest.approx(fraction, abs=allowed)


@pytest.mark.parametrize("axis", [0, 1], ids=["users", "tracks"])
def test_no_user_and_no_track_is_held_out_more_than_chance_would(axis: int) -> None:
    # Per user 200 draws, per track 100; the largest of so many normal deviates stays below 4.5 deviations.
    table = held_out(USERS, TRACKS, 0.2, 42).reshape(200, 100)  # a row a track
    allowed = 4.5 * (0.2 * 0.8 / table.shape[axis]) ** 0.5
    assert np.abs(table.mean(axis=axis) - 0.2).max() < allowed


def test_a_pair_falls_into_its_part_whatever_the_other_rows() -> None:
    some = np.flatnonzero(np.arange(COUNT) % 100 < 30)
    alone = held_out(USERS[some], TRACKS[some], 0.2, 42)
    assert set(some[alone].tolist()) == chosen(0.2) & set(some.tolist())


def test_a_larger_fraction_keeps_what_was_held_out() -> None:
    assert chosen(0.1) < chosen(0.3)


def test_another_seed_deals_independently() -> None:
    # Independent parts share 0.2 · 0.2 of the rows: 800 of 20,000, give or take four deviations of 28.
    assert abs(len(chosen(0.2, seed=1) & chosen(0.2, seed=2)) - 800) < 4 * 28


def test_nothing_is_held_out_for_a_fraction_of_0() -> None:
    assert chosen(0.0) == set()


def test_every_row_is_dealt_once_and_otherwise_unchanged(spark: SparkSession, tmp_path: Path) -> None:
    ingested = tmp_path / "ingested"
    (ingested / "interactions").mkdir(parents=True)
    for name, size in (("users", 50), ("tracks", 40)):
        (ingested / name).mkdir()
        table = pa.table(
            {"index": np.arange(size, dtype=np.int32), "hash": RNG.integers(2**32, size=size, dtype=np.uint32)}
        )
        pq.write_table(table, ingested / name / "part-0.parquet")
    user, track = (part.ravel().astype(np.int32) for part in np.mgrid[:50, :40])
    rows = pd.DataFrame({"user": user, "track": track, "value": user * 1.5, "time": track.astype(np.int64)})
    for number, part in enumerate((rows[:1000], rows[1000:])):
        part.to_parquet(ingested / "interactions" / f"part-{number}.parquet", index=False)
    sizes = deal(spark, ingested, 0.2, 42, tmp_path / "split")
    parts = {part: pd.read_parquet(tmp_path / "split" / "dealt" / f"part={part}") for part in ("train", "test")}
    assert {part: len(table) for part, table in parts.items()} == sizes
    together = pd.concat(parts.values()).sort_values(["user", "track"], ignore_index=True)
    pd.testing.assert_frame_equal(together, rows)
    assert 0.15 < sizes["test"] / len(rows) < 0.25
