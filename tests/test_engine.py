"""The ALS engine: interaction matrix, kernel, training, early stopping and folding in users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy import sparse
from support.interactions import MATRIX, NUM_TRACKS, NUM_USERS, write_interactions

from common.errors import StoreError, UserError
from models.fold_in import FoldIn
from spark.algorithms.als import early_stopping, half_iteration
from spark.algorithms.als.early_stopping import best_iteration_count
from spark.algorithms.als.half_iteration import Objective, balanced_ranges, map_factors
from spark.algorithms.als.kernel import BATCH_ENTRIES, BINARY, EXPLICIT, LINEAR, LOG, SideObjective, SparseRows, solve
from spark.algorithms.als.training import train
from spark.algorithms.saved_model import fit_model
from spark.algorithms.training_data import TrainingData
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, build_interaction_matrix, load_csr


@pytest.fixture(scope="module")
def matrix_dir(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interaction matrix of `MATRIX`, as files."""
    directory = tmp_path_factory.mktemp("interaction-matrix")
    build_interaction_matrix(
        spark, [write_interactions(MATRIX, directory / "interactions")], *MATRIX.shape, directory / "matrix"
    )
    return directory / "matrix"


def test_matrix_files_hold_csr_of_the_matrix_and_its_transpose(matrix_dir: Path) -> None:
    transposed = MATRIX.T.tocsr()
    transposed.sort_indices()
    for side, expected in ((USER, MATRIX), (TRACK, transposed)):
        csr = load_csr(matrix_dir, side)
        np.testing.assert_array_equal(csr.indptr, expected.indptr)
        np.testing.assert_array_equal(csr.indices, expected.indices)
        np.testing.assert_array_equal(csr.data, expected.data)
    assert not list(matrix_dir.glob("segments"))


def assert_same_files(actual: Path, expected: Path) -> None:
    """Assert that two directories hold the same files with the same bytes."""
    names, expected_names = (
        sorted(file.relative_to(directory) for file in directory.rglob("*") if file.is_file())
        for directory in (actual, expected)
    )
    assert names == expected_names
    assert all((actual / name).read_bytes() == (expected / name).read_bytes() for name in names)


def test_matrix_does_not_depend_on_the_number_of_files(spark: SparkSession, matrix_dir: Path, tmp_path: Path) -> None:
    build_interaction_matrix(
        spark, [write_interactions(MATRIX, tmp_path / "one", files=1)], *MATRIX.shape, tmp_path / "matrix"
    )
    assert_same_files(tmp_path / "matrix", matrix_dir)


def halves(directory: Path) -> tuple[Path, ...]:
    """The interactions of `MATRIX`, divided at random between two directories."""
    directory.mkdir()
    first = MATRIX.copy()
    first.data = np.where(np.random.default_rng(4).random(MATRIX.nnz) < 0.6, MATRIX.data, 0).astype(np.float32)
    second = (MATRIX - first).tocsr()
    first.eliminate_zeros()
    assert first.nnz
    assert second.nnz
    return write_interactions(first, directory / "first"), write_interactions(second, directory / "second")


def test_interactions_of_two_directories_are_merged(spark: SparkSession, matrix_dir: Path, tmp_path: Path) -> None:
    build_interaction_matrix(spark, halves(tmp_path / "halves"), *MATRIX.shape, tmp_path / "matrix")
    assert_same_files(tmp_path / "matrix", matrix_dir)


def test_held_out_interactions_do_not_depend_on_the_directories(
    spark: SparkSession, matrix_dir: Path, tmp_path: Path
) -> None:
    held_out = []
    for name, interactions in (
        ("one", (write_interactions(MATRIX, tmp_path / "whole"),)),
        ("two", halves(tmp_path / "halves")),
    ):
        training = TrainingData(spark, interactions, matrix_dir, NUM_USERS, NUM_TRACKS, None)
        assert training.dataframe.count() == MATRIX.nnz
        assert training.dataframe.columns == ["user", "track", "value"]
        (tmp_path / name).mkdir()
        files = early_stopping._hold_out(training, tmp_path / name, seed=1)
        assert len(files) == 3
        held_out.append([pq.read_table(file) for file in (*files, *sorted((tmp_path / name / "training").iterdir()))])
    assert held_out[0] == held_out[1]


def test_rejects_values_that_are_not_finite(spark: SparkSession, tmp_path: Path) -> None:
    matrix = MATRIX.copy()
    matrix.data[5] = np.inf
    with pytest.raises(Exception, match="not finite in single precision"):
        build_interaction_matrix(
            spark, [write_interactions(matrix, tmp_path / "bad")], *MATRIX.shape, tmp_path / "matrix"
        )


