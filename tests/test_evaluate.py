"""Evaluation: a small example computed by hand, Spark's error metrics, and the evaluated users."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from common.errors import UserError
from config.dataset import Interactions
from spark.algorithms.saved_model import fit_model
from spark.algorithms.training_data import TrainingData
from spark.evaluation.evaluate import EvaluationResult, evaluate
from spark.evaluation.metric_summary import MetricSummary
from spark.storage.interaction_matrix import build_interaction_matrix

ABOUT = Interactions(
    path="r.csv", user="u", track="t", value="r", feedback="rating", rating_range=(1, 5), duplicates="mean"
)


@dataclass(frozen=True)
class World:
    """Split interactions, a model trained on the training part, and the other inputs of an evaluation."""

    directory: Path
    spark: SparkSession

    def evaluate(self, liked_from: float | None, into: str) -> EvaluationResult:
        """Evaluate the model."""
        paths = [self.directory / name for name in ("ingested", "split", "model")]
        return evaluate(self.spark, *paths, liked_from, self.directory / into)

    def per_user(self, into: str) -> pd.DataFrame:
        """Read the metrics of each user."""
        return pd.read_parquet(self.directory / into).set_index("user")


def world(
    spark: SparkSession,
    directory: Path,
    sizes: tuple[int, int],
    parts: dict[str, Any],
    model: str,
    details: dict[str, Any] | None = None,
) -> World:
    """Write the outputs of Ingest and Split, and train the model.

    Args:
        parts: rows of user, track, value.
        details: columns of `users` and of `tracks`, besides the index.
    """
    for name, size in zip(("users", "tracks"), sizes, strict=True):
        (directory / "ingested" / name).mkdir(parents=True)
        table = pd.DataFrame({"index": range(size)}).join(pd.DataFrame((details or {}).get(name, {})))
        table.to_parquet(directory / "ingested" / name / "part-0.parquet")
    for part, rows in {"validation": [], **parts}.items():
        part_dir = directory / "split" / "parts" / f"part={part}"
        part_dir.mkdir(parents=True)
        table = pd.DataFrame(rows, columns=["user", "track", "value"]).sort_values(["user", "track"])
        types = {"user": "int32", "track": "int32", "value": "float64"}
        table.astype(types).to_parquet(part_dir / "part-0.parquet", index=False)
    split = directory / "split"
    train = split / "parts" / "part=train"
    build_interaction_matrix(spark, [train], *sizes, split / "matrix")
    training = TrainingData.read(spark, directory / "ingested", (train,), split / "matrix", ABOUT)
    settings = {
        "engine": "encore", "rank": 3, "max_iter": 2, "reg_param": 0.05, "reg_exponent": 1.0, "biases": False,
        "steps": 0, "seed": 1, "say_objective": False,
    }  # fmt: skip
    fit_model(model, training, settings, directory / "model")
    return World(directory, spark)


NUM_TRACKS = 30
TRAINING = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2), (4, 2), (5, 0)]
# Listeners: four for track 0, two each for 1 and 2, none for the others. The popularity ranking is 0, 1, 2, … 29.
HELD_OUT = [(0, 2, 5), (1, 1, 4), (1, 5, 5), (1, 9, 2), (3, 0, 4), (3, 25, 5), (4, 3, 1), (5, 29, 5)]
# Ratings from 3.8 are relevant. User 2 has no test data, user 3 no training data, user 4 no relevant test track.
# user  heard  list of 10  relevant  hits at  ndcg                                        recall  map
# 0     0, 1   2 … 11      2         1        1                                           1       1
# 1     0      1 … 10      1, 5      1 and 5  (1 + 1/log2 6) / (1 + 1/log2 3) = 0.850345  1       (1 + 2/5)/2 = 0.7
# 3     -      0 … 9       0, 25     1        1 / (1 + 1/log2 3)              = 0.613147  ½       1/2
# 5     0      1 … 10      29        none     0                                           0       0


@pytest.fixture(scope="module")
def tiny(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The example above, with the popularity model."""
    parts = {"train": [(*pair, 5) for pair in TRAINING], "test": HELD_OUT}
    return world(spark, tmp_path_factory.mktemp("tiny"), (6, NUM_TRACKS), parts, "popularity")


@pytest.fixture(scope="module")
def measured(tiny: World) -> EvaluationResult:
    """The example, evaluated with ratings liked from 3.8 on."""
    return tiny.evaluate(3.8, "liked")


