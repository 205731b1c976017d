"""Splits: every row is in one part, independent of files and other rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy import sparse

from common.errors import UserError
from spark.splitting.random_split import Hashes, id_hashes, is_held_out
from spark.splitting.split import PARTS, SplitConfig, split_interactions
from spark.splitting.temporal_split import count_since, find_cut_time, leave_last_n
from spark.storage.interaction_matrix import TRACK, USER, load_csr

COUNT = 20_000
RNG = np.random.default_rng(1)
USERS = RNG.integers(2**32, size=100).astype(np.uint64)[np.arange(COUNT) % 100]
TRACKS = RNG.integers(2**32, size=200).astype(np.uint64)[np.arange(COUNT) // 100]


def chosen(fraction: float, seed: int = 42, users: Hashes = USERS, tracks: Hashes = TRACKS) -> set[int]:
    """Return the positions of the pairs that are held out."""
    return set(np.flatnonzero(is_held_out(users, tracks, fraction, seed)).tolist())


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_held_out_share_is_close_to_the_fraction(fraction: float) -> None:
    # Four standard deviations of a binomial.
    allowed = 4 * (fraction * (1 - fraction) / COUNT) ** 0.5
    assert len(chosen(fraction)) / COUNT == pytest.approx(fraction, abs=allowed)


@pytest.mark.parametrize("axis", [0, 1], ids=["users", "tracks"])
def test_held_out_share_of_each_user_and_track_is_random(axis: int) -> None:
    # Per user 200 draws, per track 100; the largest of so many normal deviates stays below 4.5 deviations.
    table = is_held_out(USERS, TRACKS, 0.2, 42).reshape(200, 100)  # a row a track
    allowed = 4.5 * (0.2 * 0.8 / table.shape[axis]) ** 0.5
    assert np.abs(table.mean(axis=axis) - 0.2).max() < allowed


def test_assignment_does_not_depend_on_other_rows() -> None:
    some = np.flatnonzero(np.arange(COUNT) % 100 < 30)
    alone = is_held_out(USERS[some], TRACKS[some], 0.2, 42)
    assert set(some[alone].tolist()) == chosen(0.2) & set(some.tolist())


def test_larger_fraction_holds_out_a_superset() -> None:
    assert chosen(0.1) < chosen(0.3)


def test_seeds_split_independently() -> None:
    # Independent parts share 0.2 · 0.2 of the rows: 800 of 20,000, give or take four deviations of 28.
    assert abs(len(chosen(0.2, seed=1) & chosen(0.2, seed=2)) - 800) < 4 * 28


def test_fraction_of_0_holds_out_nothing() -> None:
    assert chosen(0.0) == set()


NUM_USERS, NUM_TRACKS = 50, 40
STRATEGIES = ("random", "temporal", "leave_last_n")


def interactions(timed: bool = True) -> pd.DataFrame:
    """Return interactions of users with 1 to 40 tracks; times have many ties, and one in ten is missing."""
    rng = np.random.default_rng(6)
    heard = rng.random((NUM_USERS, NUM_TRACKS)) < np.linspace(0.02, 1, NUM_USERS)[:, None]
    heard[:, 3] |= ~heard.any(axis=1)
    users, tracks = (place.astype(np.int32) for place in np.nonzero(heard))
    times = pd.array(rng.integers(1_000, 1_060, size=len(users)), dtype="Int64")
    times[(rng.random(len(users)) < 0.1) | (not timed)] = pd.NA
    return pd.DataFrame({"user": users, "track": tracks, "value": users + tracks / 64, "time": times})


ROWS = interactions()
TIMED = ROWS[ROWS["time"].notna()]


def ingest(directory: Path, rows: pd.DataFrame, files: int = 3) -> Path:
    """Write the output of Ingest."""
    (directory / "interactions").mkdir(parents=True)
    rng = np.random.default_rng(9)
    for name, size in (("users", NUM_USERS), ("tracks", NUM_TRACKS)):
        (directory / name).mkdir()
        table = pa.table(
            {"index": np.arange(size, dtype=np.int32), "hash": rng.integers(2**32, size=size, dtype=np.uint32)}
        )
        pq.write_table(table, directory / name / "part-0.parquet")
    for number in range(files):
        in_range = rows[rows["user"] * files // NUM_USERS == number]
        in_range.to_parquet(directory / "interactions" / f"part-{number}.parquet", index=False)
    return directory


def split_config(strategy: str, test: float = 0.2, validation: float = 0.1, last_n: int = 1) -> SplitConfig:
    """Return the default settings with these changes."""
    return SplitConfig(strategy, test, validation, last_n, seed=42)


def part(split: Path, name: str) -> pd.DataFrame:
    """Read a part."""
    return pd.read_parquet(split / "parts" / f"part={name}", columns=list(ROWS)).astype(ROWS.dtypes.to_dict())


@pytest.fixture(scope="module")
def splits(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ROWS`, split by each strategy into a directory of that name."""
    directory = tmp_path_factory.mktemp("splits")
    ingest(directory / "ingested", ROWS)
    for strategy in STRATEGIES:
        (directory / strategy).mkdir()
        split_interactions(spark, directory / "ingested", split_config(strategy), directory / strategy)
    return directory


