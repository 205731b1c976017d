"""Reasons: what contributes to a score adds up to it, and the two that do most are named."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession
from support.training import (
    HEARD,
    IMPLICIT,
    KNOWN_USERS,
    NUM_TRACKS,
    RATINGS,
    SETTINGS,
    SILENT,
    write_ratings,
)

from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.saved_model import fit_model, load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.lists.explain import explain_lists
from spark.lists.topk import top_k

EXACT = IMPLICIT | {"steps": 0, "max_iter": 2, "value": "log", "reg_exponent": 0.5}
NAMES = ["item-knn by cosine", "ease", "content", "hybrid", "als"]


@pytest.fixture(scope="module")
def scorers(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scorer]:
    """Trained on `RATINGS`."""
    into = tmp_path_factory.mktemp("models")
    learned = write_ratings(spark, into / "training", RATINGS)
    for name in (*NAMES, "popularity"):
        fit_model(name.split()[0], learned, EXACT if name == "als" else SETTINGS[name], into / name)
    return {name: load_scorer(into / name) for name in (*NAMES, "popularity")}


def heard_by(user: int) -> tuple[IndexArray, np.ndarray]:
    """The tracks and their values."""
    entries = slice(HEARD.indptr[user], HEARD.indptr[user + 1])
    return HEARD.indices[entries], HEARD.data[entries]


@pytest.mark.parametrize("name", ["item-knn by cosine", "ease"])
def test_the_contributions_of_items_add_up_to_the_score(scorers: dict[str, Scorer], name: str) -> None:
    scorer = scorers[name]
    listed = np.flatnonzero(scorer.known_tracks).astype(np.int32)
    for user in (0, 11):
        shares = scorer.explain(*heard_by(user), listed)
        assert shares is not None
        expected = scorer.scores(np.array([user], np.int32), HEARD)[0, listed]
        np.testing.assert_allclose(shares.sum(axis=1), expected, rtol=1e-4, atol=1e-5)


def test_the_contributions_of_factors_add_up_to_the_score(scorers: dict[str, Scorer]) -> None:
    """To that of the factors that the user has once more, the tracks' as they are."""
    scorer = scorers["als"]
    assert isinstance(scorer, FactorScorer)
    listed, y = np.arange(NUM_TRACKS, dtype=np.int32), scorer.track_factors.astype(float)
    for user in (0, 11):
        tracks, values = heard_by(user)
        confidence, preference = np.ones(NUM_TRACKS), np.zeros(NUM_TRACKS)
        confidence[tracks] += 10.0 * np.log1p(values)
        preference[tracks] = 1
        penalty = 0.05 * len(tracks) ** 0.5 * np.eye(y.shape[1])
        factors = np.linalg.solve((y * confidence[:, None]).T @ y + penalty, y.T @ (confidence * preference))
        shares = scorer.explain(tracks, values, listed)
        assert shares is not None
        np.testing.assert_allclose(shares.sum(axis=1), y @ factors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_two_that_contribute_most_are_named(scorers: dict[str, Scorer], name: str) -> None:
    scorer = scorers[name]
    lists = top_k(scorer, KNOWN_USERS, HEARD, 5)
    found = explain_lists(scorer, KNOWN_USERS, HEARD, lists.tracks, lists.sizes)
    assert found.shape == (len(KNOWN_USERS), 5, 2)
    assert (found >= 0).any()
    for row, user in enumerate(KNOWN_USERS.tolist()):
        tracks, values = heard_by(user)
        for place in range(5):
            named = [track for track in found[row, place].tolist() if track >= 0]
            if place >= lists.sizes[row]:
                assert not named
                continue
            shares = scorer.explain(tracks, values, lists.tracks[row, [place]])
            assert shares is not None
            order = np.argsort(-shares[0], kind="stable")[:2]
            assert named == [int(tracks[each]) for each in order if shares[0, each] > 0]


def test_nothing_is_named_where_nothing_is_known(scorers: dict[str, Scorer]) -> None:
    everyone = np.array([SILENT, 0], np.int32)
    for name in ("als", "popularity"):
        lists = top_k(scorers[name], everyone, HEARD, 5)
        found = explain_lists(scorers[name], everyone, HEARD, lists.tracks, lists.sizes)
        assert (found[0] == -1).all()
        assert (found[1] == -1).all() == (name == "popularity")
