"""The fallback chain, segment popularity, list rules, and the block list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from support.scorers import TableScorer, csr_matrix_of, tracks_of
from support.training import write_training_data

from common.errors import MissingInput, NotApplicable, UserError
from config.fallbacks import FALLBACK_ALGORITHMS, TIERS
from spark.algorithms.saved_model import fit_model, load_scorer
from spark.algorithms.scorer import COLD_TRACK_LISTENERS, IndexArray
from spark.algorithms.segment_popularity import SegmentScorer
from spark.algorithms.training_data import TrainingData
from spark.evaluation.user_segments import MIN_USERS
from spark.lists.fallback_chain import FallbackChain, fit_fallbacks
from spark.lists.list_rules import ListRules, lists_within_rules
from spark.lists.recommend import recommend_all_users
from spark.lists.user_lists import build_lists
from spark.storage.interaction_matrix import USER, load_csr
from workflow.blocklist import read_blocklist

NORWAY = SWEDEN = MIN_USERS
NEWCOMER, STRANGER, LONER, SHY = range(NORWAY + SWEDEN, NORWAY + SWEDEN + 4)
"""No history, Sweden; no history, no country; only a track that EASE leaves out; one track."""

NUM_USERS, NUM_TRACKS = SHY + 1, 12
NORWEGIAN, SWEDISH, RARE, FRESH = 0, 1, 10, 11
"""Tracks that all Norwegians heard, and all Swedes; that only LONER heard; that nobody heard."""

ARTISTS = ["n", "s", "a", "a", "a", "b", "b", "c", "d", "d", "r", "r"]


def interactions() -> pd.DataFrame:
    """Return interactions: users hear their country's track and three others."""
    rng = np.random.default_rng(4)
    pairs = {(user, NORWEGIAN if user < NORWAY else SWEDISH) for user in range(NORWAY + SWEDEN)}
    pairs |= {(user, int(track)) for user in range(NORWAY + SWEDEN) for track in 2 + rng.permutation(8)[:3]}
    pairs |= {(LONER, RARE), (SHY, 2)}
    return pd.DataFrame(sorted(pairs), columns=["user", "track"]).astype("int32").assign(value=1.0)