@pytest.mark.parametrize("strategy", STRATEGIES)
class TestEveryStrategy:
    """Properties of all strategies."""

    def test_every_row_is_in_one_part_unchanged(self, splits: Path, strategy: str) -> None:
        together = pd.concat([part(splits / strategy, name) for name in PARTS])
        pd.testing.assert_frame_equal(together.sort_values(["user", "track"], ignore_index=True), ROWS)

    def test_no_part_is_empty(self, splits: Path, strategy: str) -> None:
        assert all(len(part(splits / strategy, name)) > 10 for name in PARTS)

    def test_split_does_not_depend_on_files(
        self, spark: SparkSession, splits: Path, tmp_path: Path, strategy: str
    ) -> None:
        (tmp_path / "split").mkdir()
        sizes, cuts = split_interactions(
            spark, ingest(tmp_path / "ingested", ROWS, files=1), split_config(strategy), tmp_path / "split"
        )
        assert sizes == {name: len(part(splits / strategy, name)) for name in PARTS}
        assert bool(cuts) == (strategy == "temporal")
        for name in PARTS:
            pd.testing.assert_frame_equal(part(tmp_path / "split", name), part(splits / strategy, name))

    @pytest.mark.parametrize(
        ("matrix_name", "names"),
        [("matrix", ["train", "validation"]), ("matrix-train", ["train"])],
        ids=["matrix", "train"],
    )
    def test_writes_the_matrices_of_training_interactions(
        self, splits: Path, strategy: str, matrix_name: str, names: list[str]
    ) -> None:
        rows = pd.concat([part(splits / strategy, name) for name in names])
        matrix = sparse.csr_matrix(
            (rows["value"].astype(np.float32), (rows["user"], rows["track"])), (NUM_USERS, NUM_TRACKS)
        )
        for side, expected in ((USER, matrix), (TRACK, matrix.T.tocsr())):
            expected.sort_indices()
            csr = load_csr(splits / strategy / matrix_name, side)
            np.testing.assert_array_equal(csr.indptr, expected.indptr)
            np.testing.assert_array_equal(csr.indices, expected.indices)
            np.testing.assert_array_equal(csr.data, expected.data)

    def test_writes_nothing_else(self, splits: Path, strategy: str) -> None:
        assert {path.name for path in (splits / strategy).iterdir()} == {"parts", "matrix", "matrix-train"}


@pytest.mark.parametrize("validation", [0.01, 0.1, 0.5])
def test_random_test_part_does_not_depend_on_validation_fraction(
    spark: SparkSession, splits: Path, tmp_path: Path, validation: float
) -> None:
    split_interactions(spark, splits / "ingested", split_config("random", validation=validation), tmp_path)
    users, tracks = (id_hashes(splits / "ingested" / f"{side}s")[ROWS[side]] for side in ("user", "track"))
    expected = ROWS[is_held_out(users, tracks, 0.2, 42)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part(tmp_path, "test"), expected)


def test_temporal_parts_are_consecutive(splits: Path) -> None:
    train, validation, test = (part(splits / "temporal", name)["time"] for name in PARTS)
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    assert train.isna().sum() == ROWS["time"].isna().sum() > 0


