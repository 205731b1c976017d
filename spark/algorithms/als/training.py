"""Alternating least squares on Spark: a job per half-iteration.

Cost per iteration, in bytes: 4 · width · (users + tracks) are written once. Each worker process reads the rows that its
entries refer to: from the page cache if the workers share a machine, otherwise from the shared file system.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from common.errors import UserError
from spark.algorithms.als.half_iteration import (
    HalfIteration,
    Objective,
    RowRange,
    balanced_ranges,
    draw_factors,
    generator_ranges,
    objective_of_rows,
    solve_rows,
)
from spark.algorithms.factor_model import save_factors
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.runtime.memory import memory_limit
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, allocate_file, load_csr

MapTasks = Callable[[Callable[[RowRange], NDArray[np.float64]], Sequence[RowRange]], list[NDArray[np.float64]]]
"""Applies a function to each range of rows: in Spark tasks, or in this process."""

StopCondition = Callable[[int, Path, Path], bool]
"""Takes the number of finished iterations and the factor files of users and tracks; True ends the training."""

_RowFunction = Callable[[HalfIteration, RowRange], NDArray[np.float64]]


def train_and_save(
    training: TrainingData, objective: Objective, settings: Mapping[str, Any], into: Path, report: ProgressReport
) -> None:
    """Train and save an `ALSModel` at `into`. Settings: max_iter, steps, seed, say_objective."""
    flat = into / "flat"
    flat.mkdir(parents=True)
    users, tracks = train(
        training.spark, training.matrix, flat, objective,
        iterations=settings["max_iter"], steps=settings["steps"], seed=settings["seed"], report=report,
        report_objective=settings["say_objective"],
    )  # fmt: skip
    save_factors(training.spark, training.matrix, {USER: users, TRACK: tracks}, objective.width, into)
    shutil.rmtree(flat)


def train(
    spark: SparkSession,
    matrix: Path,
    into: Path,
    objective: Objective,
    *,
    iterations: int,
    steps: int,
    seed: int,
    report: ProgressReport = lambda text, fraction: None,
    report_objective: bool = False,
    should_stop: StopCondition | None = None,
) -> tuple[Path, Path]:
    """Train, and return the factor files of users and tracks, rows in index order.

    With the same seed, results agree to 1e-5 on any machine with any number of workers; on one machine they are equal.

    Args:
        matrix: see `spark.storage.interaction_matrix`.
        into: a directory on a file system that every worker can write to, for the factor files.
        steps: conjugate gradient steps per half-iteration; 0 solves exactly.
        report: called after each half-iteration.
        report_objective: whether to report the objective after each iteration, which costs a pass over the data.
        should_stop: called after each iteration.

    Raises:
        UserError: the factors do not fit into memory or on the disk.
    """
    run = _ALSRun(matrix, into, objective, iterations, steps, report_objective, should_stop)
    _check_size(run)
    for file in (file for pair in run.files.values() for file in pair):
        allocate_file(file, 4 * objective.width * run.count_rows(file))
    needs_driver = report_objective or should_stop is not None
    if not needs_driver and all(len(balanced_ranges(load_csr(matrix, side))) == 1 for side in (USER, TRACK)):
        # The whole training fits into one task; jobs for its half-iterations would take longer than the work.
        run_tasks(spark, lambda _: run.execute(lambda work, ranges: list(map(work, ranges)), seed), [0])
    else:
        run.execute(partial(run_tasks, spark), seed, report)
    users, tracks = (run.files[side][0] for side in (USER, TRACK))
    return users, tracks


@dataclass(frozen=True)
class _ALSRun:
    """A training run, independent of where its tasks run."""

    matrix: Path
    into: Path
    objective: Objective
    iterations: int
    steps: int
    report_objective: bool = False
    should_stop: StopCondition | None = None

    @property
    def files(self) -> dict[str, tuple[Path, Path]]:
        """The two factor files of each side, which alternate; the first one holds the result."""
        return {side: (self.into / f"{side}-0", self.into / f"{side}-1") for side in (USER, TRACK)}

    def count_rows(self, file: Path) -> int:
        """Number of rows of a factor file."""
        return len(load_csr(self.matrix, file.name.partition("-")[0]))

    def execute(self, map_tasks: MapTasks, seed: int, report: ProgressReport = lambda text, fraction: None) -> None:
        """Run all iterations, users first."""
        files = {side: list(pair) for side, pair in self.files.items()}
        grams = {TRACK: self._initialize_tracks(map_tasks, seed)}
        for half in range(2 * self.iterations):
            side, other = (USER, TRACK) if half % 2 == 0 else (TRACK, USER)
            grams[side] = self._sum_over_rows(map_tasks, solve_rows, side, other, files, grams)
            files[side].reverse()
            iteration = half // 2 + 1
            message = f"iteration {iteration} of {self.iterations}"
            if side == TRACK and self.report_objective:
                message += f", objective {self._objective_value(map_tasks, files, grams):.6g}"
            report(message, (half + 1) / (2 * self.iterations))
            if side == TRACK and self.should_stop and self.should_stop(iteration, files[USER][0], files[TRACK][0]):
                break
        self._add_mean(files[USER][0])
        for side, (result, spare) in files.items():
            spare.unlink()
            result.rename(self.files[side][0])

    def _initialize_tracks(self, map_tasks: MapTasks, seed: int) -> NDArray[np.float64]:
        """Draw the initial track factors; return their Gram matrix. The user factors follow from them."""
        file = self.files[TRACK][0]
        grams = map_tasks(partial(draw_factors, file, self.objective, seed), generator_ranges(self.count_rows(file)))
        total: NDArray[np.float64] = np.sum(grams, axis=0)
        return total

    def _sum_over_rows(
        self,
        map_tasks: MapTasks,
        work: _RowFunction,
        side: str,
        other: str,
        files: dict[str, list[Path]],
        grams: dict[str, NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Apply a function to all rows of a side; return the sum of its results."""
        own, result = files[side]
        job = HalfIteration(self.matrix, side, self.objective, own, result, files[other][0], grams[other], self.steps)
        results = map_tasks(partial(work, job), balanced_ranges(load_csr(self.matrix, side)))
        total: NDArray[np.float64] = np.sum(results, axis=0)
        return total

    def _objective_value(
        self, map_tasks: MapTasks, files: dict[str, list[Path]], grams: dict[str, NDArray[np.float64]]
    ) -> float:
        value = 0.0 if self.objective.value == "rating" else float(np.sum(grams[USER] * grams[TRACK]))
        for sides in ((USER, TRACK), (TRACK, USER)):
            value += float(self._sum_over_rows(map_tasks, objective_of_rows, *sides, files, grams))
        return value

    def _add_mean(self, users: Path) -> None:
        """Add the mean rating to the user biases, so that inner products are predictions."""
        if self.objective.biases:
            factors = np.memmap(users, np.float32, "r+", shape=(self.count_rows(users), self.objective.width))
            factors[:, self.objective.rank] += np.float32(self.objective.mean)
            factors.flush()


def _check_size(run: _ALSRun) -> None:
    """Check that both files of each side fit on the disk, and one of each into memory."""
    rank, rows = run.objective.rank, sum(len(load_csr(run.matrix, side)) for side in (USER, TRACK))
    size = 4 * run.objective.width * rows
    disk = shutil.disk_usage(run.into)
    free = disk.free if disk.total else sys.maxsize  # some file systems do not report their size
    for needed, available, place in ((2 * size, free, f"free in {run.into}"), (size, memory_limit(), "of memory")):
        if needed > available:
            raise UserError(
                f"Factors of rank {rank} for {rows:,} users and tracks need {needed:,} bytes, but there are only "
                f"{available:,} bytes {place}: lower the rank, or provide more."
            )
