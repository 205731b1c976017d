"""Tuning on the validation part: the search, its trials, and the weights of a hybrid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from support.pipeline import Roots
from support.training import IMPLICIT, NUM_TRACKS, NUM_USERS, RATINGS, write_ratings

from common.errors import NotApplicable
from common.files import read_json
from config.algorithm_catalog import CATALOG, SearchRange
from config.settings import ALGORITHM_SECTIONS
from spark.algorithms.training_data import TrainingData
from spark.evaluation.blend_weights import learn_weights, weight_grid
from spark.evaluation.tuning_objective import run_trial
from workflow.hyperparameter_search import TuningResult, Values, search
from workflow.reporting.run_summary import _left_out


class RecordedSearch:
    """A search with its optimum at λ = 30 that records trials and reports."""

    def __init__(self, trials_file: Path) -> None:
        self.trials_file = trials_file
        self.values: list[float] = []
        self.reports: list[tuple[str, float]] = []
        self.fails_at = -1

    def measure(self, settings: Values) -> float:
        """Return a score that is higher the closer λ is to 30."""
        if len(self.values) == self.fails_at:
            raise KeyboardInterrupt
        self.values.append(settings["reg_param"])
        return -abs(settings["reg_param"] - 30)

    def __call__(self, trials: int, seed: int = 1, minutes: float = 9, **more: Any) -> TuningResult:
        algorithm = replace(CATALOG["ease"], predicts_ratings=more.pop("lower_is_better", False))
        return search(
            algorithm, {"reg_param": 100.0, "min_listeners": 2}, more.pop("measure", self.measure), trials=trials,
            minutes=minutes, seed=seed, trials_file=self.trials_file,
            report=lambda *report: self.reports.append(report),
        )  # fmt: skip


@pytest.fixture
def searched(tmp_path: Path) -> RecordedSearch:
    """A search without saved trials."""
    return RecordedSearch(tmp_path / "study.trials")


def test_first_trial_uses_the_given_settings(searched: RecordedSearch) -> None:
    result = searched(1)
    assert searched.values == [100.0]
    assert result.settings == {"reg_param": 100.0}
    assert result.trials == [{"settings": {"reg_param": 100.0}, "score": -70.0}]
    assert searched.reports == [("trial 1 of 1, best -70.0000 at 1", 1.0)]


def test_result_is_the_best_trial(searched: RecordedSearch) -> None:
    result = searched(25)
    assert result.score == max(trial["score"] for trial in result.trials) > -30
    assert abs(result.settings["reg_param"] - 30) == -result.score
    assert result.importance == {"reg_param": 1.0}


def test_saved_trials_are_not_repeated(searched: RecordedSearch) -> None:
    assert searched(5).trials == searched(9).trials[:5]
    assert len(searched.values) == 9
    assert searched(9) == searched(3), "enough trials are saved"
    assert len(searched.values) == 9


def test_interrupted_search_resumes_with_the_same_trials(searched: RecordedSearch, tmp_path: Path) -> None:
    for number in (0, 3):
        searched.fails_at = number
        with pytest.raises(KeyboardInterrupt):
            searched(6)
    searched.fails_at = -1
    assert searched(6).trials == RecordedSearch(tmp_path / "another.trials")(6).trials
    assert len(searched.values) == 6


@pytest.mark.parametrize("how", ["cut off", "flipped", "no trial"])
def test_search_resumes_at_the_first_damaged_trial(searched: RecordedSearch, how: str) -> None:
    result = searched(5).trials
    *lines, fourth, last = searched.trials_file.read_bytes().splitlines(keepends=True)
    damaged = {
        "cut off": fourth[:-3],
        "flipped": fourth.replace(b'"score": -', b'"score": ') + last,
        "no trial": b"{}\n",
    }
    searched.trials_file.write_bytes(b"".join(lines) + damaged[how])
    assert searched(5).trials == result
    assert len(searched.values) == 7, "the last two trials are repeated"
    assert searched.trials_file.read_bytes().splitlines(keepends=True) == [*lines, fourth, last]


def test_search_stops_at_the_time_limit(searched: RecordedSearch) -> None:
    assert len(searched(9, minutes=0).trials) == 1


def test_minimises_if_lower_is_better(searched: RecordedSearch) -> None:
    result = searched(6, measure=lambda settings: settings["reg_param"], lower_is_better=True)
    assert result.score == min(trial["score"] for trial in result.trials) < 100


@pytest.mark.parametrize("candidate", [name for name in CATALOG if CATALOG[name].search_space])
def test_search_space_lies_within_the_bounds_of_the_settings(candidate: str) -> None:
    parameters = dict(ALGORITHM_SECTIONS[candidate].get_params())
    for name, space in CATALOG[candidate].search_space.items():
        for value in (space.low, space.high) if isinstance(space, SearchRange) else space:
            assert parameters[name].normalize(value) == value
            assert type(parameters[name].normalize(value)) is type(value)


VALIDATION = [(user, track, 5.0) for user in range(0, NUM_USERS, 2) for track in (1, 9)]


@pytest.fixture
def training(spark: SparkSession, tmp_path: Path) -> TrainingData:
    """The training part: `RATINGS` without the pairs in `validation`."""
    held = pd.MultiIndex.from_tuples([pair[:2] for pair in VALIDATION])
    rest = RATINGS[~pd.MultiIndex.from_frame(RATINGS[["user", "track"]]).isin(held)]
    return write_ratings(spark, tmp_path / "training", rest)


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """The validation part."""
    (tmp_path / "validation").mkdir()
    rows = pd.DataFrame(VALIDATION, columns=["user", "track", "value"]).astype({"user": "int32", "track": "int32"})
    for number, part in enumerate((rows[:8], rows[8:])):
        part.to_parquet(tmp_path / "validation" / f"part-{number}.parquet", index=False)
    return tmp_path / "validation"


def test_trial_returns_the_ndcg_of_the_lists(training: TrainingData, validation: Path, tmp_path: Path) -> None:
    """Compare with the NDCG of popularity, computed by definition."""
    score = run_trial(training, "popularity", {}, validation, None, tmp_path)
    heard = np.zeros((NUM_USERS, NUM_TRACKS), bool)
    rows = training.dataframe.toPandas()
    heard[rows["user"], rows["track"]] = True
    expected = []
    for user in range(0, NUM_USERS, 2):
        order = [track for track in np.argsort(-heard.sum(axis=0), kind="stable") if not heard[user, track]][:10]
        gains = [1 / np.log2(position + 2) for position, track in enumerate(order) if track in (1, 9)]
        expected.append(sum(gains) / (1 + 1 / np.log2(3)))
    assert score == pytest.approx(np.mean(expected))
    assert not [path for path in tmp_path.iterdir() if path.name not in ("training", "validation")]


def test_blend_is_at_least_as_good_as_each_part(training: TrainingData, validation: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    parts = {"als": IMPLICIT, "content": {}, "ease": {"reg_param": 10.0, "min_listeners": 10**6}}
    result = learn_weights(training, parts, validation, None, tmp_path / "parts", lambda *_: None)
    assert result.weights.keys() == result.alone.keys() == {"als", "content"}
    assert sum(result.weights.values()) == pytest.approx(1)
    assert result.ndcg >= max(result.alone.values())
    assert result.left_out == {"ease": "no track has 1000000 listeners ([ease] min_listeners)"}
    assert result.alone["als"] == pytest.approx(
        run_trial(training, "als", IMPLICIT, validation, None, tmp_path), abs=1e-6
    )


def test_blend_needs_two_parts_and_relevant_tracks(training: TrainingData, validation: Path, tmp_path: Path) -> None:
    parts = {"als": IMPLICIT, "ease": {"reg_param": 10.0, "min_listeners": 10**6}}
    with pytest.raises(NotApplicable, match=r"fewer than two of its parts .* \(ease: no track has"):
        learn_weights(training, parts, validation, None, tmp_path / "few", lambda *_: None)
    with pytest.raises(NotApplicable, match="no user has a relevant track in the validation part"):
        learn_weights(training, parts | {"content": {}}, validation, 6.0, tmp_path / "none", lambda *_: None)


@pytest.mark.parametrize("parts", [2, 3, 4, 5])
def test_weight_grid_sums_to_one_and_contains_each_part_alone(parts: int) -> None:
    grid = weight_grid(parts)
    np.testing.assert_allclose(grid.sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(grid, axis=0)) == len(grid) <= 70
    for part in range(parts):
        assert np.eye(parts, dtype=np.float32)[part].tolist() in grid.tolist()


def test_additional_trials_reuse_the_saved_ones(pipeline: Roots) -> None:
    candidates = '["ease", "content"]'
    settings = {"tune": {"trials": 3}, "selection": {"candidates": candidates}}
    ran = pipeline.run(settings=settings)
    assert ran.succeeded
    assert "Tune ease" in ran.made
    assert not {"Tune content", "Ingest", "Split"} & ran.made

    def searches() -> list[list[Any]]:
        results = map(read_json, (pipeline.data / "work" / "synthetic" / "Tune").glob("*/best.json"))
        return sorted((result["trials"] for result in results if "trials" in result), key=len)

    assert list(map(len, searches())) == [3]
    assert pipeline.run(settings=settings | {"tune": {"trials": 4}}).succeeded
    three, four = searches()
    assert four[:3] == three


def test_tuning_results_are_printed_and_published(pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
    ran = pipeline.run(settings={"tune": {"trials": 8}, "selection": {"candidates": '["item-knn", "hybrid"]'}})
    tuning = read_json(pipeline.models / "synthetic" / ran.record[-1]["version"] / "tuning.json")
    assert set(tuning) == {"als", "ease", "item-knn", "hybrid"}  # the hybrid's parts are tuned too
    assert len(tuning["item-knn"]["trials"]) == 8
    output = capfd.readouterr().out
    assert f"hybrid has the weights als {tuning['hybrid']['settings']['weights']['als']:g}, ease " in output
    line = next(line for line in output.splitlines() if line.startswith("  item-knn, 8 trials: "))
    assert f"with similarity = {tuning['item-knn']['settings']['similarity']}, neighbours = " in line
    assert line.endswith(" of the differences.") == bool(tuning["item-knn"]["importance"])


def test_candidate_that_cannot_learn_is_reported_with_its_reason(pipeline: Roots) -> None:
    settings = {"selection": {"candidates": '["als", "ease"]'}, "ease": {"min_listeners": 1_000_000}}
    ran = pipeline.run(settings=settings)
    assert ran.succeeded
    version = pipeline.models / "synthetic" / ran.record[-1]["version"]
    board = read_json(version / "leaderboard.json")
    assert [line["model"] for line in board] == ["als", "ease"]
    assert board[1]["reason"] == "no track has 1000000 listeners ([ease] min_listeners)"
    assert _left_out(board) == ["ease was left out: no track has 1000000 listeners ([ease] min_listeners)."]
    assert set(read_json(version / "metrics.json")["models"]) == {"popularity", "als"}
    alone = pipeline.run(settings=settings | {"selection": {"candidates": '["ease"]'}})
    assert not alone.succeeded
    assert "No candidate can learn from synthetic (ease: no track has 1000000 listeners" in alone.record[-2]["error"]