def test_temporal_parts_have_the_smallest_sufficient_size(splits: Path) -> None:
    validation, test = (part(splits / "temporal", name)["time"] for name in PARTS[1:])
    for times, fraction in ((validation, 0.1), (test, 0.2)):
        wanted = round(fraction * len(TIMED))
        assert len(times) >= wanted
        assert (times > times.min()).sum() < wanted


def test_temporal_cut_times_are_returned(spark: SparkSession, splits: Path, tmp_path: Path) -> None:
    _, cuts = split_interactions(spark, splits / "ingested", split_config("temporal", test=0.3), tmp_path)
    assert cuts.keys() == {"validation_from", "test_from"}
    for name in ("validation", "test"):
        assert pd.Timestamp(cuts[f"{name}_from"]).timestamp() == part(tmp_path, name)["time"].min()


@pytest.mark.parametrize("wanted", [0, 1, 7, 150, 299, 300, 400])
def test_cut_time_equals_that_of_a_full_sort(wanted: int) -> None:
    times = np.random.default_rng(wanted).integers(-50, 50, size=300)
    files = [np.sort(times[:100]), np.sort(times[100:]), np.empty(0, np.int64)]
    expected = np.sort(times)[::-1][np.clip(wanted, 1, 300) - 1]
    assert find_cut_time(files, wanted) == expected
    assert count_since(files, int(expected)) == (times >= expected).sum()


def by_hand(rows: pd.DataFrame, last_n: int) -> NDArray[np.int64]:
    """Apply the rule of `leave_last_n` user by user."""
    parts = pd.Series(0, index=rows.index)
    for _, of_user in rows.groupby("user"):
        in_order = of_user.sort_values(["time", "track"], na_position="first")
        candidates = in_order.index[1:][in_order["time"].iloc[1:].notna()]
        parts[candidates[-2 * last_n :]] = 1
        parts[candidates[-last_n:]] = 2
    return parts.to_numpy()


@pytest.mark.parametrize("last_n", [1, 2, 5, 1_000])
def test_last_interactions_of_each_user_are_held_out(last_n: int) -> None:
    parts = leave_last_n(last_n, pa.Table.from_pandas(ROWS))
    np.testing.assert_array_equal(parts, by_hand(ROWS, last_n))
    assert set(ROWS["user"][parts == 0]) == set(ROWS["user"]), "every user keeps a training interaction"


def test_held_out_interactions_are_the_latest_of_each_user(splits: Path) -> None:
    train, validation, test = (part(splits / "leave_last_n", name) for name in PARTS)
    assert test["user"].is_unique
    assert validation["user"].is_unique
    for later, rest in ((test, pd.concat([train, validation])), (validation, train)):
        pairs = later.merge(rest[rest["time"].notna()], on="user", suffixes=("", "_before"))
        tie = (pairs["time"] == pairs["time_before"]) & (pairs["track"] > pairs["track_before"])
        assert ((pairs["time"] > pairs["time_before"]) | tie).all()


def test_user_with_two_interactions_has_one_for_training_and_one_for_test() -> None:
    rows = pd.DataFrame({"user": [0, 1, 1, 3, 3, 3], "track": [4, 2, 5, 1, 2, 3], "time": [9, 9, 8, 7, 7, 7]})
    assert leave_last_n(1, pa.Table.from_pandas(rows)).tolist() == [0, 2, 0, 0, 1, 2]


def test_empty_input_has_empty_parts() -> None:
    assert len(leave_last_n(1, pa.Table.from_pandas(ROWS[:0]))) == 0


@pytest.mark.parametrize("strategy", ["temporal", "leave_last_n"])
def test_missing_times_are_refused_with_the_setting(spark: SparkSession, tmp_path: Path, strategy: str) -> None:
    ingested = ingest(tmp_path / "ingested", interactions(timed=False))
    (tmp_path / "split").mkdir()
    with pytest.raises(UserError, match=rf"\[split\] strategy = {strategy} needs times, .* strategy = random\."):
        split_interactions(spark, ingested, split_config(strategy), tmp_path / "split")
