"""Each algorithm and its variants against its definition. The catalogue's contract is in test_algorithm_contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession
from support.training import (
    ALL_USERS,
    EXPLICIT,
    HEARD,
    IMPLICIT,
    KNOWN_USERS,
    NUM_TRACKS,
    NUM_USERS,
    POPULARITY,
    RATINGS,
    SETTINGS,
    SILENT,
    UNHEARD,
    write_ratings,
)

from common.errors import NotApplicable
from spark.algorithms.content import ContentScorer
from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.hybrid import HybridScorer
from spark.algorithms.item_knn import NeighbourScorer
from spark.algorithms.saved_model import fit_model, load_scorer, model_info
from spark.algorithms.scorer import Scorer
from spark.storage.interaction_matrix import CSRMatrix

OF_FACTORS = [name for name in SETTINGS if name.startswith("als")]


def algorithm(name: str) -> str:
    """The algorithm of a key of `SETTINGS`."""
    return name.split()[0]


@pytest.fixture(scope="module")
def models(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved model of each algorithm, trained on `RATINGS`."""
    into = tmp_path_factory.mktemp("models")
    training = write_ratings(spark, into / "training", RATINGS)
    for name, settings in SETTINGS.items():
        fit_model(algorithm(name), training, settings, into / name)
    return {name: into / name for name in SETTINGS}


@pytest.mark.parametrize("name", SETTINGS)
class TestEveryAlgorithm:
    """Properties of every variant."""

    @pytest.fixture
    def scorer(self, models: dict[str, Path], name: str) -> Scorer:
        """The saved model, opened."""
        return load_scorer(models[name])

    def test_scores_are_finite_for_every_user_and_track(self, scorer: Scorer) -> None:
        scores = scorer.scores(ALL_USERS, HEARD)
        assert scores.shape == (NUM_USERS, NUM_TRACKS)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_scores_follow_the_order_of_the_users(self, scorer: Scorer) -> None:
        some = np.array([5, SILENT, 0, 5], np.int32)
        np.testing.assert_allclose(scorer.scores(some, HEARD), scorer.scores(ALL_USERS, HEARD)[some], rtol=1e-5)

    def test_caller_may_modify_the_scores(self, scorer: Scorer) -> None:
        before = scorer.scores(ALL_USERS, HEARD)
        scorer.scores(ALL_USERS, HEARD)[:] = -np.inf
        np.testing.assert_array_equal(scorer.scores(ALL_USERS, HEARD), before)

    def test_same_seed_gives_the_same_scores(
        self, spark: SparkSession, scorer: Scorer, name: str, tmp_path: Path
    ) -> None:
        training = write_ratings(spark, tmp_path, RATINGS)
        fit_model(algorithm(name), training, SETTINGS[name], tmp_path / "again")
        np.testing.assert_array_equal(
            load_scorer(tmp_path / "again").scores(ALL_USERS, HEARD), scorer.scores(ALL_USERS, HEARD)
        )

    def test_user_without_history_gets_the_popularity_ranking(self, scorer: Scorer) -> None:
        scores = scorer.scores(np.array([SILENT], np.int32), HEARD)[0]
        np.testing.assert_array_equal(np.argsort(-scores, kind="stable"), np.argsort(-POPULARITY, kind="stable"))

    def test_unheard_track_ranks_last(self, scorer: Scorer) -> None:
        if isinstance(scorer, ContentScorer):
            return  # for which it does not matter who heard it
        scores = scorer.scores(KNOWN_USERS, HEARD)
        below = np.less_equal if isinstance(scorer, HybridScorer) else np.less  # a sum of lowest scores is the lowest
        assert below(scores[:, [UNHEARD]], np.delete(scores, UNHEARD, axis=1)).all()

    def test_model_info_names_the_algorithm(self, models: dict[str, Path], name: str) -> None:
        label = model_info(models[name])
        assert label["name"] == algorithm(name)
        assert label["num_users"] == NUM_USERS

    def test_only_explicit_als_predicts_ratings(self, scorer: Scorer, name: str) -> None:
        assert scorer.predicts_ratings == (algorithm(name) == "als_explicit")

    def test_loading_again_returns_the_same_object(self, models: dict[str, Path], name: str) -> None:
        assert load_scorer(models[name]) is load_scorer(models[name])


