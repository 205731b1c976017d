"""Ranking metrics: an example by hand, Spark's implementation, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.mllib.evaluation import RankingMetrics
from pyspark.sql import SparkSession

from config.metrics import METRICS
from spark.evaluation.metric_functions import compute_metrics
from spark.evaluation.ranking_metrics import CURVES, curves, pack_hits

DEPTH = 20
ACCURACY = {name for name, entry in METRICS.items() if entry.kind == "accuracy"}


def of_one_user(hits: list[bool], relevant: int, k: int) -> dict[str, float]:
    """Return the metrics of a single list."""
    computed = compute_metrics("hits", np.array([hits]), np.array([relevant]), k)
    return {name: float(values[0]) for name, values in computed.items()}


def test_metrics_by_hand() -> None:
    # Hits at places 1 and 3 of 5; 4 tracks are relevant.
    # DCG  = 1/log2(2) + 1/log2(4)                         = 1 + 0.5            = 1.5
    # IDCG = 1/log2(2) + 1/log2(3) + 1/log2(4) + 1/log2(5) = 1 + 0.63093 + 0.5 + 0.43068 = 2.56161
    # AP   = (1/1 + 2/3) / min(5, 4) = 1.66667 / 4
    metrics = of_one_user([True, False, True, False, False], relevant=4, k=5)
    by_hand = {"ndcg": 0.585570, "recall": 0.5, "precision": 0.4, "map": 0.416667, "mrr": 1.0, "hit_rate": 1.0}
    assert metrics == pytest.approx(by_hand, abs=1e-6)


def test_reciprocal_rank_of_the_first_hit() -> None:
    hits = [False, False, True, True, False]
    assert of_one_user(hits, relevant=4, k=5)["mrr"] == pytest.approx(1 / 3)
    assert of_one_user(hits, relevant=4, k=3)["mrr"] == pytest.approx(1 / 3)
    assert of_one_user(hits, relevant=4, k=2)["mrr"] == 0.0


def test_hits_beyond_the_cutoff_are_ignored() -> None:
    metrics = of_one_user([False] * 10 + [True] * 10, relevant=10, k=10)
    assert metrics == dict.fromkeys(ACCURACY, 0.0)


@pytest.mark.filterwarnings("ignore:Deprecated in 3.0.0:FutureWarning")  # RankingMetrics opens an SQLContext itself
def test_metrics_agree_with_spark(spark: SparkSession) -> None:
    rng = np.random.default_rng(7)
    lists = [rng.permutation(60)[:DEPTH].tolist() for _ in range(50)]
    relevant = [rng.permutation(60)[: rng.integers(1, 30)].tolist() for _ in range(50)]
    hits = np.array([np.isin(top, tracks) for top, tracks in zip(lists, relevant, strict=True)])
    counts = np.array([len(tracks) for tracks in relevant])

    pairs = [([float(t) for t in top], [float(t) for t in tracks]) for top, tracks in zip(lists, relevant, strict=True)]
    expected = RankingMetrics(spark.sparkContext.parallelize(pairs, 1))
    for k in (10, 20):
        ours = {name: values.mean() for name, values in compute_metrics("hits", hits, counts, k).items()}
        assert ours["ndcg"] == pytest.approx(expected.ndcgAt(k))
        assert ours["precision"] == pytest.approx(expected.precisionAt(k))
        assert ours["recall"] == pytest.approx(expected.recallAt(k))
        assert ours["map"] == pytest.approx(expected.meanAveragePrecisionAt(k))


def test_curves_equal_the_metrics_at_each_length() -> None:
    rng = np.random.default_rng(11)
    hits = rng.random((5_000, DEPTH)) < 0.2
    relevant = hits.sum(axis=1) + rng.integers(1, 30, len(hits))
    computed = curves(pack_hits(hits), relevant, DEPTH)
    assert set(computed) == set(CURVES)
    for k in range(1, DEPTH + 1):
        at_k = compute_metrics("hits", hits, relevant, k)
        assert {name: values[k - 1] for name, values in computed.items()} == {
            name: at_k[name].mean() for name in CURVES
        }


def test_curves_by_hand() -> None:
    # Hits at places 1 and 3; 2 tracks are relevant.
    computed = curves(pack_hits(np.array([[True, False, True]])), np.array([2]), 3)
    assert computed["recall"] == [0.5, 0.5, 1.0]
    assert computed["precision"] == pytest.approx([1.0, 1 / 2, 2 / 3])
    assert computed["ndcg"] == pytest.approx([1.0, 1 / 1.63093, 1.5 / 1.63093], abs=1e-5)


@st.composite
def judged_lists(draw: st.DrawFn) -> tuple[list[bool], int, int]:
    """Draw hits, the number of relevant tracks (at least the hits, at least one), and a cutoff."""
    hits = draw(st.lists(st.booleans(), min_size=DEPTH, max_size=DEPTH))
    relevant = draw(st.integers(max(1, sum(hits)), 60))
    return hits, relevant, draw(st.integers(1, DEPTH))


@given(judged_lists())
def test_metrics_are_between_0_and_1(judged: tuple[list[bool], int, int]) -> None:
    values = of_one_user(*judged)
    assert set(values) == ACCURACY
    assert all(0.0 <= value <= 1.0 + 1e-12 for value in values.values())


@given(st.integers(1, DEPTH), st.integers(1, 60))
def test_perfect_list_scores_1(k: int, relevant: int) -> None:
    hits = [place < relevant for place in range(DEPTH)]
    values = of_one_user(hits, relevant, k)
    assert values["ndcg"] == pytest.approx(1.0)
    assert values["map"] == pytest.approx(1.0)
    assert values["mrr"] == 1.0
    assert values["hit_rate"] == 1.0
    assert values["precision"] == pytest.approx(min(k, relevant) / k)
    assert values["recall"] == pytest.approx(min(k, relevant) / relevant)


@given(judged_lists(), st.integers(0, DEPTH - 2))
def test_moving_a_hit_forward_never_lowers_a_metric(judged: tuple[list[bool], int, int], place: int) -> None:
    hits, relevant, k = judged
    worse, better = hits.copy(), hits.copy()
    worse[place : place + 2] = [False, True]
    better[place : place + 2] = [True, False]
    relevant = max(relevant, sum(worse))
    before, after = of_one_user(worse, relevant, k), of_one_user(better, relevant, k)
    assert all(after[name] >= before[name] - 1e-12 for name in ACCURACY)
    if place < k:
        assert after["ndcg"] > before["ndcg"]
        assert after["map"] > before["map"]