def test_accuracy_by_hand(measured: EvaluationResult) -> None:
    by_hand = {
        "ndcg@10": (1 + 0.850345 + 0.613147 + 0) / 4,
        "recall@10": (1 + 1 + 0.5 + 0) / 4,
        "precision@10": (0.1 + 0.2 + 0.1 + 0) / 4,
        "map@10": (1 + 0.7 + 0.5 + 0) / 4,
        "mrr@10": (1 + 1 + 1 + 0) / 4,
        "hit_rate@10": 3 / 4,
        "coverage@10": 12 / 30,  # tracks 0 to 11
        "ndcg@20": (1 + 0.850345 + 0.613147 + 0) / 4,
        "recall@20": (1 + 1 + 0.5 + 0) / 4,
        "precision@20": (0.05 + 0.1 + 0.05 + 0) / 4,
        "map@20": (1 + 0.7 + 0.5 + 0) / 4,
        "mrr@20": (1 + 1 + 1 + 0) / 4,
        "hit_rate@20": 3 / 4,
        "coverage@20": 22 / 30,  # tracks 0 to 21
    }
    assert {name: measured.summary.metrics[name] for name in by_hand} == pytest.approx(by_hand, abs=1e-6)


def test_descriptions_of_lists_by_hand(measured: EvaluationResult) -> None:
    # Five users have training data. Self-information in bits of a track with four, two and no listeners:
    four, two, none = np.log2(5 / 4), np.log2(5 / 2), np.log2(5)
    by_hand = {
        "novelty@10": ((two + 9 * none) + (2 * two + 8 * none) + (four + 2 * two + 7 * none) + (2 * two + 8 * none))
        / 40,
        "arp@10": (2 + 4 + 8 + 4) / 40,
        "cold_tracks@10": 1,
        # 18 tracks are in no list, 2 in one, 2 in three and 8 in four.
        "gini@10": (7 + 9 + 3 * (11 + 13) + 4 * (15 + 17 + 19 + 21 + 23 + 25 + 27 + 29)) / (30 * 40),
        "cold_users": 1 / 4,
    }
    assert {name: measured.summary.metrics[name] for name in by_hand} == pytest.approx(by_hand)


def test_metrics_that_do_not_apply_are_absent(measured: EvaluationResult) -> None:
    assert not any(name.startswith("diversity") for name in measured.summary.metrics)
    assert measured.summary.segments == {}  # four users are too few


def test_curves_agree_with_the_metrics(measured: EvaluationResult, described: MetricSummary) -> None:
    for summary in (measured.summary, described):
        assert set(summary.curves) == {"ndcg", "recall", "precision"}
        for name, values in summary.curves.items():
            assert len(values) == 20
            assert (values[9], values[19]) == (summary.metrics[f"{name}@10"], summary.metrics[f"{name}@20"])
    assert measured.summary.curves["recall"][:6] == [0.5, 0.5, 0.5, 0.5, 0.625, 0.625]


def test_intervals_contain_the_means(measured: EvaluationResult) -> None:
    summary = measured.summary
    assert summary.metrics.keys() - summary.intervals.keys() == {"coverage@10", "coverage@20", "gini@10", "gini@20"}
    assert summary.intervals.keys() <= summary.metrics.keys()
    assert all(low - 1e-6 <= summary.metrics[name] <= high + 1e-6 for name, (low, high) in summary.intervals.items())