def by_normal_equations(
    matrix: sparse.csr_matrix, y: NDArray[Any], kind: int, alpha: float, reg: float, exponent: float
) -> NDArray[np.float64]:
    """Return the factors that minimise each row's objective by its definition, in double precision."""
    y = y.astype(np.float64)
    solved = np.zeros((matrix.shape[0], y.shape[1]))
    for row in range(matrix.shape[0]):
        columns, values = matrix[row].indices, matrix[row].data.astype(np.float64)
        if not len(columns):
            continue
        if kind == EXPLICIT:
            confidence, preference = np.zeros(len(y)), np.zeros(len(y))
            confidence[columns], preference[columns] = 1.0, values
        else:
            strength = {BINARY: np.ones_like, LINEAR: np.asarray, LOG: np.log1p}[kind](values)
            confidence, preference = np.ones(len(y)), np.zeros(len(y))
            confidence[columns] += alpha * strength
            preference[columns] = 1.0
        penalty = reg * len(columns) ** exponent * np.eye(y.shape[1])
        solved[row] = np.linalg.solve((y * confidence[:, None]).T @ y + penalty, y.T @ (confidence * preference))
    return solved


def sparse_rows(matrix: sparse.csr_matrix) -> SparseRows:
    """Return the matrix as the kernel takes it."""
    return SparseRows(matrix.indptr.astype(np.int64), matrix.indices, matrix.data)


def solved_by_kernel(
    matrix: sparse.csr_matrix, y: NDArray[np.float32], kind: int, alpha: float, reg: float, exponent: float, steps: int
) -> NDArray[np.float32]:
    """Return the factors that the kernel computes from initial factors of zero."""
    gram = np.zeros((y.shape[1],) * 2, np.float32) if kind == EXPLICIT else y.T @ y
    own = np.zeros((matrix.shape[0], y.shape[1]), np.float32)
    solved: NDArray[np.float32] = solve(
        sparse_rows(matrix), SideObjective(kind, np.float32(alpha), reg, exponent, np.float32(0), -1, -1),
        y, gram, own, steps, 0, matrix.shape[0],
    )  # fmt: skip
    return solved


@pytest.mark.parametrize("steps", [0, 40], ids=["exactly", "conjugate gradients"])
@pytest.mark.parametrize("kind", [BINARY, LINEAR, LOG, EXPLICIT], ids=["binary", "linear", "log", "explicit"])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_kernel_solves_the_normal_equations(kind: int, steps: int, exponent: float) -> None:
    y = np.random.default_rng(8).standard_normal((NUM_TRACKS, 6)).astype(np.float32)
    expected = by_normal_equations(MATRIX, y, kind, 4.0, 0.3, exponent)
    solved = solved_by_kernel(MATRIX, y, kind, 4.0, 0.3, exponent, steps)
    np.testing.assert_allclose(solved, expected, atol=2e-4)


@pytest.mark.parametrize("kind", [BINARY, EXPLICIT], ids=["implicit", "explicit"])
def test_kernel_solves_rows_with_more_entries_than_a_batch(kind: int) -> None:
    large = BATCH_ENTRIES + 900
    rng = np.random.default_rng(8)
    matrix = sparse.csr_matrix(rng.integers(1, 6, size=(2, large)).astype(np.float32))
    y = rng.standard_normal((large, 4)).astype(np.float32)
    expected = by_normal_equations(matrix, y, kind, 4.0, 0.3, 1.0)
    np.testing.assert_allclose(solved_by_kernel(matrix, y, kind, 4.0, 0.3, 1.0, 30), expected, atol=1e-3)


IMPLICIT = Objective(5, 0.5, 0.5, "binary", alpha=8.0)
BIASED = Objective(4, 0.1, 1.0, "rating", biases=True, mean=3.0)


def trained(
    spark: SparkSession, matrix_dir: Path, into: Path, objective: Objective, steps: int = 3, seed: int = 5
) -> list[NDArray[np.float32]]:
    """Train, and return the factors of users and tracks."""
    into.mkdir()
    files = train(spark, matrix_dir, into, objective, iterations=4, steps=steps, seed=seed)
    return [np.array(map_factors(file, objective.width)) for file in files]


