"""Explanations: contributions add up to the score, and the two largest are reported."""

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
    """Scorers trained on `RATINGS`."""
    into = tmp_path_factory.mktemp("models")
    training = write_ratings(spark, into / "training", RATINGS)
    for name in (*NAMES, "popularity"):
        fit_model(name.split()[0], training, EXACT if name == "als" else SETTINGS[name], into / name)
    return {name: load_scorer(into / name) for name in (*NAMES, "popularity")}


def heard_by(user: int) -> tuple[IndexArray, np.ndarray]:
    """Return the tracks that a user heard, and the values."""
    entries = slice(HEARD.indptr[user], HEARD.indptr[user + 1])
    return HEARD.indices[entries], HEARD.data[entries]


@pytest.mark.parametrize("name", ["item-knn by cosine", "ease"])
def test_item_contributions_add_up_to_the_score(scorers: dict[str, Scorer], name: str) -> None:
    scorer = scorers[name]
    listed = np.flatnonzero(scorer.known_tracks).astype(np.int32)
    for user in (0, 11):
        shares = scorer.explain(*heard_by(user), listed)
        assert shares is not None
        expected = scorer.scores(np.array([user], np.int32), HEARD)[0, listed]
        np.testing.assert_allclose(shares.sum(axis=1), expected, rtol=1e-4, atol=1e-5)


def test_factor_contributions_add_up_to_the_score(scorers: dict[str, Scorer]) -> None:
    """The score is that of user factors solved exactly for the trained track factors."""
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
def test_reasons_are_the_two_largest_positive_contributions(scorers: dict[str, Scorer], name: str) -> None:
    scorer = scorers[name]
    lists = top_k(scorer, KNOWN_USERS, HEARD, 5)
    reasons = explain_lists(scorer, KNOWN_USERS, HEARD, lists.tracks, lists.sizes)
    assert reasons.shape == (len(KNOWN_USERS), 5, 2)
    assert (reasons >= 0).any()
    for row, user in enumerate(KNOWN_USERS.tolist()):
        tracks, values = heard_by(user)
        for position in range(5):
            explaining = [track for track in reasons[row, position].tolist() if track >= 0]
            if position >= lists.sizes[row]:
                assert not explaining
                continue
            shares = scorer.explain(tracks, values, lists.tracks[row, [position]])
            assert shares is not None
            order = np.argsort(-shares[0], kind="stable")[:2]
            assert explaining == [int(tracks[index]) for index in order if shares[0, index] > 0]


def test_no_reasons_without_history_or_attribution(scorers: dict[str, Scorer]) -> None:
    users = np.array([SILENT, 0], np.int32)
    for name in ("als", "popularity"):
        lists = top_k(scorers[name], users, HEARD, 5)
        reasons = explain_lists(scorers[name], users, HEARD, lists.tracks, lists.sizes)
        assert (reasons[0] == -1).all()
        assert (reasons[1] == -1).all() == (name == "popularity")