@pytest.mark.parametrize("name", OF_FACTORS)
def test_spark_loads_the_saved_model_and_predicts_the_same(
    spark: SparkSession, models: dict[str, Path], name: str
) -> None:
    scorer = load_scorer(models[name])
    assert isinstance(scorer, FactorScorer)
    pairs = pd.DataFrame({"user": np.repeat(ALL_USERS, NUM_TRACKS), "track": np.tile(np.arange(NUM_TRACKS), NUM_USERS)})
    spark_predictions = ALSModel.load(str(models[name])).transform(spark.createDataFrame(pairs)).toPandas()
    known = (spark_predictions["user"] != SILENT) & (spark_predictions["track"] != UNHEARD)
    assert spark_predictions.loc[~known, "prediction"].isna().all()
    users, tracks = (spark_predictions.loc[known, side].to_numpy(np.int32) for side in ("user", "track"))

    unclamped = replace(scorer, rating_range=(-np.inf, np.inf)).ratings(users, tracks)
    np.testing.assert_allclose(unclamped, spark_predictions.loc[known, "prediction"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        scorer.scores(users, HEARD)[np.arange(len(users)), tracks], unclamped, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", OF_FACTORS)
def test_users_without_history_have_no_factors(models: dict[str, Path], name: str) -> None:
    users = np.array([SILENT], np.int32)
    scorer = load_scorer(models[name])
    assert isinstance(scorer, FactorScorer)
    assert not scorer.user_factors(users)[1].any()
    np.testing.assert_array_equal(scorer.scores(users, HEARD)[0].argsort(), POPULARITY.argsort())


def test_only_the_range_of_the_users_is_read(models: dict[str, Path]) -> None:
    scorer = load_scorer(models["als"])
    assert isinstance(scorer, FactorScorer)
    ranges: list[tuple[int, int]] = []

    def read(first: int, last: int) -> Any:
        ranges.append((first, last))
        return scorer.read_user_factors(first, last)

    replace(scorer, read_user_factors=read).user_factors(np.array([11, 9], np.int32))
    assert ranges == [(9, 12)]


def test_predicted_ratings_are_clipped_to_the_range(models: dict[str, Path]) -> None:
    scorer = load_scorer(models["als_explicit"])
    assert isinstance(scorer, FactorScorer)
    users, tracks = RATINGS["user"].to_numpy(), RATINGS["track"].to_numpy()
    unclamped = replace(scorer, rating_range=(-np.inf, np.inf)).ratings(users, tracks)
    assert unclamped.max() > 5.0
    np.testing.assert_array_equal(scorer.ratings(users, tracks), np.clip(unclamped, 1.0, 5.0))


def test_pair_with_an_unknown_side_gets_the_mean_rating(models: dict[str, Path]) -> None:
    users, tracks = np.array([SILENT, 0, SILENT], np.int32), np.array([0, UNHEARD, UNHEARD], np.int32)
    ratings = load_scorer(models["als_explicit"]).ratings(users, tracks)
    np.testing.assert_allclose(ratings, RATINGS["value"].mean(), rtol=1e-6)


def test_popularity_refuses_to_predict_a_rating(models: dict[str, Path]) -> None:
    with pytest.raises(NotImplementedError):
        load_scorer(models["popularity"]).ratings(ALL_USERS, ALL_USERS)


def test_binary_als_ignores_play_counts(spark: SparkSession, models: dict[str, Path], tmp_path: Path) -> None:
    louder = RATINGS.assign(value=RATINGS["value"] ** 3)
    fit_model("als", write_ratings(spark, tmp_path, louder), SETTINGS["als"], tmp_path / "model")
    np.testing.assert_array_equal(
        load_scorer(tmp_path / "model").scores(ALL_USERS, HEARD), load_scorer(models["als"]).scores(ALL_USERS, HEARD)
    )


def test_different_seed_gives_a_different_model(spark: SparkSession, models: dict[str, Path], tmp_path: Path) -> None:
    settings = SETTINGS["als"] | {"seed": 2}
    fit_model("als", write_ratings(spark, tmp_path, RATINGS), settings, tmp_path / "model")
    scores, other_scores = (
        load_scorer(model).scores(KNOWN_USERS, HEARD) for model in (tmp_path / "model", models["als"])
    )
    assert not np.allclose(scores, other_scores, rtol=1e-3)


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
    fit_model("als", write_ratings(spark, tmp_path, liked, SIDE, SIDE), settings, tmp_path / "model")
    scores = load_scorer(tmp_path / "model").scores(np.arange(SIDE, dtype=np.int32), HEARD)
    scores[liked["user"], liked["track"]] = -np.inf
    assert scores.argmax(axis=1).tolist() == list(range(SIDE))


def test_explicit_als_predicts_the_diagonal_of_a_checkerboard(spark: SparkSession, tmp_path: Path) -> None:
    settings = EXPLICIT | {"rank": 4, "max_iter": 6, "reg_param": 0.01, "seed": 3}
    fit_model("als_explicit", write_ratings(spark, tmp_path, checkerboard(), SIDE, SIDE), settings, tmp_path / "model")
    diagonal = np.arange(SIDE, dtype=np.int32)
    np.testing.assert_allclose(load_scorer(tmp_path / "model").ratings(diagonal, diagonal), 5.0, atol=0.3)


MATRIX = np.zeros((NUM_USERS, NUM_TRACKS))
MATRIX[RATINGS["user"], RATINGS["track"]] = 1


def ranks_below(scores: NDArray[np.float32], known: NDArray[np.bool_]) -> bool:
    """Whether all the unknown tracks have lower scores than the known ones."""
    return bool((scores[:, ~known].max(axis=1) < scores[:, known].min(axis=1)).all())


def test_ease_equals_the_closed_form(models: dict[str, Path]) -> None:
    """Compare with equation 8 of Steck (2019)."""
    known = POPULARITY > 0
    heard = MATRIX[:, known]
    inverse = np.linalg.inv(heard.T @ heard + 10.0 * np.eye(known.sum()))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    scores = load_scorer(models["ease"]).scores(KNOWN_USERS, HEARD)
    np.testing.assert_allclose(scores[:, known], (heard @ weights)[KNOWN_USERS], atol=1e-4)
    assert ranks_below(scores, known)


def test_ease_leaves_out_rare_tracks_and_refuses_too_many(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = write_ratings(spark, tmp_path, RATINGS)
    fit_model("ease", training, {"reg_param": 10.0, "min_listeners": 9}, tmp_path / "model")
    assert ranks_below(load_scorer(tmp_path / "model").scores(KNOWN_USERS, HEARD), POPULARITY >= 9)
    with pytest.raises(NotApplicable, match=r"no track has 99 listeners"):
        fit_model("ease", training, {"reg_param": 10.0, "min_listeners": 99}, tmp_path / "none")
    monkeypatch.setattr("os.sysconf", lambda name: 10)
    with pytest.raises(NotApplicable, match=r"15 tracks have 1 listeners or more; their matrices .* raise \[ease\]"):
        fit_model("ease", training, {"reg_param": 10.0, "min_listeners": 1}, tmp_path / "large")


def assert_cosines_add_up(model: Path, weighted: NDArray[np.float64], rtol: float) -> None:
    """Assert that a score is the sum of the cosines between the track's column and those of the history."""
    lengths = np.linalg.norm(weighted, axis=0)
    similar = weighted.T @ weighted / np.maximum(np.outer(lengths, lengths), 1e-9)
    np.fill_diagonal(similar, 0)
    known = POPULARITY > 0
    scores = load_scorer(model).scores(KNOWN_USERS, HEARD)
    np.testing.assert_allclose(scores[:, known], (MATRIX @ similar)[KNOWN_USERS][:, known], rtol=rtol)


def test_neighbours_by_cosine_add_up(models: dict[str, Path]) -> None:
    assert_cosines_add_up(models["item-knn by cosine"], MATRIX, 1e-5)


def test_neighbours_by_bm25_add_up(models: dict[str, Path]) -> None:
    """Weights as in Robertson and Zaragoza (2009): a user is a document that contains each track once."""
    heard = MATRIX.sum(axis=1)
    rarity = np.log((NUM_USERS - POPULARITY + 0.5) / (POPULARITY + 0.5) + 1.0)
    saturation = 2.2 / (1 + 1.2 * (0.25 + 0.75 * heard / heard.mean()))
    assert_cosines_add_up(models["item-knn by bm25"], MATRIX * saturation[:, None] * rarity[None, :], 1e-4)


def neighbours_of(scorer: Scorer, track: int) -> dict[int, float]:
    """Return the saved neighbours of a track with their similarities."""
    assert isinstance(scorer, NeighbourScorer)
    row = slice(int(scorer.starts[track]), int(scorer.starts[track + 1]))
    return dict(zip(scorer.neighbours[row].tolist(), scorer.similarities[row].tolist(), strict=True))


def test_each_track_keeps_its_nearest_neighbours(spark: SparkSession, models: dict[str, Path], tmp_path: Path) -> None:
    training = write_ratings(spark, tmp_path, RATINGS)
    fit_model("item-knn", training, {"similarity": "cosine", "neighbours": 3}, tmp_path / "few")
    for track in range(NUM_TRACKS):
        kept, all_neighbours = (
            neighbours_of(load_scorer(model), track) for model in (tmp_path / "few", models["item-knn by cosine"])
        )
        nearest = sorted(all_neighbours, key=lambda other: (-all_neighbours[other], other))[:3]
        assert kept == {other: all_neighbours[other] for other in nearest}


def test_neighbours_do_not_depend_on_the_number_of_tasks(
    spark: SparkSession, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark.algorithms.item_knn._PAIRS_PER_TASK", 100)
    training = write_ratings(spark, tmp_path, RATINGS)
    fit_model("item-knn", training, SETTINGS["item-knn by bm25"], tmp_path / "many-tasks")
    scores, expected = (
        load_scorer(model).scores(ALL_USERS, HEARD) for model in (tmp_path / "many-tasks", models["item-knn by bm25"])
    )
    np.testing.assert_array_equal(scores, expected)


def test_content_is_the_cosine_of_tf_idf_profiles(spark: SparkSession, tmp_path: Path) -> None:
    """An unheard track is recommended for its artist; a track without metadata comes last."""
    pairs = pd.DataFrame({"user": [0, 1], "track": [0, 3], "value": [1.0, 1.0]})
    training = write_ratings(spark, tmp_path, pairs.astype({"user": "int32", "track": "int32"}), 2, 5)
    catalogue = {
        "index": pa.array(range(5), pa.int32()), "artist": ["a", "a", "b", None, None],
        "genre": ["folk", "pop", "pop", "folk", None], "tags": [["x"], ["x", "y"], None, ["y", "y"], None],
    }  # fmt: skip
    pq.write_table(pa.table(catalogue), tmp_path / "tracks" / "part-0.parquet")
    fit_model("content", training, {}, tmp_path / "model")
    rarity = dict.fromkeys(("a", "folk", "pop", "x", "y"), np.log(5 / 2)) | {"b": np.log(5)}
    terms: list[tuple[str, ...]] = [("a", "folk", "x"), ("a", "pop", "x", "y"), ("b", "pop"), ("folk", "y"), ()]
    table = np.array([[rarity[word] * (word in words) for word in rarity] for words in terms])
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    heard = CSRMatrix(np.array([0, 1, 2]), np.array([0, 3], np.int32), np.ones(2, np.float32))
    scores = load_scorer(tmp_path / "model").scores(np.arange(2, dtype=np.int32), heard)
    np.testing.assert_allclose(scores[:, :4], (unit @ unit.T)[[0, 3], :4], atol=1e-6)
    assert scores[0, :4].argsort().tolist()[::-1][:2] == [0, 1]
    assert (scores[:, 4] < scores[:, :4].min(axis=1)).all()


def test_content_needs_metadata(spark: SparkSession, tmp_path: Path) -> None:
    training = write_ratings(spark, tmp_path, RATINGS)
    pq.write_table(pa.table({"index": pa.array(range(NUM_TRACKS), pa.int32())}), tmp_path / "tracks" / "part-0.parquet")
    with pytest.raises(NotApplicable, match="tracks have neither tags nor genre nor artist"):
        fit_model("content", training, {}, tmp_path / "model")


def test_a_hybrid_adds_standardised_scores(models: dict[str, Path]) -> None:
    def standardized(name: str) -> NDArray[np.float64]:
        scores = load_scorer(models[name]).scores(KNOWN_USERS, HEARD).astype(float)
        standard_scores: NDArray[np.float64] = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(
            axis=1, keepdims=True
        )
        return standard_scores

    blended = load_scorer(models["hybrid"]).scores(KNOWN_USERS, HEARD)
    np.testing.assert_allclose(blended, 0.7 * standardized("als") + 0.3 * standardized("ease"), atol=1e-4)
    assert not (models["hybrid"] / "content").exists(), "a part with weight 0 is trained"
