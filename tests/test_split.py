"""Dealing into training, validation and test: nothing lost, nothing twice, and each strategy as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from scipy import sparse

from config.errors import UserError
from spark.blocks import TRACK, USER, rows_of
from spark.split import PARTS, Dealing, Hashes, deal, held_out

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


NUM_USERS, NUM_TRACKS = 50, 40


def dealing(strategy: str, last_n: int = 1, validation_fraction: float = 0.1) -> Dealing:
    """As the settings would say."""
    return Dealing(strategy, test_fraction=0.2, validation_fraction=validation_fraction, last_n=last_n, seed=42)


def interactions() -> pd.DataFrame:
    """Two thirds of all pairs, with few different times, which not all of them have; a user has two rows alone."""
    user, track = (part.ravel().astype(np.int32) for part in np.mgrid[:NUM_USERS, :NUM_TRACKS])
    rng = np.random.default_rng(5)
    time = pd.Series(rng.integers(1_000, 1_200, len(user))).astype("Int64").mask(rng.random(len(user)) < 0.1)
    rows = pd.DataFrame({"user": user, "track": track, "value": user * 1.5, "time": time})
    kept = (rng.random(len(user)) < 0.66) & ((user != 3) | np.isin(track, [5, 6]))
    return rows[kept].reset_index(drop=True)


ROWS = interactions()


def dealt(
    spark: SparkSession, directory: Path, how: Dealing, rows: pd.DataFrame = ROWS, first: int = 25
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The parts, and the times that were cut at; users up to `first` are in one file, the others in a second."""
    ingested = directory / "ingested"
    (ingested / "interactions").mkdir(parents=True)
    for name, size in (("users", NUM_USERS), ("tracks", NUM_TRACKS)):
        (ingested / name).mkdir()
        hashes = np.random.default_rng(size).integers(2**32, size=size, dtype=np.uint32)
        table = pa.table({"index": np.arange(size, dtype=np.int32), "hash": hashes})
        pq.write_table(table, ingested / name / "part-0.parquet")
    for number, part in enumerate((rows[rows["user"] < first], rows[rows["user"] >= first])):
        part.to_parquet(ingested / "interactions" / f"part-{number}.parquet", index=False)
    sizes, cuts = deal(spark, ingested, how, directory / "split")
    parts = {part: pd.read_parquet(directory / "split" / "dealt" / f"part={part}") for part in PARTS}
    assert {part: len(table) for part, table in parts.items()} == sizes
    return parts, cuts


@pytest.mark.parametrize("strategy", ["random", "temporal", "leave_last_n"])
def test_every_row_is_dealt_once_and_otherwise_unchanged(spark: SparkSession, tmp_path: Path, strategy: str) -> None:
    parts, _ = dealt(spark, tmp_path, dealing(strategy))
    together = pd.concat(parts.values()).sort_values(["user", "track"], ignore_index=True)
    pd.testing.assert_frame_equal(together, ROWS, check_dtype=False)
    for name, learned in (("blocks", ["train", "validation"]), ("blocks-train", ["train"])):
        rows = pd.concat(parts[part] for part in learned)
        expected = sparse.csr_matrix((rows["value"], (rows["user"], rows["track"])), (NUM_USERS, NUM_TRACKS))
        for side, matrix in ((USER, expected), (TRACK, expected.T.tocsr())):
            matrix.sort_indices()
            found = rows_of(tmp_path / "split" / name, side)
            np.testing.assert_array_equal(found.starts, matrix.indptr)
            np.testing.assert_array_equal(found.columns, matrix.indices)
            np.testing.assert_allclose(found.values, matrix.data)


def test_the_random_test_part_is_the_same_whatever_the_validation_part(spark: SparkSession, tmp_path: Path) -> None:
    small, large = (
        dealt(spark, tmp_path / str(share), dealing("random", validation_fraction=share))[0] for share in (0.05, 0.3)
    )
    pd.testing.assert_frame_equal(small["test"], large["test"])
    assert len(small["validation"]) < len(large["validation"])
    assert 0.15 < len(small["test"]) / len(ROWS) < 0.25


def test_the_past_predicts_the_future(spark: SparkSession, tmp_path: Path) -> None:
    parts, cuts = dealt(spark, tmp_path, dealing("temporal"))
    train, validation, test = (parts[part]["time"] for part in PARTS)
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    assert not validation.isna().any()
    assert not test.isna().any()
    assert train.isna().sum() == ROWS["time"].isna().sum()
    timed = ROWS["time"].notna().sum()
    at_one_time = int(ROWS["time"].value_counts().max())
    for part, share in ((test, 0.2), (validation, 0.1)):
        assert 0 <= len(part) - round(share * timed) < at_one_time, "all of one time, and no more than needed"
    assert cuts == {
        f"{name}_from": f"{np.datetime64(int(part.min()), 's')}Z"
        for name, part in (("validation", validation), ("test", test))
    }


@pytest.mark.parametrize("last_n", [1, 3])
def test_the_last_of_each_user_are_held_back(spark: SparkSession, tmp_path: Path, last_n: int) -> None:
    parts, _ = dealt(spark, tmp_path, dealing("leave_last_n", last_n))
    for user, rows in ROWS.groupby("user"):
        timed = rows[rows["time"].notna()].sort_values(["time", "track"])
        order = timed["track"].tolist()
        # Rows without a time come before all others; the first of all is in training whatever happens.
        spare = 0 if len(rows) > len(timed) else 1
        test = order[spare:][-last_n:]
        validation = order[spare:][: len(order) - spare - len(test)][-last_n:]
        for part, expected in (("test", test), ("validation", validation)):
            found = parts[part]
            assert found.loc[found["user"] == user, "track"].tolist() == sorted(expected)


@pytest.mark.parametrize("strategy", ["temporal", "leave_last_n"])
def test_data_without_times_cannot_be_dealt_by_them(spark: SparkSession, tmp_path: Path, strategy: str) -> None:
    untimed = ROWS.assign(time=pd.Series(pd.NA, index=ROWS.index, dtype="Int64"))
    with pytest.raises(UserError, match=rf"strategy = {strategy} needs times, .* or say \[split\] strategy"):
        dealt(spark, tmp_path, dealing(strategy), untimed)
