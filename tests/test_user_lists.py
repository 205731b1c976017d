"""The fallback chain that serves everybody, and the rules that lists keep to."""

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
"""Who heard nothing: from Sweden, from nowhere; who heard only a track that EASE leaves out; who heard one track."""

NUM_USERS, NUM_TRACKS = SHY + 1, 12
NORWEGIAN, SWEDISH, RARE, FRESH = 0, 1, 10, 11
"""What all of Norway heard, and all of Sweden; what LONER alone heard; what nobody did."""

ARTISTS = ["n", "s", "a", "a", "a", "b", "b", "c", "d", "d", "r", "r"]


def interactions() -> pd.DataFrame:
    """Everybody hears their country's track and a few others."""
    rng = np.random.default_rng(4)
    pairs = {(user, NORWEGIAN if user < NORWAY else SWEDISH) for user in range(NORWAY + SWEDEN)}
    pairs |= {(user, int(track)) for user in range(NORWAY + SWEDEN) for track in 2 + rng.permutation(8)[:3]}
    pairs |= {(LONER, RARE), (SHY, 2)}
    return pd.DataFrame(sorted(pairs), columns=["user", "track"]).astype("int32").assign(value=1.0)


@pytest.fixture(scope="module")
def learned(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """What Ingest would have written, ready to be trained on."""
    directory = tmp_path_factory.mktemp("ingested")
    countries = ["NO"] * NORWAY + ["SE"] * SWEDEN + ["SE", None, None, "FI"]
    users = pd.DataFrame({"index": range(NUM_USERS), "country": countries})
    tracks = pd.DataFrame({"index": range(NUM_TRACKS), "artist": ARTISTS})
    users["user_id"], tracks["track_id"] = users["index"].astype(str), [f"t{track}" for track in tracks["index"]]
    return write_training_data(spark, directory, interactions(), tracks, users)


@pytest.fixture(scope="module")
def models(learned: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EASE, popularity, and what is below the champion."""
    into = tmp_path_factory.mktemp("models")
    fit_model("ease", learned, {"reg_param": 1.0, "min_listeners": 2}, into / "ease")
    fit_model("popularity", learned, {}, into / "popularity")
    fit_fallbacks(learned, into / "fallbacks")
    return into


def tiers_of(chain: FallbackChain, learned: TrainingData, *users: int) -> list[str]:
    """The tiers of some users."""
    places = chain.tiers(np.array(users, np.int32), load_csr(learned.matrix, USER))
    return [list(TIERS)[place] for place in places]


class TestLadder:
    """Who is served by what."""

    def test_everybody_is_served_by_the_best_that_is_possible(self, learned: TrainingData, models: Path) -> None:
        chain = FallbackChain(models / "ease", models / "fallbacks")
        found = tiers_of(chain, learned, 0, NEWCOMER, STRANGER, LONER, SHY)
        assert found == ["model", "segment", "popularity", "content", "model"]

    def test_little_history_is_for_content(self, learned: TrainingData, models: Path) -> None:
        chain = FallbackChain(models / "ease", models / "fallbacks", min_history=2)
        assert tiers_of(chain, learned, 0, SHY, NEWCOMER) == ["model", "content", "segment"]

    def test_without_content_the_champion_serves_those_with_little_history(
        self, learned: TrainingData, models: Path, tmp_path: Path
    ) -> None:
        chain = FallbackChain(models / "ease", tmp_path, min_history=2)
        assert tiers_of(chain, learned, SHY, NEWCOMER, LONER) == ["model", "popularity", "popularity"]

    def test_where_popularity_won_content_does_not_come_before_it(self, learned: TrainingData, models: Path) -> None:
        chain = FallbackChain(models / "popularity", models / "fallbacks")
        assert tiers_of(chain, learned, 0, LONER, STRANGER) == ["segment", "popularity", "popularity"]

    def test_each_tier_makes_its_own_lists(self, learned: TrainingData, models: Path) -> None:
        chain, heard = FallbackChain(models / "ease", models / "fallbacks"), load_csr(learned.matrix, USER)
        users = np.array([0, NEWCOMER, STRANGER, LONER], np.int32)
        lists, _ = build_lists(chain, users, heard, 3, NO_RULES)
        assert lists.tracks[1, 0] == SWEDISH
        assert lists.tracks[3, 0] == FRESH  # of the one artist that this user has heard
        everyone = chain.scorers
        for place, tier in enumerate(("model", "segment", "popularity", "content")):
            alone = lists_within_rules(everyone[tier], users[[place]], heard, 3, NO_RULES)
            np.testing.assert_array_equal(lists.tracks[place], alone.tracks[0])

    def test_the_tiers_are_written_with_the_lists(self, learned: TrainingData, models: Path, tmp_path: Path) -> None:
        paths = (learned.matrix.parent, learned.matrix, FallbackChain(models / "ease", models / "fallbacks"))
        rows = recommend_all_users(learned.spark, *paths, 2, tmp_path / "lists", rules=NO_RULES, reasons=True)
        assert rows == 2 * NUM_USERS == ds.dataset(tmp_path / "lists").count_rows()
        tiers = pq.read_table(tmp_path / "tiers.parquet")["tier"].to_pylist()
        assert tiers[NEWCOMER:] == ["segment", "popularity", "content", "model"]
        assert set(tiers[:NEWCOMER]) == {"model"}


NO_RULES = ListRules(np.full(NUM_TRACKS, -1, np.int32))


class TestSegmentPopularity:
    """What is heard in a country."""

    def test_each_country_has_its_own_order(self, learned: TrainingData, models: Path) -> None:
        scorer = load_scorer(models / "fallbacks" / "segment")
        assert isinstance(scorer, SegmentScorer)
        users = np.array([0, NEWCOMER, STRANGER], np.int32)
        scores = scorer.scores(users, load_csr(learned.matrix, USER))
        assert scores[0, NORWEGIAN] > scores[0, SWEDISH]
        assert scores[1, SWEDISH] > scores[1, NORWEGIAN]
        assert scores[2].argsort().tolist() == scorer.popularity.argsort().tolist()

    def test_a_score_is_a_smoothed_share(self, learned: TrainingData, models: Path) -> None:
        """Of 30 Norwegians 30 heard the track; of the 62 who heard something, 30."""
        score = load_scorer(models / "fallbacks" / "segment").scores(
            np.array([0], np.int32), load_csr(learned.matrix, USER)
        )
        assert score[0, NORWEGIAN] == pytest.approx((30 + 100 * 30 / 62) / (30 + 100))

    def test_where_nothing_is_known_of_users_it_cannot_learn(self, learned: TrainingData, tmp_path: Path) -> None:
        unknown = TrainingData(learned.spark, learned.interactions, learned.matrix, NUM_USERS, NUM_TRACKS, None)
        with pytest.raises(NotApplicable, match="neither country nor age"):
            fit_model(FALLBACK_ALGORITHMS["segment"], unknown, {}, tmp_path / "model")


def greedily(order: list[int], artists: list[int], most: int, k: int) -> list[int]:
    """The first k of an order, at most so many an artist."""
    kept: list[int] = []
    for track in order:
        same = sum(artists[other] == artists[track] >= 0 for other in kept)
        if len(kept) < k and (not most or same < most):
            kept.append(track)
    return kept


class TestRules:
    """What lists keep to besides scores."""

    @given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 8))
    def test_the_best_with_at_most_so_many_an_artist(self, seed: int, most: int, k: int) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, 6, (4, 20)).astype(np.float32)
        artists = rng.integers(-1, 4, 20).astype(np.int32)
        heard = [rng.permutation(20)[: rng.integers(0, 15)].tolist() for _ in range(4)]
        eligible = rng.random(20) < 0.8
        found = lists_within_rules(
            TableScorer(scores),
            np.arange(4, dtype=np.int32),
            csr_matrix_of(heard),
            k,
            ListRules(artists, most, eligible),
        )
        orders = [[t for t in np.argsort(-row, kind="stable").tolist() if eligible[t] and t not in own]
                  for row, own in zip(scores, heard, strict=True)]  # fmt: skip
        assert tracks_of(found) == [greedily(order, artists.tolist(), most, k) for order in orders]
        assert (np.diff(found.scores, axis=1)[found.taken[:, 1:]] <= 0).all()

    def test_new_tracks_get_their_share_at_the_end(self, learned: TrainingData, models: Path) -> None:
        chain, heard = FallbackChain(models / "ease", models / "fallbacks"), load_csr(learned.matrix, USER)
        users = np.arange(NUM_USERS, dtype=np.int32)
        without, _ = build_lists(chain, users, heard, 4, NO_RULES)
        lists, _ = build_lists(chain, users, heard, 4, ListRules(NO_RULES.artists, new_share=0.25))
        new = load_scorer(models / "ease").popularity < COLD_TRACK_LISTENERS
        assert np.flatnonzero(new).tolist() == [RARE, FRESH]
        np.testing.assert_array_equal(lists.tracks[:NEWCOMER, :3], without.tracks[:NEWCOMER, :3])
        assert new[lists.tracks[:NEWCOMER, 3]].all()
        assert (np.diff(lists.scores, axis=1) <= 0).all()
        assert all(len(set(row)) == 4 for row in lists.tracks.tolist())
        np.testing.assert_array_equal(lists.tracks[STRANGER], without.tracks[STRANGER])  # content does not know them

    def test_what_is_blocked_is_recommended_to_nobody(
        self, learned: TrainingData, models: Path, tmp_path: Path
    ) -> None:
        rules = ListRules.of(
            learned.matrix.parent / "tracks", max_per_artist=0, new_share=0.25,
            blocked={"artist": ["a", "nobody"], "track": [f"t{FRESH}", "t999"]},
        )  # fmt: skip
        lists = everybodys(learned, models, rules)
        assert not {2, 3, 4, FRESH} & set(lists.ravel().tolist())

    def test_without_a_limit_artists_do_not_matter(self, learned: TrainingData, models: Path) -> None:
        limited = everybodys(learned, models, ListRules.of(learned.matrix.parent / "tracks", **asked(1)))
        free = everybodys(learned, models, ListRules.of(learned.matrix.parent / "tracks", **asked(0)))
        assert max(len(row) - len({ARTISTS[t] for t in row}) for row in free.tolist()) > 0
        assert all(len({ARTISTS[t] for t in row}) == len(row) for row in limited.tolist())


def asked(most: int) -> dict[str, Any]:
    return {"max_per_artist": most, "new_share": 0.0, "blocked": {"artist": [], "track": []}}


def everybodys(learned: TrainingData, models: Path, rules: ListRules) -> IndexArray:
    """The lists of four of those who are in a country and heard something."""
    chain = FallbackChain(models / "ease", models / "fallbacks")
    lists, _ = build_lists(chain, np.arange(NEWCOMER, dtype=np.int32), load_csr(learned.matrix, USER), 4, rules)
    assert lists.sizes.min() == 4
    return lists.tracks[:, :4]


class TestBlocked:
    """The file of what nobody is recommended."""

    def test_it_names_tracks_and_artists(self, tmp_path: Path) -> None:
        (tmp_path / "b.csv").write_text('kind,name\nartist,"Simon, Garfunkel"\ntrack,7\ntrack,7\n', encoding="utf-8")
        found = read_blocklist(str(tmp_path / "b.csv"))
        assert found == {"track": ["7"], "artist": ["Simon, Garfunkel"]}
        assert read_blocklist("") == {"track": [], "artist": []}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("track,7\n", "its first line is not `kind,name`"),
            ("", "its first line is not `kind,name`"),
            ("kind,name\nalbum,7\n", "line 2: 'album,7' is neither"),
            ("kind,name\ntrack\n", "line 2: 'track' is neither"),
        ],
    )
    def test_what_is_no_such_file_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "b.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=said):
            read_blocklist(str(tmp_path / "b.csv"))

    def test_what_is_not_text_or_not_there_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "b.csv").write_bytes(b"kind,name\ntrack,\xff\n")
        with pytest.raises(UserError, match="not CSV in UTF-8"):
            read_blocklist(str(tmp_path / "b.csv"))
        with pytest.raises(MissingInput, match="No such file"):
            read_blocklist(str(tmp_path / "none.csv"))
