"""The contract of the entries of the algorithm catalogue, checked for every entry and a toy algorithm."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy import sparse
from support.training import write_training_data

from config.algorithm_catalog import CATALOG, Algorithm, UserArray, UserRows, blendable_names
from models.delete_user_data import delete_from_model
from models.model_directory import saved_algorithms
from spark.algorithms.saved_model import fit_model, load_scorer, model_info
from spark.algorithms.scorer import IndexArray, Scorer
from spark.algorithms.training_data import TrainingData
from spark.lists.recommend import similar_tracks
from spark.lists.topk import top_k
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, load_csr

TOY = Path(__file__).parent / "support" / "toy"
NUM_USERS, NUM_TRACKS = 80, 18
SILENT, UNHEARD = 7, 5
"""A user without interactions, and a track without listeners."""
USERS = np.arange(NUM_USERS, dtype=np.int32)
NAMES = [*CATALOG, "toy"]


@pytest.fixture(scope="module", autouse=True)
def toy_algorithm() -> Iterator[None]:
    """Add the toy algorithm to the catalogue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOY)
        patch.setitem(CATALOG, "toy", importlib.import_module("toy_algorithm").ENTRY)
        yield


@cache
def interactions() -> pd.DataFrame:
    """Ratings from 1 to 5, most of them of tracks with a low index."""
    rng = np.random.default_rng(5)
    heard = rng.random((NUM_USERS, NUM_TRACKS)) < np.linspace(0.8, 0.2, NUM_TRACKS)
    heard[SILENT], heard[:, UNHEARD] = False, False
    users, tracks = np.nonzero(heard)
    return pd.DataFrame({"user": users, "track": tracks, "value": rng.integers(1, 6, len(users)).astype(float)})


def write(spark: SparkSession, directory: Path, order: NDArray[np.integer] = USERS) -> TrainingData:
    """Write the training data with renumbered users: the user with index u gets index order[u]."""
    ratings, countries = interactions(), np.empty(NUM_USERS, object)
    countries[order] = np.where(USERS % 2, "NO", "SE")
    tracks = pd.DataFrame({"index": range(NUM_TRACKS), "artist": [f"a{track % 4}" for track in range(NUM_TRACKS)]})
    users = pd.DataFrame({"index": USERS, "country": countries})
    renumbered = ratings.assign(user=order[ratings["user"]])
    return write_training_data(spark, directory, renumbered, tracks, users, (1.0, 5.0))


def settings_of(name: str) -> dict[str, Any]:
    """Return the default settings. A blend combines all blendable algorithms with equal weights."""
    if CATALOG[name].is_blend:
        parts = blendable_names()
        return {"weights": dict.fromkeys(parts, 1 / len(parts)), "parts": {part: settings_of(part) for part in parts}}
    return CATALOG[name].defaults