@pytest.fixture(scope="module")
def training(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Write training data as Ingest does."""
    directory = tmp_path_factory.mktemp("ingested")
    countries = ["NO"] * NORWAY + ["SE"] * SWEDEN + ["SE", None, None, "FI"]
    users = pd.DataFrame({"index": range(NUM_USERS), "country": countries})
    tracks = pd.DataFrame({"index": range(NUM_TRACKS), "artist": ARTISTS})
    users["user_id"], tracks["track_id"] = users["index"].astype(str), [f"t{track}" for track in tracks["index"]]
    return write_training_data(spark, directory, interactions(), tracks, users)


@pytest.fixture(scope="module")
def models(training: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train EASE, popularity and the fallbacks."""
    into = tmp_path_factory.mktemp("models")
    fit_model("ease", training, {"reg_param": 1.0, "min_listeners": 2}, into / "ease")
    fit_model("popularity", training, {}, into / "popularity")
    fit_fallbacks(training, into / "fallbacks")
    return into


def tiers_of(chain: FallbackChain, training: TrainingData, *users: int) -> list[str]:
    """Return the tier of each user."""
    codes = chain.tiers(np.array(users, np.int32), load_csr(training.matrix, USER))
    return [list(TIERS)[code] for code in codes]


class TestFallbackChain:
    """The tier that serves each user."""

    def test_best_available_tier_serves_each_user(self, training: TrainingData, models: Path) -> None:
        chain = FallbackChain(models / "ease", models / "fallbacks")
        tiers = tiers_of(chain, training, 0, NEWCOMER, STRANGER, LONER, SHY)
        assert tiers == ["model", "segment", "popularity", "content", "model"]

    def test_content_serves_users_with_a_short_history(self, training: TrainingData, models: Path) -> None:
        chain = FallbackChain(models / "ease", models / "fallbacks", min_history=2)
        assert tiers_of(chain, training, 0, SHY, NEWCOMER) == ["model", "content", "segment"]

    def test_champion_serves_short_histories_without_content(
        self, training: TrainingData, models: Path, tmp_path: Path
    ) -> None:
        chain = FallbackChain(models / "ease", tmp_path, min_history=2)
        assert tiers_of(chain, training, SHY, NEWCOMER, LONER) == ["model", "popularity", "popularity"]

    def test_content_is_skipped_if_popularity_is_the_champion(self, training: TrainingData, models: Path) -> None:
        chain = FallbackChain(models / "popularity", models / "fallbacks")
        assert tiers_of(chain, training, 0, LONER, STRANGER) == ["segment", "popularity", "popularity"]

    def test_each_list_comes_from_the_scorer_of_its_tier(self, training: TrainingData, models: Path) -> None:
        chain, heard = FallbackChain(models / "ease", models / "fallbacks"), load_csr(training.matrix, USER)
        users = np.array([0, NEWCOMER, STRANGER, LONER], np.int32)
        lists, _ = build_lists(chain, users, heard, 3, NO_RULES)
        assert lists.tracks[1, 0] == SWEDISH
        assert lists.tracks[3, 0] == FRESH  # by the only artist in this user's history
        for row, tier in enumerate(("model", "segment", "popularity", "content")):
            expected = lists_within_rules(chain.scorers[tier], users[[row]], heard, 3, NO_RULES)
            np.testing.assert_array_equal(lists.tracks[row], expected.tracks[0])

    def test_tiers_are_written_beside_the_lists(self, training: TrainingData, models: Path, tmp_path: Path) -> None:
        paths = (training.matrix.parent, training.matrix, FallbackChain(models / "ease", models / "fallbacks"))
        rows = recommend_all_users(training.spark, *paths, 2, tmp_path / "lists", rules=NO_RULES, reasons=True)
        assert rows == 2 * NUM_USERS == ds.dataset(tmp_path / "lists").count_rows()
        tiers = pq.read_table(tmp_path / "tiers.parquet")["tier"].to_pylist()
        assert tiers[NEWCOMER:] == ["segment", "popularity", "content", "model"]
        assert set(tiers[:NEWCOMER]) == {"model"}


NO_RULES = ListRules(np.full(NUM_TRACKS, -1, np.int32))


class TestSegmentPopularity:
    """Popularity within a country."""

    def test_ranking_depends_on_the_country(self, training: TrainingData, models: Path) -> None:
        scorer = load_scorer(models / "fallbacks" / "segment")
        assert isinstance(scorer, SegmentScorer)
        users = np.array([0, NEWCOMER, STRANGER], np.int32)
        scores = scorer.scores(users, load_csr(training.matrix, USER))
        assert scores[0, NORWEGIAN] > scores[0, SWEDISH]
        assert scores[1, SWEDISH] > scores[1, NORWEGIAN]
        assert scores[2].argsort().tolist() == scorer.popularity.argsort().tolist()

    def test_score_is_a_smoothed_share(self, training: TrainingData, models: Path) -> None:
        """All 30 Norwegians heard the track; of the 62 users with a history, 30 did."""
        score = load_scorer(models / "fallbacks" / "segment").scores(
            np.array([0], np.int32), load_csr(training.matrix, USER)
        )
        assert score[0, NORWEGIAN] == pytest.approx((30 + 100 * 30 / 62) / (30 + 100))

    def test_not_applicable_without_user_attributes(self, training: TrainingData, tmp_path: Path) -> None:
        unknown = TrainingData(training.spark, training.interactions, training.matrix, NUM_USERS, NUM_TRACKS, None)
        with pytest.raises(NotApplicable, match="neither country nor age"):
            fit_model(FALLBACK_ALGORITHMS["segment"], unknown, {}, tmp_path / "model")


def limit_artists(order: list[int], artists: list[int], max_per_artist: int, k: int) -> list[int]:
    """Return the first k tracks of an order within the limit per artist."""
    kept: list[int] = []
    for track in order:
        same_artist = sum(artists[other] == artists[track] >= 0 for other in kept)
        if len(kept) < k and (not max_per_artist or same_artist < max_per_artist):
            kept.append(track)
    return kept


class TestRules:
    """Blocked tracks, the limit per artist, and the share for cold tracks."""

    @given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 8))
    def test_lists_equal_a_greedy_selection(self, seed: int, max_per_artist: int, k: int) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, 6, (4, 20)).astype(np.float32)
        artists = rng.integers(-1, 4, 20).astype(np.int32)
        heard = [rng.permutation(20)[: rng.integers(0, 15)].tolist() for _ in range(4)]
        eligible = rng.random(20) < 0.8
        lists = lists_within_rules(
            TableScorer(scores),
            np.arange(4, dtype=np.int32),
            csr_matrix_of(heard),
            k,
            ListRules(artists, max_per_artist, eligible),
        )
        orders = [[t for t in np.argsort(-row, kind="stable").tolist() if eligible[t] and t not in history]
                  for row, history in zip(scores, heard, strict=True)]  # fmt: skip
        assert tracks_of(lists) == [limit_artists(order, artists.tolist(), max_per_artist, k) for order in orders]
        assert (np.diff(lists.scores, axis=1)[lists.taken[:, 1:]] <= 0).all()

    def test_cold_tracks_get_their_share_at_the_end(self, training: TrainingData, models: Path) -> None:
        chain, heard = FallbackChain(models / "ease", models / "fallbacks"), load_csr(training.matrix, USER)
        users = np.arange(NUM_USERS, dtype=np.int32)
        without, _ = build_lists(chain, users, heard, 4, NO_RULES)
        lists, _ = build_lists(chain, users, heard, 4, ListRules(NO_RULES.artists, new_share=0.25))
        new = load_scorer(models / "ease").popularity < COLD_TRACK_LISTENERS
        assert np.flatnonzero(new).tolist() == [RARE, FRESH]
        np.testing.assert_array_equal(lists.tracks[:NEWCOMER, :3], without.tracks[:NEWCOMER, :3])
        assert new[lists.tracks[:NEWCOMER, 3]].all()
        assert (np.diff(lists.scores, axis=1) <= 0).all()
        assert all(len(set(row)) == 4 for row in lists.tracks.tolist())
        np.testing.assert_array_equal(lists.tracks[STRANGER], without.tracks[STRANGER])  # content cannot personalise

    def test_blocked_tracks_and_artists_are_never_recommended(
        self, training: TrainingData, models: Path, tmp_path: Path
    ) -> None:
        rules = ListRules.of(
            training.matrix.parent / "tracks", max_per_artist=0, new_share=0.25,
            blocked={"artist": ["a", "nobody"], "track": [f"t{FRESH}", "t999"]},
        )  # fmt: skip
        lists = listed_tracks(training, models, rules)
        assert not {2, 3, 4, FRESH} & set(lists.ravel().tolist())

    def test_limit_per_artist_applies_only_if_set(self, training: TrainingData, models: Path) -> None:
        limited = listed_tracks(training, models, ListRules.of(training.matrix.parent / "tracks", **only_limit(1)))
        unlimited = listed_tracks(training, models, ListRules.of(training.matrix.parent / "tracks", **only_limit(0)))
        assert max(len(row) - len({ARTISTS[t] for t in row}) for row in unlimited.tolist()) > 0
        assert all(len({ARTISTS[t] for t in row}) == len(row) for row in limited.tolist())


