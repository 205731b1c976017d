"""Every metric has one entry and one function, and everything else follows from the entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.metrics import metric_rows

from config.metrics import METRICS, Metric, lower_is_better, reported_names, selectable_names
from spark.evaluation.beyond_accuracy import CatalogueStatistics
from spark.evaluation.evaluate import evaluate_users
from spark.evaluation.metric_functions import functions_of
from spark.evaluation.metric_registry import FUNCTIONS, metric
from spark.evaluation.metric_summary import MetricSummary, summarize_metrics
from spark.lists.topk import TopKLists
from spark.splitting.split import HeldOut
from spark.storage.interaction_matrix import CSRMatrix
from webapp.serving.scoreboard import Scoreboard

USERS, TRACKS = 4, 30


class FixedLists:
    """A model that recommends the same tracks to everyone, and predicts the rating 3."""

    num_tracks = TRACKS
    predicts_ratings = True

    def ratings(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        return np.full(len(users), 3.0)


def make_lists(users: np.ndarray, training: CSRMatrix, k: int) -> TopKLists:
    """Return the list 0, 1, 2, … for each user."""
    lists = TopKLists.empty(len(users), k)
    lists.tracks[:] = np.arange(k)
    lists.sizes[:] = k
    return lists


def evaluated(directory: Path) -> MetricSummary:
    """Evaluate `FixedLists` on one held-out track for each user."""
    users = np.arange(USERS, dtype=np.int32)
    held_out = HeldOut(users, users, np.full(USERS, 4.0), np.ones(USERS, bool))
    training = CSRMatrix(np.zeros(USERS + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    catalogue = CatalogueStatistics(np.ones(TRACKS), USERS, None)
    for name in ("evaluated", "users"):
        (directory / name).mkdir()
    table = evaluate_users(FixedLists(), held_out, training, catalogue, make_lists)  # type: ignore[arg-type]
    pq.write_table(table, directory / "evaluated" / "part-0.parquet")
    pq.write_table(pa.table({"index": users}), directory / "users" / "part-0.parquet")
    return summarize_metrics(directory / "evaluated", directory / "users", TRACKS)


def test_entries_and_functions_are_the_same() -> None:
    assert set(FUNCTIONS) == set(METRICS)


def test_every_entry_is_computed(tmp_path: Path) -> None:
    computed = {name.partition("@")[0] for name in evaluated(tmp_path).metrics}
    assert computed == set(METRICS) - {"diversity"}  # which needs artists, genres or tags


def test_an_entry_without_a_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "toy", Metric("A toy.", "higher", "accuracy", "hits"))
    with pytest.raises(KeyError, match="toy"):
        functions_of("hits")


def test_intervals_follow_from_the_entries(tmp_path: Path) -> None:
    summary = evaluated(tmp_path)
    assert set(summary.intervals) == {name for name in summary.metrics if METRICS[name.partition("@")[0]].has_interval}


def test_selectable_metrics_are_accuracy_and_errors() -> None:
    assert selectable_names()[:2] == ("ndcg@10", "recall@10")
    assert selectable_names()[-2:] == ("rmse", "mae")
    assert {METRICS[name.partition("@")[0]].kind for name in selectable_names()} == {"accuracy", "error"}
    assert [name for name in selectable_names() if lower_is_better(name)] == ["rmse", "mae"]


def test_one_entry_and_one_function_make_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS, "toy", None)  # so that the registration below is undone
    monkeypatch.setitem(METRICS, "toy", Metric("The share of the list that is missed.", "lower", "accuracy", "hits"))

    @metric("toy")
    def misses(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
        return 1 - np.asarray(hits[:, :k].sum(axis=1) / k)

    summary = evaluated(tmp_path)
    assert summary.metrics["toy@10"] == pytest.approx(0.9)
    assert summary.metrics["toy@20"] == pytest.approx(0.95)
    assert "toy@10" in summary.intervals
    assert {"toy@10", "toy@20"} <= set(reported_names("hits"))
    assert lower_is_better("toy@10")
    assert "toy@20" in selectable_names()
    board = Scoreboard.from_metrics({"champion": "als", "models": {"als": summary.metrics}})
    (column,) = (column for column in board.main if column.name == "toy@10")
    assert (column.meaning, column.lower_is_better) == ("The share of the list that is missed.", True)
    assert ("toy", "The share of the list that is missed.", "lower") in metric_rows()