@pytest.mark.parametrize("objective", [IMPLICIT, BIASED], ids=["implicit", "biased"])
def test_factors_do_not_depend_on_the_number_of_tasks(
    spark: SparkSession, matrix_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Objective
) -> None:
    one_task = trained(spark, matrix_dir, tmp_path / "one-task", objective)
    monkeypatch.setattr(half_iteration, "_COST_PER_TASK", 300)
    reports: list[tuple[str, float]] = []
    (tmp_path / "many-tasks").mkdir()
    assert len(balanced_ranges(load_csr(matrix_dir, USER))) > 4
    files = train(
        spark, matrix_dir, tmp_path / "many-tasks", objective, iterations=4, steps=3, seed=5,
        report=lambda *report: reports.append(report),
    )  # fmt: skip
    for factors, file in zip(one_task, files, strict=True):
        np.testing.assert_allclose(map_factors(file, objective.width), factors, atol=1e-5)
    assert (reports[0], reports[-1]) == (("iteration 1 of 4", 0.125), ("iteration 4 of 4", 1.0))
    repeated = trained(spark, matrix_dir, tmp_path / "repeated", objective)
    for factors, file in zip(repeated, files, strict=True):
        assert factors.tobytes() == map_factors(file, objective.width).tobytes()
    assert sorted(path.name for path in (tmp_path / "many-tasks").iterdir()) == ["track-0", "user-0"]


def loss(objective: Objective, x: NDArray[Any], y: NDArray[Any]) -> float:
    """Compute the objective by its definition, over all cells of the matrix, in double precision."""
    heard, rank = MATRIX.toarray() > 0, objective.rank
    if objective.value == "rating":
        confidence, target, scores = heard, MATRIX.toarray(), x @ y.T
        x = np.column_stack([x[:, :rank], x[:, rank] - objective.mean])
        y = np.column_stack([y[:, :rank], y[:, rank + 1]])
    else:
        confidence, target, scores = np.where(heard, 1 + objective.alpha, 1.0), heard, x @ y.T
    scales = [heard.sum(axis=axis)[:, None] ** objective.reg_exponent for axis in (1, 0)]
    known = [heard.any(axis=axis)[:, None] for axis in (1, 0)]
    sides = zip(scales, known, (x, y), strict=True)
    penalty = sum(float((np.where(exists, scale * side**2, 0)).sum()) for scale, exists, side in sides)
    return float((confidence * (target - scores) ** 2).sum() + objective.reg_param * penalty)


@pytest.mark.parametrize("objective", [IMPLICIT, BIASED], ids=["implicit", "biased"])
def test_training_lowers_and_reports_the_objective(
    spark: SparkSession, matrix_dir: Path, tmp_path: Path, objective: Objective
) -> None:
    messages: list[str] = []
    files = train(
        spark, matrix_dir, tmp_path, objective, iterations=4, steps=3, seed=1, report_objective=True,
        report=lambda text, _: messages.append(text),
    )  # fmt: skip
    values = [float(text.partition("objective ")[2]) for text in messages[1::2]]
    assert values == sorted(values, reverse=True)
    assert messages[0] == "iteration 1 of 4"
    expected = loss(objective, *(map_factors(file, objective.width).astype(np.float64) for file in files))
    assert values[-1] == pytest.approx(expected, rel=1e-5)


def test_training_ends_when_should_stop_returns_true(spark: SparkSession, matrix_dir: Path, tmp_path: Path) -> None:
    for name in ("two-iterations", "stopped"):
        (tmp_path / name).mkdir()
    two_iterations = train(spark, matrix_dir, tmp_path / "two-iterations", IMPLICIT, iterations=2, steps=3, seed=1)
    iterations: list[int] = []

    def should_stop(iteration: int, users: Path, tracks: Path) -> bool:
        iterations.append(iteration)
        assert all(np.isfinite(map_factors(file, IMPLICIT.width)).all() for file in (users, tracks))
        return iteration == 2

    stopped = train(
        spark, matrix_dir, tmp_path / "stopped", IMPLICIT, iterations=9, steps=3, seed=1, should_stop=should_stop
    )
    assert iterations == [1, 2]
    assert [file.read_bytes() for file in stopped] == [file.read_bytes() for file in two_iterations]


