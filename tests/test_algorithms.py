"""The algorithms behind their one seam: fit, save, load and score; and that ALS finds what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession

from spark.algorithms import Scorer, Training, fit, label_of, load
from spark.algorithms.factors import FactorScorer
from spark.blocks import build

NUM_USERS, NUM_TRACKS = 24, 16
SILENT, UNHEARD = 7, 5
"""A user who heard nothing, and a track that nobody heard."""

ALS: dict[str, Any] = {
    "engine": "encore", "rank": 3, "max_iter": 2, "reg_param": 0.05, "reg_exponent": 1.0, "steps": 3, "seed": 1,
    "patience": 0, "say_objective": False,
}  # fmt: skip
IMPLICIT = ALS | {"alpha": 10.0, "value": "binary"}
EXPLICIT = ALS | {"biases": True, "steps": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "als": IMPLICIT,
    "als by MLlib": IMPLICIT | {"engine": "mllib"},
    "als_explicit": EXPLICIT,
    "als_explicit by MLlib": EXPLICIT | {"engine": "mllib"},
}


def algorithm(name: str) -> str:
    """Of one of the `SETTINGS`."""
    return name.split()[0]


def random_ratings() -> pd.DataFrame:
    """Ratings from 1 to 5; the lower the track's index, the more users have it."""
    rng = np.random.default_rng(2)
    heard = rng.random((NUM_USERS, NUM_TRACKS)) < np.linspace(0.9, 0.2, NUM_TRACKS)
    heard[SILENT] = False
    heard[:, UNHEARD] = False
    users, tracks = np.nonzero(heard)
    values = rng.integers(1, 6, size=len(users)).astype(float)
    return pd.DataFrame({"user": users.astype(np.int32), "track": tracks.astype(np.int32), "value": values})


RATINGS = random_ratings()
POPULARITY = np.bincount(RATINGS["track"], minlength=NUM_TRACKS)


def training(spark: SparkSession, ratings: pd.DataFrame, num_users: int, num_tracks: int, directory: Path) -> Training:
    """The ratings, ready to be trained on; they are written to the directory."""
    (directory / "interactions").mkdir(parents=True)
    ordered = ratings.sort_values(["user", "track"])
    ordered.to_parquet(directory / "interactions" / "part-0.parquet", index=False)
    build(spark, directory / "interactions", num_users, num_tracks, directory / "blocks")
    return Training(spark, directory / "interactions", directory / "blocks", num_users, num_tracks, (1.0, 5.0))