@pytest.fixture(scope="module")
def described(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> MetricSummary:
    """Two hundred users with age and country, and tracks with artists, evaluated with popularity."""
    rng = np.random.default_rng(8)
    heard = rng.random((200, 50)) < rng.uniform(0.1, 0.6, (200, 1))
    rows = np.column_stack([*np.nonzero(heard), rng.integers(1, 6, heard.sum())])
    in_test = rng.random(len(rows)) < 0.3
    details = {
        "users": {"age": [20] * 100 + [50] * 100, "country": ["SE", "NO", "DK", "FI"] * 50},
        "tracks": {"artist": [f"artist {number % 10}" for number in range(50)], "genre": [None] * 50},
    }
    parts = {"train": rows[~in_test], "test": rows[in_test]}
    directory = tmp_path_factory.mktemp("described")
    return world(spark, directory, (200, 50), parts, "popularity", details).evaluate(None, "measured").summary


def test_segments_partition_the_users(described: MetricSummary) -> None:
    assert {kind: set(groups) for kind, groups in described.segments.items()} == {
        "activity": {"low", "middle", "high"}, "country": {"DK", "FI", "NO", "SE"}, "age": {"18-24", "45+"},
    }  # fmt: skip
    for groups in described.segments.values():
        weights = np.array([group["users"] for group in groups.values()])
        for metric in ("ndcg@10", "recall@20"):
            means = [group["metrics"][metric] for group in groups.values()]
            assert np.average(means, weights=weights) == pytest.approx(described.metrics[metric])
    assert len({sum(group["users"] for group in groups.values()) for groups in described.segments.values()}) == 1


def test_segments_have_wider_intervals(described: MetricSummary) -> None:
    def width(interval: list[float]) -> float:
        return interval[1] - interval[0]

    for groups in described.segments.values():
        for group in groups.values():
            low, high = group["intervals"]["ndcg@10"]
            assert low < group["metrics"]["ndcg@10"] < high
            assert width([low, high]) > width(described.intervals["ndcg@10"])


def test_diversity_needs_labels(described: MetricSummary) -> None:
    assert 0 < described.metrics["diversity@10"] <= 1
    assert "diversity@20" in described.intervals


def test_users_and_interactions_are_counted(measured: EvaluationResult) -> None:
    assert (measured.users, measured.users_ranked, measured.held_out) == (5, 4, 8)


def test_lists_exclude_training_tracks_only(tiny: World, measured: EvaluationResult) -> None:
    tops = tiny.per_user("liked")["top"]
    assert tops[0].tolist() == list(range(2, 22))
    assert tops[1].tolist() == list(range(1, 21))
    assert tops[3].tolist() == list(range(20))
    assert tops[4].tolist() == [0, 1, *range(3, 21)]


def test_user_without_relevant_track_has_no_list_metrics(tiny: World, measured: EvaluationResult) -> None:
    rows = tiny.per_user("liked")
    assert rows.loc[4, "relevant"] == 0
    assert np.isnan(rows.loc[4, ["ndcg@10", "recall@20", "map@10", "hit_rate@10", "arp@10"]].astype(float)).all()
    assert rows.loc[[0, 1, 3, 5], "ndcg@10"].notna().all()


def test_every_held_out_track_is_relevant_without_ratings(tiny: World) -> None:
    assert tiny.evaluate(None, "all").users_ranked == 5
    assert tiny.per_user("all")["relevant"].to_dict() == {0: 1, 1: 3, 3: 2, 4: 1, 5: 1}


def test_test_part_without_relevant_track_is_refused(tiny: World) -> None:
    with pytest.raises(UserError, match=r"No user has a relevant track .* raise \[split\] test_fraction"):
        tiny.evaluate(6.0, "none")


def test_rating_errors_agree_with_spark(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    cells = rng.permutation(30 * 20)[:300]
    rows = np.column_stack([cells // 20, cells % 20, rng.integers(1, 6, size=300)])
    # The last user and the last track occur in the test part alone.
    in_test = (rng.random(300) < 0.3) | (rows[:, 0] == 29) | (rows[:, 1] == 19)
    parts = {"train": rows[~in_test], "test": rows[in_test]}
    metrics_by_name = world(spark, tmp_path, (30, 20), parts, "als_explicit").evaluate(1.0, "measured").summary.metrics

    held_out = spark.read.parquet(str(tmp_path / "split" / "parts" / "part=test"))
    mean = float(rows[~in_test, 2].mean())
    predicted = F.coalesce(F.nanvl("prediction", F.lit(None)), F.lit(mean))
    clamped = F.least(F.greatest(predicted, F.lit(1.0)), F.lit(5.0)).cast("double")
    predictions = (
        ALSModel.load(str(tmp_path / "model")).transform(held_out).select("value", clamped.alias("prediction"))
    )
    predictions.persist()
    for metric in ("rmse", "mae"):
        evaluator = RegressionEvaluator(labelCol="value", predictionCol="prediction", metricName=metric)
        assert metrics_by_name[metric] == pytest.approx(evaluator.evaluate(predictions), rel=1e-5)
    predictions.unpersist()


def test_rating_errors_have_intervals(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = np.column_stack([np.repeat(range(40), 10), np.tile(range(10), 40), rng.integers(1, 6, 400)])
    in_test = rng.random(400) < 0.3
    parts = {"train": rows[~in_test], "test": rows[in_test]}
    summary = world(spark, tmp_path, (40, 10), parts, "als_explicit").evaluate(1.0, "measured").summary
    for metric in ("rmse", "mae"):
        low, high = summary.intervals[metric]
        assert low < summary.metrics[metric] < high


def test_model_without_rating_predictions_has_no_rmse(measured: EvaluationResult) -> None:
    assert not {"rmse", "mae"} & {*measured.summary.metrics, *measured.summary.intervals}
