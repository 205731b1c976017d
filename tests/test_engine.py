"""The engine: blocks against scipy, solving against the normal equations, training in any tasks, taking users in."""

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
def blocks(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The blocks of `MATRIX`."""
    directory = tmp_path_factory.mktemp("blocks")
    build_interaction_matrix(
        spark, [write_interactions(MATRIX, directory / "interactions")], *MATRIX.shape, directory / "matrix"
    )
    return directory / "matrix"


def test_blocks_are_the_compressed_rows_of_the_matrix_and_of_its_transpose(blocks: Path) -> None:
    transposed = MATRIX.T.tocsr()
    transposed.sort_indices()
    for side, expected in ((USER, MATRIX), (TRACK, transposed)):
        found = load_csr(blocks, side)
        np.testing.assert_array_equal(found.indptr, expected.indptr)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.data, expected.data)
    assert not list(blocks.glob("segments"))


def assert_same_files(found: Path, expected: Path) -> None:
    """That a directory has the files of another, to the byte."""
    names, others = (
        sorted(file.relative_to(directory) for file in directory.rglob("*") if file.is_file())
        for directory in (found, expected)
    )
    assert names == others
    assert all((found / name).read_bytes() == (expected / name).read_bytes() for name in names)


def test_blocks_do_not_depend_on_the_files(spark: SparkSession, blocks: Path, tmp_path: Path) -> None:
    build_interaction_matrix(
        spark, [write_interactions(MATRIX, tmp_path / "one", files=1)], *MATRIX.shape, tmp_path / "matrix"
    )
    assert_same_files(tmp_path / "matrix", blocks)


def halves(directory: Path) -> tuple[Path, ...]:
    """The interactions of `MATRIX`, dealt at random to two directories."""
    directory.mkdir()
    mine = MATRIX.copy()
    mine.data = np.where(np.random.default_rng(4).random(MATRIX.nnz) < 0.6, MATRIX.data, 0).astype(np.float32)
    others = (MATRIX - mine).tocsr()
    mine.eliminate_zeros()
    assert mine.nnz
    assert others.nnz
    return write_interactions(mine, directory / "mine"), write_interactions(others, directory / "others")


def test_interactions_of_two_directories_are_merged(spark: SparkSession, blocks: Path, tmp_path: Path) -> None:
    build_interaction_matrix(spark, halves(tmp_path / "halves"), *MATRIX.shape, tmp_path / "matrix")
    assert_same_files(tmp_path / "matrix", blocks)


def test_early_stop_does_not_depend_on_the_directories(spark: SparkSession, blocks: Path, tmp_path: Path) -> None:
    held_back = []
    for name, interactions in (
        ("one", (write_interactions(MATRIX, tmp_path / "whole"),)),
        ("two", halves(tmp_path / "halves")),
    ):
        learned = TrainingData(spark, interactions, blocks, NUM_USERS, NUM_TRACKS, None)
        assert learned.dataframe.count() == MATRIX.nnz
        assert learned.dataframe.columns == ["user", "track", "value"]
        (tmp_path / name).mkdir()
        files = early_stopping._hold_out(learned, tmp_path / name, seed=1)
        assert len(files) == 3
        held_back.append([pq.read_table(file) for file in (*files, *sorted((tmp_path / name / "training").iterdir()))])
    assert held_back[0] == held_back[1]


def test_values_that_are_not_finite_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    matrix = MATRIX.copy()
    matrix.data[5] = np.inf
    with pytest.raises(Exception, match="not finite in single precision"):
        build_interaction_matrix(
            spark, [write_interactions(matrix, tmp_path / "bad")], *MATRIX.shape, tmp_path / "matrix"
        )


def by_normal_equations(
    matrix: sparse.csr_matrix, y: NDArray[Any], kind: int, alpha: float, reg: float, exponent: float
) -> NDArray[np.float64]:
    """The minimum of each row's objective, the definition word for word, in double precision."""
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


def entries_of(matrix: sparse.csr_matrix) -> SparseRows:
    """As the kernel takes them."""
    return SparseRows(matrix.indptr.astype(np.int64), matrix.indices, matrix.data)


def solved_by_kernel(
    matrix: sparse.csr_matrix, y: NDArray[np.float32], kind: int, alpha: float, reg: float, exponent: float, steps: int
) -> NDArray[np.float32]:
    """What the kernel makes of it, from zeros."""
    gram = np.zeros((y.shape[1],) * 2, np.float32) if kind == EXPLICIT else y.T @ y
    own = np.zeros((matrix.shape[0], y.shape[1]), np.float32)
    found: NDArray[np.float32] = solve(
        entries_of(matrix), SideObjective(kind, np.float32(alpha), reg, exponent, np.float32(0), -1, -1),
        y, gram, own, steps, 0, matrix.shape[0],
    )  # fmt: skip
    return found


@pytest.mark.parametrize("steps", [0, 40], ids=["exactly", "conjugate gradients"])
@pytest.mark.parametrize("kind", [BINARY, LINEAR, LOG, EXPLICIT], ids=["binary", "linear", "log", "explicit"])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_a_row_solves_the_normal_equations(kind: int, steps: int, exponent: float) -> None:
    y = np.random.default_rng(8).standard_normal((NUM_TRACKS, 6)).astype(np.float32)
    expected = by_normal_equations(MATRIX, y, kind, 4.0, 0.3, exponent)
    found = solved_by_kernel(MATRIX, y, kind, 4.0, 0.3, exponent, steps)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("kind", [BINARY, EXPLICIT], ids=["implicit", "explicit"])
def test_a_row_with_more_entries_than_a_batch_is_solved_as_well(kind: int) -> None:
    many = BATCH_ENTRIES + 900
    rng = np.random.default_rng(8)
    matrix = sparse.csr_matrix(rng.integers(1, 6, size=(2, many)).astype(np.float32))
    y = rng.standard_normal((many, 4)).astype(np.float32)
    expected = by_normal_equations(matrix, y, kind, 4.0, 0.3, 1.0)
    np.testing.assert_allclose(solved_by_kernel(matrix, y, kind, 4.0, 0.3, 1.0, 30), expected, atol=1e-3)


IMPLICIT = Objective(5, 0.5, 0.5, "binary", alpha=8.0)
BIASED = Objective(4, 0.1, 1.0, "rating", biases=True, mean=3.0)


def trained(
    spark: SparkSession, blocks: Path, into: Path, objective: Objective, steps: int = 3, seed: int = 5
) -> list[NDArray[np.float32]]:
    """The factors of both sides."""
    into.mkdir()
    files = train(spark, blocks, into, objective, iterations=4, steps=steps, seed=seed)
    return [np.array(map_factors(file, objective.width)) for file in files]


@pytest.mark.parametrize("objective", [IMPLICIT, BIASED], ids=["implicit", "biased"])
def test_the_result_does_not_depend_on_the_number_of_tasks(
    spark: SparkSession, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Objective
) -> None:
    whole = trained(spark, blocks, tmp_path / "whole", objective)
    monkeypatch.setattr(half_iteration, "_COST_PER_TASK", 300)
    told: list[tuple[str, float]] = []
    (tmp_path / "cut").mkdir()
    assert len(balanced_ranges(load_csr(blocks, USER))) > 4
    files = train(
        spark, blocks, tmp_path / "cut", objective, iterations=4, steps=3, seed=5,
        report=lambda *state: told.append(state),
    )  # fmt: skip
    for one, file in zip(whole, files, strict=True):
        np.testing.assert_allclose(map_factors(file, objective.width), one, atol=1e-5)
    assert (told[0], told[-1]) == (("iteration 1 of 4", 0.125), ("iteration 4 of 4", 1.0))
    again = trained(spark, blocks, tmp_path / "again", objective)
    for one, file in zip(again, files, strict=True):
        assert one.tobytes() == map_factors(file, objective.width).tobytes()
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["track-0", "user-0"]


def loss(objective: Objective, x: NDArray[Any], y: NDArray[Any]) -> float:
    """The objective by its definition, every cell of the matrix written out, in double precision."""
    heard, rank = MATRIX.toarray() > 0, objective.rank
    if objective.value == "rating":
        confidence, wanted, scores = heard, MATRIX.toarray(), x @ y.T
        x = np.column_stack([x[:, :rank], x[:, rank] - objective.mean])
        y = np.column_stack([y[:, :rank], y[:, rank + 1]])
    else:
        confidence, wanted, scores = np.where(heard, 1 + objective.alpha, 1.0), heard, x @ y.T
    scales = [heard.sum(axis=axis)[:, None] ** objective.reg_exponent for axis in (1, 0)]
    known = [heard.any(axis=axis)[:, None] for axis in (1, 0)]
    sides = zip(scales, known, (x, y), strict=True)
    penalty = sum(float((np.where(exists, scale * side**2, 0)).sum()) for scale, exists, side in sides)
    return float((confidence * (wanted - scores) ** 2).sum() + objective.reg_param * penalty)


@pytest.mark.parametrize("objective", [IMPLICIT, BIASED], ids=["implicit", "biased"])
def test_training_lowers_the_objective_and_tells_it(
    spark: SparkSession, blocks: Path, tmp_path: Path, objective: Objective
) -> None:
    told: list[str] = []
    files = train(
        spark, blocks, tmp_path, objective, iterations=4, steps=3, seed=1, report_objective=True,
        report=lambda text, _: told.append(text),
    )  # fmt: skip
    values = [float(text.partition("objective ")[2]) for text in told[1::2]]
    assert values == sorted(values, reverse=True)
    assert told[0] == "iteration 1 of 4"
    expected = loss(objective, *(map_factors(file, objective.width).astype(np.float64) for file in files))
    assert values[-1] == pytest.approx(expected, rel=1e-5)


def test_training_ends_when_it_is_enough(spark: SparkSession, blocks: Path, tmp_path: Path) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(spark, blocks, tmp_path / "whole", IMPLICIT, iterations=2, steps=3, seed=1)
    asked: list[int] = []

    def enough(done: int, users: Path, tracks: Path) -> bool:
        asked.append(done)
        assert all(np.isfinite(map_factors(file, IMPLICIT.width)).all() for file in (users, tracks))
        return done == 2

    stopped = train(spark, blocks, tmp_path / "stopped", IMPLICIT, iterations=9, steps=3, seed=1, should_stop=enough)
    assert asked == [1, 2]
    assert [file.read_bytes() for file in stopped] == [file.read_bytes() for file in whole]


def test_training_lasts_as_long_as_lists_get_better(
    spark: SparkSession, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interactions = write_interactions(MATRIX, tmp_path / "interactions")
    learned = TrainingData(spark, (interactions,), blocks, NUM_USERS, NUM_TRACKS, None)
    sums: list[NDArray[np.float64]] = []

    def ask(most: int, patience: int) -> int:
        into = tmp_path / f"{most}-{patience}"
        found = best_iteration_count(
            learned, IMPLICIT, into, most=most, patience=patience, steps=3, seed=1, report=lambda *_: None
        )
        assert not list(into.iterdir()), "what is only for watching goes"
        return found

    def measured(spark: SparkSession, work: Any, pieces: Any) -> list[Any]:
        found = run_tasks(spark, work, pieces)
        if getattr(work, "func", work).__name__ == "_sum_ndcg":
            sums.append(np.sum(found, axis=0))
        return found

    monkeypatch.setattr(early_stopping, "run_tasks", measured)
    best = ask(6, 2)
    values = [each[0] / each[1] for each in sums]
    assert all(0 < value < 1 for value in values)
    assert best == int(np.argmax(values)) + 1
    assert len(values) == min(6, best + 2)
    assert {int(each[1]) for each in sums} == {int(sums[0][1])}, "always the same users"
    assert ask(1, 1) == 1


@pytest.mark.parametrize("steps", [0, 3])
def test_more_factors_than_users_and_tracks(spark: SparkSession, blocks: Path, tmp_path: Path, steps: int) -> None:
    many = Objective(max(NUM_USERS, NUM_TRACKS) + 10, 0.5, 0.5, "binary", alpha=8.0)
    files = train(spark, blocks, tmp_path, many, iterations=2, steps=steps, seed=1)
    assert all(np.isfinite(map_factors(file, many.width)).all() for file in files)


def test_factors_that_do_not_fit_are_refused(spark: SparkSession, blocks: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    with pytest.raises(
        UserError, match=r"Factors of rank 1000000000000 for 115 users and tracks need .* lower the rank"
    ):
        train(spark, blocks, tmp_path / "flat", Objective(10**12, 1.0, 0.0, "binary"), iterations=1, steps=3, seed=1)


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
def test_a_user_who_is_taken_in_gets_what_training_gives(
    spark: SparkSession, blocks: Path, tmp_path: Path, name: str
) -> None:
    learned = TrainingData(spark, (tmp_path,), blocks, NUM_USERS, NUM_TRACKS, (1.0, 5.0))
    fit_model(name.split()[0].rstrip(","), learned, COMMON | MODELS[name], tmp_path / "model")
    taken_in = FoldIn.open(tmp_path / "model", NUM_TRACKS)
    wanted = Objective(**taken_in.objective)
    y, gram = taken_in.tracks, (taken_in.tracks.T @ taken_in.tracks).astype(np.float32)
    # The next half-iteration of the training, tracks as they are.
    expected = solve(
        entries_of(MATRIX),
        SideObjective(
            wanted.feedback, np.float32(wanted.alpha), wanted.reg_param, wanted.reg_exponent, np.float32(wanted.mean),
            *((5, 6) if wanted.biases else (-1, -1)),
        ),
        y, np.zeros((5, 5), np.float32) if wanted.value == "rating" else gram,
        np.zeros((NUM_USERS, y.shape[1]), np.float32), 0, 0, NUM_USERS,
    )  # fmt: skip
    if wanted.biases:
        expected[:, 5:] += (wanted.mean, 1.0)
    for user in (0, 3, NUM_USERS - 1):
        found = taken_in.user_factors(MATRIX[user].indices, MATRIX[user].data)
        np.testing.assert_allclose(found, expected[user], atol=1e-4)


def test_a_model_that_takes_no_users_in_says_so(spark: SparkSession, blocks: Path, tmp_path: Path) -> None:
    fit_model(
        "popularity", TrainingData(spark, (tmp_path,), blocks, NUM_USERS, NUM_TRACKS, None), {}, tmp_path / "model"
    )
    with pytest.raises(StoreError, match="cannot be folded into"):
        FoldIn.open(tmp_path / "model", NUM_TRACKS)