def only_limit(max_per_artist: int) -> dict[str, Any]:
    return {"max_per_artist": max_per_artist, "new_share": 0.0, "blocked": {"artist": [], "track": []}}


def listed_tracks(training: TrainingData, models: Path, rules: ListRules) -> IndexArray:
    """Return the lists, of length 4, of all users with a country and a history."""
    chain = FallbackChain(models / "ease", models / "fallbacks")
    lists, _ = build_lists(chain, np.arange(NEWCOMER, dtype=np.int32), load_csr(training.matrix, USER), 4, rules)
    assert lists.sizes.min() == 4
    return lists.tracks[:, :4]


class TestBlocklist:
    """Reading the file of blocked tracks and artists."""

    def test_reads_tracks_and_artists(self, tmp_path: Path) -> None:
        (tmp_path / "b.csv").write_text('kind,name\nartist,"Simon, Garfunkel"\ntrack,7\ntrack,7\n', encoding="utf-8")
        blocked = read_blocklist(str(tmp_path / "b.csv"))
        assert blocked == {"track": ["7"], "artist": ["Simon, Garfunkel"]}
        assert read_blocklist("") == {"track": [], "artist": []}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("track,7\n", "its first line is not `kind,name`"),
            ("", "its first line is not `kind,name`"),
            ("kind,name\nalbum,7\n", "line 2: 'album,7' is neither"),
            ("kind,name\ntrack\n", "line 2: 'track' is neither"),
        ],
    )
    def test_rejects_malformed_files(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "b.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            read_blocklist(str(tmp_path / "b.csv"))

    def test_rejects_files_that_are_not_text_or_missing(self, tmp_path: Path) -> None:
        (tmp_path / "b.csv").write_bytes(b"kind,name\ntrack,\xff\n")
        with pytest.raises(UserError, match="not CSV in UTF-8"):
            read_blocklist(str(tmp_path / "b.csv"))
        with pytest.raises(MissingInput, match="No such file"):
            read_blocklist(str(tmp_path / "none.csv"))
