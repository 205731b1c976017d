"""Top-k selection against a full sort, and the lists that Spark writes for all users."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyspark.sql import SparkSession
from support.scorers import TableScorer, csr_matrix_of, tracks_of
from support.training import write_training_data

from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.hybrid import HybridScorer
from spark.algorithms.popularity import PopularityScorer
from spark.algorithms.saved_model import fit_model
from spark.algorithms.scorer import FloatArray, IndexArray
from spark.lists import recommend, topk
from spark.lists.fallback_chain import FallbackChain
from spark.lists.list_rules import ListRules

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([-1.5, -0.0, 0.0, 1e-30, 1.0, 3e38]),
)


def sorted_fully(scores: FloatArray, heard: list[list[int]], k: int, eligible: Any = None) -> list[list[int]]:
    """Return the tracks of each list by definition: descending scores, equal scores by index."""
    allowed = range(scores.shape[1]) if eligible is None else np.flatnonzero(eligible).tolist()
    return [
        sorted((track for track in allowed if track not in history), key=lambda track: (-row[track], track))[:k]
        for row, history in zip(scores.tolist(), heard, strict=True)
    ]


@given(SCORES, st.integers(1, 12), st.randoms())
def test_top_k_equals_a_full_sort(scores: FloatArray, k: int, random: Any) -> None:
    users, tracks = scores.shape
    heard = [[track for track in range(tracks) if random.random() < 0.3] for _ in range(users)]
    eligible = np.array([random.random() < 0.8 for _ in range(tracks)])
    k = min(k, tracks)
    everyone = np.arange(users, dtype=np.int32)
    for mask in (None, eligible):
        lists = topk.top_k(TableScorer(scores), everyone, csr_matrix_of(heard), k, mask)
        expected = sorted_fully(scores, heard, k, mask)
        assert tracks_of(lists) == expected
        expected_scores = [
            scores[user, track] for user, tracks_of_user in enumerate(expected) for track in tracks_of_user
        ]
        assert lists.scores[lists.taken].tolist() == expected_scores


def test_equal_scores_are_ordered_by_index() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(3, size=(20, 5000)).astype(np.float32)
    histories: list[list[int]] = [[] for _ in range(20)]
    lists = topk.top_k(TableScorer(scores), np.arange(20, dtype=np.int32), csr_matrix_of(histories), 10)
    assert tracks_of(lists) == sorted_fully(scores, histories, 10)


@pytest.mark.parametrize("batch_bytes", [1, 4 * 7 * 3, 1 << 20])
def test_lists_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    rng = np.random.default_rng(5)
    scores = rng.random((10, 7), dtype=np.float32)
    heard = [rng.permutation(7)[: rng.integers(0, 8)].tolist() for _ in range(10)]
    users = rng.permutation(10).astype(np.int32)
    monkeypatch.setattr(topk, "_BATCH_BYTES", batch_bytes)
    lists = topk.top_k(TableScorer(scores), users, csr_matrix_of(heard), 4)
    assert tracks_of(lists) == [sorted_fully(scores, heard, 4)[user] for user in users]


@dataclass(frozen=True)
class Factors(FactorScorer):
    """A factor scorer whose user factors are in memory."""

    users: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    known_users: Any = None

    def user_factors(self, users: IndexArray) -> tuple[FloatArray, Any]:
        """See `FactorScorer`."""
        return self.users[users], self.known_users[users]


@pytest.mark.parametrize("tile", [(1, 3), (4, 16), (128, 1024)], ids=str)
@pytest.mark.parametrize("spread", [0.0, 2.0], ids=["equal norms", "different norms"])
def test_fused_products_give_the_lists_of_the_score_matrix(
    monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int], spread: float
) -> None:
    rng = np.random.default_rng(7)
    num_users, num_tracks, k = 37, 90, 12
    lengths = np.exp(spread * rng.standard_normal((num_tracks, 1)))
    tracks = (rng.integers(-2, 3, size=(num_tracks, 5)) * lengths).astype(np.float32)
    tracks[50:60] = tracks[40:50]  # ties
    known_tracks = rng.random(num_tracks) < 0.9
    tracks[~known_tracks] = 0
    users = rng.integers(-2, 3, size=(num_users, 5)).astype(np.float32)
    popularity = rng.integers(50, size=num_tracks).astype(np.float32)
    known_users = rng.random(num_users) < 0.9
    scorer = Factors(Path(), tracks, known_tracks, popularity, users=users, known_users=known_users)
    heard = [rng.permutation(num_tracks)[: rng.integers(0, num_tracks + 1)].tolist() for _ in range(num_users)]
    eligible = rng.random(num_tracks) < 0.7
    everyone = np.arange(num_users, dtype=np.int32)
    monkeypatch.setattr("spark.lists.topk_kernel.TILE_ROWS", tile[0])
    for mask in (None, eligible):
        lists = topk.top_k(scorer, everyone, csr_matrix_of(heard), k, mask)
        assert tracks_of(lists) == sorted_fully(scorer.scores(everyone, csr_matrix_of(heard)), heard, k, mask)


NUM_TRACKS = 6
HEARD_BY = {0: [0, 1], 1: [0], 2: [0, 1, 2, 3, 4, 5], 3: [], 4: [5, 0, 1]}
# Listeners: track 0 has four, 1 three, 5 two, and 2, 3 and 4 one each, which tie.
LISTENERS = [4.0, 3.0, 1.0, 1.0, 1.0, 2.0]
BY_POPULARITY = [0, 1, 5, 2, 3, 4]


NO_RULES = ListRules(np.full(NUM_TRACKS, -1, np.int32))


@pytest.fixture(scope="module")
def trained(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write training data as Ingest does, and train a popularity model, `model`, beside it."""
    directory = tmp_path_factory.mktemp("trained")
    pairs = [(user, track, 1.0) for user, tracks in HEARD_BY.items() for track in tracks]
    users = pd.DataFrame(
        {"index": HEARD_BY.keys(), "user_id": [f"u{user}" for user in HEARD_BY]}
        | {"interactions": [len(tracks) for tracks in HEARD_BY.values()]}
    )
    tracks = pd.DataFrame({"index": range(NUM_TRACKS), "track_id": [f"t{n}" for n in range(NUM_TRACKS)]})
    interactions = pd.DataFrame(pairs, columns=["user", "track", "value"])
    training = write_training_data(spark, directory, interactions, tracks, users)
    fit_model("popularity", training, {}, directory / "model")
    return directory


