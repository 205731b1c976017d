"""Synthetic data: exact sizes, reproducible bytes, a long tail, and preferences that a model can learn."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.dataset import load_dataset
from spark.ingest.synthetic_data import COUNTRIES, GENRES, START, YEAR, SyntheticSizes, generate

FILES = ("users.csv", "tracks.csv", "ratings.csv")
SIZES = SyntheticSizes(num_users=400, num_tracks=300, num_interactions=12_000, seed=11)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated dataset."""
    into = tmp_path_factory.mktemp("synthetic")
    assert generate(SIZES, into) == SIZES.num_interactions
    return into


def read(directory: Path, name: str) -> pd.DataFrame:
    """Read one of the files."""
    return pd.read_csv(directory / name)


def test_the_same_seed_gives_the_same_bytes(generated: Path, tmp_path: Path) -> None:
    generate(SIZES, tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (generated / name).read_bytes()


def test_another_seed_gives_other_bytes(generated: Path, tmp_path: Path) -> None:
    generate(SyntheticSizes(**(vars(SIZES) | {"seed": 12})), tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() != (generated / name).read_bytes()


def test_chunk_size_does_not_change_the_output(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark.ingest.synthetic_data.CHUNK", 1_777)
    reported: list[float] = []
    generate(SIZES, tmp_path, reported.append)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (generated / name).read_bytes()
    assert len(reported) == 7
    assert reported == sorted(reported)
    assert reported[-1] == 1.0


def test_larger_catalogue_has_few_duplicate_pairs(tmp_path: Path) -> None:
    generate(SyntheticSizes(num_users=5_000, num_tracks=20_000, num_interactions=100_000, seed=3), tmp_path)
    ratings = read(tmp_path, "ratings.csv")
    assert ratings.duplicated(["user_id", "track_id"]).mean() < 0.1
    assert set(ratings["rating"]) == {1, 2, 3, 4, 5}


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 100), st.integers(0, 2**32))
def test_sizes_are_exact_and_every_user_rates(users: int, tracks: int, more: int, seed: int) -> None:
    with TemporaryDirectory() as directory:
        into = Path(directory)
        assert generate(SyntheticSizes(users, tracks, users + more, seed), into) == users + more
        ratings = read(into, "ratings.csv")
        assert read(into, "users.csv")["user_id"].tolist() == list(range(1, users + 1))
        assert read(into, "tracks.csv")["track_id"].tolist() == list(range(1, tracks + 1))
        assert len(ratings) == users + more
        assert set(ratings["user_id"]) == set(range(1, users + 1))
        assert ratings["track_id"].between(1, tracks).all()
        assert set(ratings["rating"]) <= {1, 2, 3, 4, 5}


def test_files_have_the_columns_of_the_description(generated: Path) -> None:
    about = load_dataset("synthetic")
    assert about.tracks is not None and about.users is not None
    wanted = {
        about.interactions: ("user", "track", "value", "time"),
        about.tracks: ("id", "title", "artist", "genre"),
        about.users: ("id", "age", "country"),
    }
    for table, keys in wanted.items():
        assert {getattr(table, key) for key in keys} <= set(read(generated, table.path).columns)
    assert about.interactions.rating_range == (1, 5)


def test_every_rating_occurs_and_times_lie_within_a_year(generated: Path) -> None:
    ratings = read(generated, "ratings.csv")
    assert set(ratings["rating"]) == {1, 2, 3, 4, 5}
    assert ratings["time"].between(START, START + YEAR - 1).all()
    assert ratings["time"].is_monotonic_increasing


def test_users_and_tracks_have_details(generated: Path) -> None:
    users, tracks = read(generated, "users.csv"), read(generated, "tracks.csv")
    assert users["age"].between(14, 90).all()
    assert set(users["country"]) <= set(COUNTRIES)
    assert set(tracks["genre"]) <= set(GENRES)
    assert tracks[["title", "artist"]].notna().all().all()
    assert tracks.groupby("artist")["track_id"].count().max() > 1


def test_popularity_has_a_long_tail(generated: Path) -> None:
    plays = read(generated, "ratings.csv")["track_id"].value_counts().to_numpy()
    assert plays[: SIZES.num_tracks // 10].sum() / plays.sum() > 0.3


def test_users_concentrate_on_few_genres(generated: Path) -> None:
    ratings = read(generated, "ratings.csv").merge(read(generated, "tracks.csv"), on="track_id")
    counts = ratings.groupby(["user_id", "genre"]).size().unstack(fill_value=0).to_numpy().astype(float)
    totals = counts.sum(axis=1, keepdims=True)
    counts, totals = counts[totals[:, 0] >= 10], totals[totals[:, 0] >= 10]
    of_one_user = float(np.mean((counts * (counts - 1)).sum(axis=1) / (totals * (totals - 1))[:, 0]))
    of_anybody = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    assert of_one_user > 1.5 * of_anybody


def test_users_rate_their_favourite_genres_higher(generated: Path) -> None:
    ratings = read(generated, "ratings.csv").merge(read(generated, "tracks.csv"), on="track_id")
    picked = ratings.groupby(["user_id", "genre"])["rating"].transform("size")
    favourite = picked == picked.groupby(ratings["user_id"]).transform("max")
    assert ratings["rating"][favourite].mean() > ratings["rating"][~favourite].mean() + 0.5