@pytest.fixture(scope="module")
def training(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return write(spark, tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def history(training: TrainingData) -> CSRMatrix:
    return load_csr(training.matrix, USER)


@pytest.fixture(scope="module", params=NAMES)
def model(training: TrainingData, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A trained model of each algorithm."""
    directory = tmp_path_factory.mktemp("model") / request.param
    fit_model(request.param, training, settings_of(request.param), directory)
    return directory


@pytest.fixture
def scorer(model: Path) -> Scorer:
    return load_scorer(model)


def entry_of(model: Path) -> Algorithm:
    return CATALOG[model.name]


def without(scores: NDArray[Any], track: int) -> NDArray[Any]:
    return np.delete(scores, track, axis=1)


def test_entry_has_a_module_a_summary_and_consistent_settings(model: Path) -> None:
    algorithm = entry_of(model)
    module = importlib.import_module(algorithm.module)
    assert callable(module.fit)
    assert callable(module.load)
    assert algorithm.summary.endswith(".")
    assert bool(algorithm.section) == bool(algorithm.settings)
    assert set(algorithm.search_space) | set(algorithm.tunable_with) <= set(algorithm.settings)
    required = {requirement.setting for group in algorithm.requirements.values() for requirement in group}
    assert {key for key, _ in algorithm.requirements} | required <= set(algorithm.settings)


def test_model_directory_names_its_algorithm(model: Path) -> None:
    assert model_info(model)["name"] == model.name
    assert model_info(model)["num_users"] == NUM_USERS
    directories = [directory for directory, _ in saved_algorithms(model)]
    assert directories == [
        model,
        *(sorted(model / part for part in blendable_names()) if entry_of(model).is_blend else []),
    ]


def test_reloaded_model_gives_the_same_scores(model: Path, history: CSRMatrix) -> None:
    module = importlib.import_module(entry_of(model).module)
    first, second = (module.load(model).scores(USERS, history) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_same_settings_and_seed_give_the_same_model(
    model: Path, training: TrainingData, history: CSRMatrix, tmp_path: Path
) -> None:
    fit_model(model.name, training, settings_of(model.name), tmp_path / "again")
    again = load_scorer(tmp_path / "again").scores(USERS, history)
    np.testing.assert_array_equal(again, load_scorer(model).scores(USERS, history))


def test_scores_are_finite_for_all_users_and_tracks(scorer: Scorer, history: CSRMatrix) -> None:
    scores = scorer.scores(USERS, history)
    assert (scores.shape, scores.dtype) == ((NUM_USERS, NUM_TRACKS), np.float32)
    assert np.isfinite(scores).all()
    scores[:] = 0
    assert scorer.scores(USERS, history).any(), "the caller may modify the scores"


def test_unknown_users_are_not_personalised(scorer: Scorer, history: CSRMatrix, training: TrainingData) -> None:
    if scorer.ranks_by_popularity:
        return  # their scores do not depend on the history
    users = np.array([SILENT], np.int32)
    listeners = np.diff(load_csr(training.matrix, TRACK).indptr)
    assert not scorer.can_personalize(users, history).any()
    order = np.argsort(-scorer.scores(users, history)[0], kind="stable")
    np.testing.assert_array_equal(order, np.argsort(-listeners, kind="stable"))


def test_unknown_tracks_rank_last(scorer: Scorer, history: CSRMatrix) -> None:
    known = scorer.known_tracks
    assert (known.shape, known.dtype) == ((NUM_TRACKS,), np.bool_)
    if not known[UNHEARD]:
        scores = scorer.scores(np.delete(USERS, SILENT), history)
        assert (scores[:, [UNHEARD]] <= without(scores, UNHEARD)).all()
    assert not scorer.cold_tracks[~known].any()


def test_lists_leave_out_the_history(scorer: Scorer, history: CSRMatrix) -> None:
    lists = top_k(scorer, USERS, history, NUM_TRACKS)
    for user in USERS:
        listed = lists.tracks[user, : lists.sizes[user]]
        assert sorted([*listed, *history.row(int(user))]) == list(range(NUM_TRACKS))


def test_ratings_are_predicted_as_declared(model: Path, scorer: Scorer) -> None:
    assert scorer.predicts_ratings == entry_of(model).predicts_ratings
    if scorer.predicts_ratings:
        ratings = scorer.ratings(USERS, USERS % NUM_TRACKS)
        assert ratings.shape == (NUM_USERS,)
        assert (ratings >= 1).all()
        assert (ratings <= 5).all()


def test_explanations_have_a_row_for_each_track(scorer: Scorer, history: CSRMatrix) -> None:
    tracks = np.array([3, 0, UNHEARD], np.int32)
    heard: IndexArray = history.row(0)
    contributions = scorer.explain(heard, history.data[: len(heard)], tracks)
    if contributions is not None:
        assert contributions.shape == (3, len(heard))
        assert np.isfinite(contributions).all()
    if scorer.ranks_by_popularity:
        assert contributions is None


def test_similar_tracks_are_known_and_exclude_the_track(scorer: Scorer) -> None:
    tracks = np.arange(NUM_TRACKS, dtype=np.int32)
    lists = similar_tracks(scorer, tracks, 4)
    assert (lists.sizes.max() == 0) == scorer.ranks_by_popularity
    for track, size, similar in zip(tracks, lists.sizes, lists.tracks, strict=True):
        assert track not in similar[:size]
        assert scorer.known_tracks[similar[:size]].all()


def arrays_of(file: Path) -> list[NDArray[Any]]:
    """Return the contents of a file as arrays that can be compared up to rounding."""
    if file.suffix == ".parquet":
        table = pq.read_table(file, partitioning=None)
        columns = (table[name].combine_chunks() for name in table.column_names)
        return [(column.flatten() if hasattr(column, "flatten") else column).to_numpy(False) for column in columns]
    if file.suffix == ".npz":
        matrix = sparse.load_npz(file)
        return [matrix.data, matrix.indices, matrix.indptr]
    if file.suffix == ".npy":
        return [np.load(file)]
    return [np.frombuffer(file.read_bytes(), np.uint8)]


def differs(actual: Path, expected: Path) -> bool:
    """Whether two files differ by more than the rounding of sums in a different order."""
    pairs = zip(arrays_of(actual), arrays_of(expected), strict=True)
    return any(
        a.shape != b.shape
        or not (np.allclose(a, b, rtol=1e-2, atol=1e-3) if a.dtype.kind == "f" else np.array_equal(a, b))
        for a, b in pairs
    )


def declared_files(model: Path) -> set[Path]:
    return {
        file.relative_to(model)
        for directory, algorithm in saved_algorithms(model)
        for declared in algorithm.user_files
        for file in directory.glob(declared.pattern)
    }


def files_that_depend_on_user_order(spark: SparkSession, model: Path, scratch: Path) -> set[Path]:
    """Train again with renumbered users; return the files that differ. Aggregates over all users do not.

    The algorithm's name is the directory's name.
    """
    order = np.random.default_rng(1).permutation(NUM_USERS)
    fit_model(model.name, write(spark, scratch / "training", order), settings_of(model.name), scratch / model.name)
    files = {file.relative_to(model) for file in model.rglob("*") if file.is_file()}
    assert files == {
        file.relative_to(scratch / model.name) for file in (scratch / model.name).rglob("*") if file.is_file()
    }
    return {file for file in files if differs(model / file, scratch / model.name / file)}


def test_files_with_user_data_are_declared(spark: SparkSession, model: Path, tmp_path: Path) -> None:
    assert files_that_depend_on_user_order(spark, model, tmp_path) == declared_files(model)


def test_every_declared_pattern_matches_a_file(model: Path) -> None:
    for directory, algorithm in saved_algorithms(model):
        for declared in algorithm.user_files:
            assert list(directory.glob(declared.pattern)), declared


@pytest.mark.parametrize("name", ["als", "segment-popularity", "toy"])
def test_undeclared_file_with_user_data_is_detected(
    spark: SparkSession, training: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(CATALOG, name, replace(CATALOG[name], user_files=()))
    model = tmp_path / name
    fit_model(name, training, settings_of(name), model)
    assert files_that_depend_on_user_order(spark, model, tmp_path / "again") - declared_files(model)


def test_deleting_a_user_removes_only_their_data(model: Path, history: CSRMatrix, tmp_path: Path) -> None:
    user, others = 3, np.delete(USERS, 3)
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    delete_from_model(copy, user)
    for directory, algorithm in saved_algorithms(copy):
        for declared in algorithm.user_files:
            for file in directory.glob(declared.pattern):
                match declared:
                    case UserRows(column=column):
                        assert user not in pq.read_table(file, columns=[column])[column].to_pylist()
                    case UserArray(deleted_value=value):
                        assert np.load(file)[user] == value
    forgotten = importlib.import_module(entry_of(model).module).load(copy)
    empty_history = CSRMatrix(np.zeros(NUM_USERS + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    assert not forgotten.can_personalize(np.array([user], np.int32), empty_history).any()
    np.testing.assert_array_equal(forgotten.scores(others, history), load_scorer(model).scores(others, history))