@pytest.mark.parametrize("k", [3, 50])
def test_all_users_get_their_best_unheard_tracks(spark: SparkSession, trained: Path, tmp_path: Path, k: int) -> None:
    expected = {
        (f"u{user}", rank, f"t{track}", LISTENERS[track])
        for user, heard in HEARD_BY.items()
        for rank, track in enumerate([t for t in BY_POPULARITY if t not in heard][:k], start=1)
    }
    paths = (trained, trained / "matrix", FallbackChain(trained / "model", trained / "none"))
    counted = recommend.recommend_all_users(spark, *paths, k, tmp_path / "lists", rules=NO_RULES)
    lists = ds.dataset(tmp_path / "lists").to_table()
    assert counted == lists.num_rows == len(expected)
    assert {tuple(row.values()) for row in lists.to_pylist()} == expected
    types = [("user_id", pa.string()), ("rank", pa.int32()), ("track_id", pa.string()), ("score", pa.float32())]
    assert [(field.name, field.type) for field in lists.schema] == types


def test_missing_rows_raise_an_error(
    spark: SparkSession, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spark.lists.recommend.ds.dataset", lambda path: ds.InMemoryDataset(pa.table({"rank": [1] * 11}))
    )
    monkeypatch.setattr("spark.lists.recommend._ids", lambda table, column: pa.array(["x"] * NUM_TRACKS))
    with pytest.raises(RuntimeError, match="11 recommendations were written instead of 12"):
        paths = (trained, trained / "matrix", FallbackChain(trained / "model", trained / "none"))
        recommend.recommend_all_users(spark, *paths, 3, tmp_path / "lists", rules=NO_RULES)


def test_similar_tracks_have_the_highest_cosine() -> None:
    """Norms do not matter; a track is not similar to itself; an unknown track has no similar tracks."""
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((30, 4)).astype(np.float32) * rng.uniform(0.1, 9, (30, 1)).astype(np.float32)
    known = np.arange(30) != 7
    factors[~known] = 0
    scorer = FactorScorer(lambda first, last: (factors, known), factors, known, np.ones(30, np.float32))
    unit = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), 1e-9)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    cosines[:, ~known] = -np.inf
    similar = recommend.similar_tracks(scorer, np.array([3, 7, 29], np.int32), 5)
    assert similar.sizes.tolist() == [5, 0, 5]
    for row, track in ((0, 3), (2, 29)):
        expected = np.argsort(-cosines[track], kind="stable")[:5]
        assert similar.tracks[row].tolist() == expected.tolist()
        np.testing.assert_allclose(similar.scores[row], cosines[track][expected], rtol=1e-5)
    assert recommend.similar_tracks(scorer, np.array([3], np.int32), 99).sizes.tolist() == [28]
    popular = PopularityScorer(np.ones(9, np.float32))
    assert recommend.similar_tracks(popular, np.array([3], np.int32), 5).sizes.tolist() == [0]


def test_similar_tracks_default_to_the_list_of_a_user_who_heard_only_that_track() -> None:
    scores = np.array([[0, 3, 2, 1], [5, 0, 7, 6], [1, 2, 0, 3], [4, 3, 2, 0]], np.float32)
    similar = recommend.similar_tracks(TableScorer(scores), np.array([1, 3], np.int32), 2)
    assert tracks_of(similar) == [[2, 3], [0, 1]]


def test_hybrid_blends_the_similarities_of_its_parts() -> None:
    rng = np.random.default_rng(1)
    factors, known = rng.standard_normal((9, 4)).astype(np.float32), np.ones(9, bool)
    scorer = FactorScorer(lambda first, last: (factors, known), factors, known, np.ones(9, np.float32))
    table = rng.standard_normal((9, 9)).astype(np.float32)
    hybrid = HybridScorer({"als": scorer, "content": TableScorer(table)}, {"als": 0.5, "content": 0.5})
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    centered = [scores - scores.mean(axis=1, keepdims=True) for scores in (unit @ unit.T, table)]
    total = sum(scores / scores.std(axis=1, keepdims=True) for scores in centered)
    np.fill_diagonal(total, -np.inf)
    similar = recommend.similar_tracks(hybrid, np.arange(9, dtype=np.int32), 3)
    assert tracks_of(similar) == np.argsort(-total, axis=1)[:, :3].tolist()