@pytest.fixture(scope="module")
def models(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved model of each algorithm, trained on `RATINGS`."""
    into = tmp_path_factory.mktemp("models")
    learned = training(spark, RATINGS, NUM_USERS, NUM_TRACKS, into / "training")
    for name, settings in SETTINGS.items():
        fit(algorithm(name), learned, settings, into / name)
    return {name: into / name for name in SETTINGS}


EVERYONE = np.arange(NUM_USERS, dtype=np.int32)
KNOWN_USERS = np.delete(EVERYONE, SILENT)


@pytest.mark.parametrize("name", SETTINGS)
class TestEveryAlgorithm:
    """What holds for each of them."""

    @pytest.fixture
    def scorer(self, models: dict[str, Path], name: str) -> Scorer:
        """The saved model, opened."""
        return load(models[name])

    def test_scores_are_finite_for_every_user_and_track(self, scorer: Scorer) -> None:
        scores = scorer.scores(EVERYONE)
        assert scores.shape == (NUM_USERS, NUM_TRACKS)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_scores_are_those_of_the_users_asked_for_in_their_order(self, scorer: Scorer) -> None:
        some = np.array([5, SILENT, 0, 5], np.int32)
        np.testing.assert_allclose(scorer.scores(some), scorer.scores(EVERYONE)[some], rtol=1e-5)

    def test_the_scores_are_the_callers_to_change(self, scorer: Scorer) -> None:
        before = scorer.scores(EVERYONE)
        scorer.scores(EVERYONE)[:] = -np.inf
        np.testing.assert_array_equal(scorer.scores(EVERYONE), before)

    def test_the_same_seed_gives_the_same_scores(
        self, spark: SparkSession, scorer: Scorer, name: str, tmp_path: Path
    ) -> None:
        learned = training(spark, RATINGS, NUM_USERS, NUM_TRACKS, tmp_path)
        fit(algorithm(name), learned, SETTINGS[name], tmp_path / "again")
        np.testing.assert_array_equal(load(tmp_path / "again").scores(EVERYONE), scorer.scores(EVERYONE))

    def test_a_user_without_a_history_gets_the_order_of_popularity(self, scorer: Scorer) -> None:
        scores = scorer.scores(np.array([SILENT], np.int32))[0]
        np.testing.assert_array_equal(np.argsort(-scores, kind="stable"), np.argsort(-POPULARITY, kind="stable"))

    def test_a_track_that_nobody_heard_ranks_below_all_others(self, scorer: Scorer) -> None:
        scores = scorer.scores(KNOWN_USERS)
        assert (scores[:, [UNHEARD]] < np.delete(scores, UNHEARD, axis=1)).all()

    def test_the_model_says_what_it_is(self, models: dict[str, Path], name: str) -> None:
        label = label_of(models[name])
        assert label["name"] == algorithm(name)
        assert label["num_users"] == NUM_USERS

    def test_only_the_explicit_one_predicts_ratings(self, scorer: Scorer, name: str) -> None:
        assert scorer.predicts_ratings == (algorithm(name) == "als_explicit")

    def test_a_process_that_asks_again_gets_the_same_object(self, models: dict[str, Path], name: str) -> None:
        assert load(models[name]) is load(models[name])


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "popularity"])
def test_spark_opens_the_saved_model_and_predicts_what_we_do(
    spark: SparkSession, models: dict[str, Path], name: str
) -> None:
    scorer = load(models[name])
    assert isinstance(scorer, FactorScorer)
    pairs = pd.DataFrame({"user": np.repeat(EVERYONE, NUM_TRACKS), "track": np.tile(np.arange(NUM_TRACKS), NUM_USERS)})
    theirs = ALSModel.load(str(models[name])).transform(spark.createDataFrame(pairs)).toPandas()
    known = (theirs["user"] != SILENT) & (theirs["track"] != UNHEARD)
    assert theirs.loc[~known, "prediction"].isna().all()
    users, tracks = (theirs.loc[known, side].to_numpy(np.int32) for side in ("user", "track"))

    unclamped = replace(scorer, rating_range=(-np.inf, np.inf)).ratings(users, tracks)
    np.testing.assert_allclose(unclamped, theirs.loc[known, "prediction"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scorer.scores(users)[np.arange(len(users)), tracks], unclamped, rtol=1e-4, atol=1e-5)


def test_predicted_ratings_stay_within_the_range(models: dict[str, Path]) -> None:
    scorer = load(models["als_explicit"])
    assert isinstance(scorer, FactorScorer)
    users, tracks = RATINGS["user"].to_numpy(), RATINGS["track"].to_numpy()
    unclamped = replace(scorer, rating_range=(-np.inf, np.inf)).ratings(users, tracks)
    assert unclamped.max() > 5.0
    np.testing.assert_array_equal(scorer.ratings(users, tracks), np.clip(unclamped, 1.0, 5.0))


def test_a_pair_with_an_unknown_side_is_predicted_the_mean(models: dict[str, Path]) -> None:
    users, tracks = np.array([SILENT, 0, SILENT], np.int32), np.array([0, UNHEARD, UNHEARD], np.int32)
    found = load(models["als_explicit"]).ratings(users, tracks)
    np.testing.assert_allclose(found, RATINGS["value"].mean(), rtol=1e-6)


def test_popularity_refuses_to_predict_a_rating(models: dict[str, Path]) -> None:
    with pytest.raises(NotImplementedError):
        load(models["popularity"]).ratings(EVERYONE, EVERYONE)


def test_how_often_somebody_listened_does_not_change_the_implicit_model(
    spark: SparkSession, models: dict[str, Path], tmp_path: Path
) -> None:
    louder = RATINGS.assign(value=RATINGS["value"] ** 3)
    fit("als", training(spark, louder, NUM_USERS, NUM_TRACKS, tmp_path), SETTINGS["als"], tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").scores(EVERYONE), load(models["als"]).scores(EVERYONE))


def test_another_seed_gives_another_model(spark: SparkSession, models: dict[str, Path], tmp_path: Path) -> None:
    settings = SETTINGS["als"] | {"seed": 2}
    fit("als", training(spark, RATINGS, NUM_USERS, NUM_TRACKS, tmp_path), settings, tmp_path / "model")
    found, before = (load(model).scores(KNOWN_USERS) for model in (tmp_path / "model", models["als"]))
    assert not np.allclose(found, before, rtol=1e-3)


SIDE = 20


def checkerboard() -> pd.DataFrame:
    """Even users rate even tracks 5 and odd tracks 1, odd users the other way round; the diagonal is held back."""
    users, tracks = np.nonzero(~np.eye(SIDE, dtype=bool))
    values = np.where(users % 2 == tracks % 2, 5.0, 1.0)
    return pd.DataFrame({"user": users.astype(np.int32), "track": tracks.astype(np.int32), "value": values})


def test_implicit_als_finds_the_diagonal_of_a_checkerboard(spark: SparkSession, tmp_path: Path) -> None:
    ratings = checkerboard()
    liked = ratings[ratings["value"] == 5.0]
    settings = IMPLICIT | {"rank": 4, "max_iter": 15, "reg_param": 0.01, "seed": 3}
    fit("als", training(spark, liked, SIDE, SIDE, tmp_path), settings, tmp_path / "model")
    scores = load(tmp_path / "model").scores(np.arange(SIDE, dtype=np.int32))
    scores[liked["user"], liked["track"]] = -np.inf
    assert scores.argmax(axis=1).tolist() == list(range(SIDE))


def test_explicit_als_predicts_the_diagonal_of_a_checkerboard(spark: SparkSession, tmp_path: Path) -> None:
    settings = EXPLICIT | {"rank": 4, "max_iter": 6, "reg_param": 0.01, "seed": 3}
    fit("als_explicit", training(spark, checkerboard(), SIDE, SIDE, tmp_path), settings, tmp_path / "model")
    diagonal = np.arange(SIDE, dtype=np.int32)
    np.testing.assert_allclose(load(tmp_path / "model").ratings(diagonal, diagonal), 5.0, atol=0.3)
