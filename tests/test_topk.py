"""The best k: against a plain sort, and over Spark for everyone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyspark.sql import SparkSession

from spark import topk
from spark.algorithms import Floats, Indexes, Training, fit

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1e-30, 1.0, 3e38]),
)


def sorted_plainly(scores: Floats, k: int) -> list[list[int]]:
    """The columns of each row, the highest first and equal ones by number: the definition, word for word."""
    return [sorted(range(len(row)), key=lambda column: (-row[column], column))[:k] for row in scores.tolist()]


@given(SCORES, st.integers(1, 15))
def test_the_best_k_are_those_of_a_plain_sort(scores: Floats, k: int) -> None:
    given_scores = scores.copy()
    columns, values = topk.top_k(scores, k)
    expected = sorted_plainly(scores, k)
    assert columns.tolist() == expected
    assert values.tolist() == np.take_along_axis(scores, np.array(expected), axis=1).tolist()
    assert columns.dtype == np.int32
    assert values.dtype == np.float32
    np.testing.assert_array_equal(scores, given_scores)


def test_the_best_of_many_equal_scores_are_the_first() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(3, size=(20, 5000)).astype(np.float32)
    columns, _ = topk.top_k(scores, 10)
    assert columns.tolist() == sorted_plainly(scores, 10)


@dataclass(frozen=True)
class Fixed:
    """A scorer that was told its scores."""

    table: Floats
    predicts_ratings: bool = False

    def scores(self, users: Indexes) -> Floats:
        """The rows of the table."""
        return self.table[users]

    def ratings(self, users: Indexes, tracks: Indexes) -> Floats:
        """There are none."""
        raise NotImplementedError


@pytest.mark.parametrize("block_bytes", [1, 4 * 7, 4 * 7 * 3, 1 << 20])
def test_the_size_of_a_block_does_not_change_a_list(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    rng = np.random.default_rng(5)
    num_users, num_tracks = 10, 7
    scorer = Fixed(rng.random((num_users, num_tracks), dtype=np.float32))
    heard = [rng.permutation(num_tracks)[: rng.integers(0, num_tracks + 1)].tolist() for _ in range(num_users)]
    users = rng.permutation(num_users)
    batch = pa.record_batch(
        {
            "user": pa.array(users, pa.int32()),
            "heard": pa.array([heard[user] or None for user in users], pa.list_(pa.int32())),
        }
    )
    monkeypatch.setattr(topk, "_BLOCK_BYTES", block_bytes)
    pieces = list(topk.blocks(batch, num_tracks))
    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([batch]))
    assert max(piece.num_rows for piece in pieces) == min(num_users, max(1, block_bytes // (4 * num_tracks)))

    found: list[list[int]] = []
    for piece in pieces:
        columns, scores = topk.best(scorer, piece, 4)
        found += [row[finite].tolist() for row, finite in zip(columns, np.isfinite(scores), strict=True)]
    for user, columns_of_user in zip(users, found, strict=True):
        unheard = [t for t in range(num_tracks) if t not in heard[user]]
        assert columns_of_user == sorted(unheard, key=lambda t: -scorer.table[user, t])[:4]


def test_a_batch_without_users_has_no_blocks() -> None:
    empty = pa.record_batch({"user": pa.array([], pa.int32()), "heard": pa.array([], pa.list_(pa.int32()))})
    assert list(topk.blocks(empty, 100)) == []


NUM_TRACKS = 6
HEARD_BY = {0: [0, 1], 1: [0], 2: [0, 1, 2, 3, 4, 5], 3: [], 4: [5, 0, 1]}
# Listeners: track 0 has four, 1 three, 5 two, and 2, 3 and 4 one each, which tie.
LISTENERS = [4.0, 3.0, 1.0, 1.0, 1.0, 2.0]
BY_POPULARITY = [0, 1, 5, 2, 3, 4]


@pytest.fixture(scope="module")
def trained(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Ingest would have written, and the popularity model `model` beside it."""
    directory = tmp_path_factory.mktemp("trained")
    pairs = [(user, track, 1.0) for user, tracks in HEARD_BY.items() for track in tracks]
    tables = {
        "users": pd.DataFrame(
            {"index": HEARD_BY.keys(), "user_id": [f"u{user}" for user in HEARD_BY]}
            | {"interactions": [len(tracks) for tracks in HEARD_BY.values()]}
        ),
        "tracks": pd.DataFrame({"index": range(NUM_TRACKS), "track_id": [f"t{n}" for n in range(NUM_TRACKS)]})[::-1],
        "interactions": pd.DataFrame(pairs, columns=["user", "track", "value"]),
    }
    for name, table in tables.items():
        (directory / name).mkdir()
        small = {column: "int32" for column in ("index", "user", "track") if column in table}
        table.astype(small).to_parquet(directory / name / "part-0.parquet")
    interactions = spark.read.parquet(str(directory / "interactions"))
    fit("popularity", Training(interactions, len(HEARD_BY), NUM_TRACKS, len(pairs), None), {}, directory / "model")
    return directory


@pytest.mark.parametrize("k", [3, 50])
def test_everyone_gets_their_best_unheard_tracks(spark: SparkSession, trained: Path, tmp_path: Path, k: int) -> None:
    expected = {
        (f"u{user}", rank, f"t{track}", LISTENERS[track])
        for user, heard in HEARD_BY.items()
        for rank, track in enumerate([t for t in BY_POPULARITY if t not in heard][:k], start=1)
    }
    counted = topk.recommend_everyone(spark, trained, trained / "model", k, tmp_path / "lists")
    lists = ds.dataset(tmp_path / "lists").to_table()
    assert counted == (len(HEARD_BY), len(expected))
    assert lists.num_rows == len(expected)
    assert {tuple(row.values()) for row in lists.to_pylist()} == expected
    types = [("user_id", pa.string()), ("rank", pa.int32()), ("track_id", pa.string()), ("score", pa.float32())]
    assert [(field.name, field.type) for field in lists.schema] == types


def test_lists_that_are_too_few_are_not_accepted(spark: SparkSession, trained: Path, tmp_path: Path) -> None:
    for name in ("users", "tracks", "interactions"):
        shutil.copytree(trained / name, tmp_path / name)
    users = pd.read_parquet(trained / "users")
    users.assign(interactions=0).to_parquet(tmp_path / "users" / "part-0.parquet")
    with pytest.raises(RuntimeError, match="12 recommendations were written instead of 15"):
        topk.recommend_everyone(spark, tmp_path, trained / "model", 3, tmp_path / "lists")