def test_early_stopping_returns_the_iteration_with_the_best_lists(
    spark: SparkSession, matrix_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interactions = write_interactions(MATRIX, tmp_path / "interactions")
    training = TrainingData(spark, (interactions,), matrix_dir, NUM_USERS, NUM_TRACKS, None)
    sums: list[NDArray[np.float64]] = []

    def best_iterations(max_iterations: int, patience: int) -> int:
        into = tmp_path / f"{max_iterations}-{patience}"
        best = best_iteration_count(
            training,
            IMPLICIT,
            into,
            max_iterations=max_iterations,
            patience=patience,
            steps=3,
            seed=1,
            report=lambda *_: None,
        )
        assert not list(into.iterdir()), "temporary files remain"
        return best

    def record_sums(spark: SparkSession, work: Any, arguments: Any) -> list[Any]:
        results = run_tasks(spark, work, arguments)
        if getattr(work, "func", work).__name__ == "_sum_ndcg":
            sums.append(np.sum(results, axis=0))
        return results

    monkeypatch.setattr(early_stopping, "run_tasks", record_sums)
    best = best_iterations(6, 2)
    values = [ndcg_sum / users for ndcg_sum, users in sums]
    assert all(0 < value < 1 for value in values)
    assert best == int(np.argmax(values)) + 1
    assert len(values) == min(6, best + 2)
    assert {int(users) for _, users in sums} == {int(sums[0][1])}, "the number of users changes"
    assert best_iterations(1, 1) == 1


@pytest.mark.parametrize("steps", [0, 3])
def test_more_factors_than_users_and_tracks(spark: SparkSession, matrix_dir: Path, tmp_path: Path, steps: int) -> None:
    large = Objective(max(NUM_USERS, NUM_TRACKS) + 10, 0.5, 0.5, "binary", alpha=8.0)
    files = train(spark, matrix_dir, tmp_path, large, iterations=2, steps=steps, seed=1)
    assert all(np.isfinite(map_factors(file, large.width)).all() for file in files)


def test_rejects_a_rank_that_does_not_fit(spark: SparkSession, matrix_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    with pytest.raises(
        UserError, match=r"Factors of rank 1000000000000 for 115 users and tracks need .* lower the rank"
    ):
        train(
            spark, matrix_dir, tmp_path / "flat", Objective(10**12, 1.0, 0.0, "binary"), iterations=1, steps=3, seed=1
        )


COMMON = {
    "engine": "encore", "rank": 5, "max_iter": 3, "reg_param": 0.5, "reg_exponent": 0.5, "seed": 2, "patience": 0,
    "say_objective": False,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "als": {"value": "binary", "alpha": 8.0, "steps": 3},
    "als, logarithms": {"value": "log", "alpha": 8.0, "steps": 0},
    "als_explicit": {"biases": False, "steps": 0},
    "als_explicit with biases": {"biases": True, "steps": 0},
}


@pytest.mark.parametrize("name", MODELS)
def test_folding_in_a_user_gives_the_factors_of_training(
    spark: SparkSession, matrix_dir: Path, tmp_path: Path, name: str
) -> None:
    training = TrainingData(spark, (tmp_path,), matrix_dir, NUM_USERS, NUM_TRACKS, (1.0, 5.0))
    fit_model(name.split()[0].rstrip(","), training, COMMON | MODELS[name], tmp_path / "model")
    fold_in = FoldIn.open(tmp_path / "model", NUM_TRACKS)
    objective = Objective(**fold_in.objective)
    y, gram = fold_in.tracks, (fold_in.tracks.T @ fold_in.tracks).astype(np.float32)
    # The next half-iteration of training, with these track factors.
    expected = solve(
        sparse_rows(MATRIX),
        SideObjective(
            objective.feedback, np.float32(objective.alpha), objective.reg_param, objective.reg_exponent,
            np.float32(objective.mean), *((5, 6) if objective.biases else (-1, -1)),
        ),
        y, np.zeros((5, 5), np.float32) if objective.value == "rating" else gram,
        np.zeros((NUM_USERS, y.shape[1]), np.float32), 0, 0, NUM_USERS,
    )  # fmt: skip
    if objective.biases:
        expected[:, 5:] += (objective.mean, 1.0)
    for user in (0, 3, NUM_USERS - 1):
        factors = fold_in.user_factors(MATRIX[user].indices, MATRIX[user].data)
        np.testing.assert_allclose(factors, expected[user], atol=1e-4)


def test_rejects_folding_into_a_model_that_does_not_support_it(
    spark: SparkSession, matrix_dir: Path, tmp_path: Path
) -> None:
    fit_model(
        "popularity", TrainingData(spark, (tmp_path,), matrix_dir, NUM_USERS, NUM_TRACKS, None), {}, tmp_path / "model"
    )
    with pytest.raises(StoreError, match="cannot be folded into"):
        FoldIn.open(tmp_path / "model", NUM_TRACKS)
