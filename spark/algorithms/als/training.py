"""Alternating least squares on Spark: each half-iteration is one job whose tasks solve blocks of rows.

How factors travel: each side is one flat float32 file below the model's directory, `rows × width`, which every worker
maps into memory. A task reads the rows of the other side that its entries name, and writes its own rows, at their
place, into a second file; when the job is over, that one counts. So a task that is repeated finds what it found
before, and nothing but Gram matrices (8 · rank² bytes a task) passes through the driver: no factor goes through the
JVM. In bytes an iteration: 4 · width · (users + tracks) are written once and, of what a worker's entries name, read
once by each worker process, from the page cache where workers share a machine, over the shared file system else.
"""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from common.errors import UserError
from spark.algorithms.factor_model import save_factors
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.runtime.memory import memory_limit
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, allocate_file, load_csr, memory_map, write_at

if TYPE_CHECKING:
    from spark.algorithms.als.kernel import Entries, Form

Factors = NDArray[np.float32]

_TASK_COST = 2_000_000
"""What a task has to do, about, in entries; a row costs as much as `_ROW_COST` entries besides its own."""

_ROW_COST = 16
_START_ROWS = 1 << 14
"""Rows whose first factors one random generator draws."""

_START = 0.1


@dataclass(frozen=True)
class Objective:
    """What is minimised; see `spark.algorithms.als.kernel`."""

    rank: int
    reg_param: float
    reg_exponent: float
    value: str
    """What makes the weight of a value: "binary", "linear", "log"; or "rating" for explicit feedback."""
    alpha: float = 0.0
    biases: bool = False
    """Whether users and tracks have one; explicit feedback only."""
    mean: float = 0.0
    """Of the ratings; what biases are relative to."""

    @property
    def kind(self) -> int:
        """The kernel's number for `value`."""
        return ("binary", "linear", "log", "rating").index(self.value)

    @property
    def width(self) -> int:
        """Columns of a factor file: with biases, the rank and two more. A user's row is factors, bias, 1; a track's
        is factors, 1, bias: so their product is the whole prediction."""
        return self.rank + (2 if self.biases else 0)


@dataclass(frozen=True)
class HalfIteration:
    """One half-iteration: what a task needs to know."""

    blocks: Path
    side: str
    objective: Objective
    own: Path
    """The side's factors of the iteration before."""
    result: Path
    """The side's factors that are being made."""
    other: Path
    gram: NDArray[np.float64]
    """Gram matrix of the other side."""
    steps: int

    @property
    def arguments(self) -> tuple[Entries, Form]:
        """What the kernel takes for the entries and the objective."""
        from spark.algorithms.als import kernel

        rows, wanted = load_csr(self.blocks, self.side), self.objective
        bias_of_user, bias_of_track = wanted.rank, wanted.rank + 1
        ones, minus = (bias_of_user, bias_of_track) if self.side == USER else (bias_of_track, bias_of_user)
        form = kernel.Form(
            wanted.kind, np.float32(wanted.alpha), wanted.reg_param, wanted.reg_exponent, np.float32(wanted.mean),
            *((ones, minus) if wanted.biases else (-1, -1)),
        )  # fmt: skip
        return kernel.Entries(rows.indptr, rows.indices, rows.data), form


def train_and_save(
    training: TrainingData, objective: Objective, settings: Mapping[str, Any], into: Path, report: ProgressReport
) -> None:
    """Trains, and saves an ordinary `ALSModel` at `into`. Settings: max_iter, steps, seed, say_objective."""
    flat = into / "flat"
    flat.mkdir(parents=True)
    users, tracks = train(
        training.spark, training.blocks, flat, objective,
        iterations=settings["max_iter"], steps=settings["steps"], seed=settings["seed"], report=report,
        say_objective=settings["say_objective"],
    )  # fmt: skip
    save_factors(training.spark, training.blocks, {USER: users, TRACK: tracks}, objective.width, into)
    shutil.rmtree(flat)


def train(
    spark: SparkSession,
    blocks: Path,
    into: Path,
    objective: Objective,
    *,
    iterations: int,
    steps: int,
    seed: int,
    report: ProgressReport = lambda text, fraction: None,
    say_objective: bool = False,
    enough: Enough | None = None,
) -> tuple[Path, Path]:
    """Trains; returns the files with the users' and the tracks' factors, rows by index.

    For a given seed the result is the same to 1e-5 whatever machine and number of workers, and the same bytes on one.

    Args:
        blocks: see `spark.storage.interaction_matrix`.
        into: a directory that every worker can write; the files will be in it.
        steps: of conjugate gradients in each half-iteration; 0 solves exactly.
        report: told after each half-iteration how far the training is.
        say_objective: tells `report` the objective's value after each iteration too, which costs a pass over the data.
        enough: asked after each iteration whether to end there.
    """
    plan = Plan(blocks, into, objective, iterations, steps, say_objective, enough)
    _refuse_too_large(plan)
    for file in (file for pair in plan.files.values() for file in pair):
        allocate_file(file, 4 * objective.width * plan.rows(file))
    watched = say_objective or enough is not None
    if not watched and all(len(tasks_of(load_csr(blocks, side))) == 1 for side in (USER, TRACK)):
        # A job for each half-iteration would take longer than the work.
        run_tasks(spark, lambda _: plan.carry_out(lambda work, tasks: list(map(work, tasks)), seed), [0])
    else:
        plan.carry_out(partial(run_tasks, spark), seed, report)
    users, tracks = (plan.files[side][0] for side in (USER, TRACK))
    return users, tracks


Task = tuple[int, int]
"""First row, and that after the last."""

ALSRun = Callable[[Callable[[Any], NDArray[np.float64]], Sequence[Any]], list[NDArray[np.float64]]]
"""Applies work to each of some tasks, somewhere."""

Enough = Callable[[int, Path, Path], bool]
"""Given the number of iterations done, and the files with the users' and the tracks' factors."""


@dataclass(frozen=True)
class Plan:
    """A training, whoever carries it out. The first of a side's two files ends up with its factors."""

    blocks: Path
    into: Path
    objective: Objective
    iterations: int
    steps: int
    say_objective: bool = False
    enough: Enough | None = None

    @property
    def files(self) -> dict[str, tuple[Path, Path]]:
        """The files of each side, which take turns."""
        return {side: (self.into / f"{side}-0", self.into / f"{side}-1") for side in (USER, TRACK)}

    def rows(self, file: Path) -> int:
        """How many rows a file has."""
        return len(load_csr(self.blocks, file.name.partition("-")[0]))

    def carry_out(self, run: ALSRun, seed: int, report: ProgressReport = lambda text, fraction: None) -> None:
        """Trains."""
        files = {side: list(pair) for side, pair in self.files.items()}
        grams = {TRACK: self._start(run, seed)}
        for half in range(2 * self.iterations):
            side, other = (USER, TRACK) if half % 2 == 0 else (TRACK, USER)
            grams[side] = self._half(run, solve_rows, side, other, files, grams)
            files[side].reverse()
            done = half // 2 + 1
            said = f"iteration {done} of {self.iterations}"
            if side == TRACK and self.say_objective:
                said += f", objective {self._value(run, files, grams):.6g}"
            report(said, (half + 1) / (2 * self.iterations))
            if side == TRACK and self.enough is not None and self.enough(done, files[USER][0], files[TRACK][0]):
                break
        if self.objective.biases:
            users, width = files[USER][0], self.objective.width
            own = np.memmap(users, np.float32, "r+", shape=(self.rows(users), width))
            own[:, self.objective.rank] += np.float32(self.objective.mean)
            own.flush()
        for side, (last, before) in files.items():
            before.unlink()
            last.rename(self.files[side][0])

    def _value(self, run: ALSRun, files: dict[str, list[Path]], grams: dict[str, NDArray[np.float64]]) -> float:
        """What the objective is at the moment."""
        total = 0.0 if self.objective.value == "rating" else float(np.sum(grams[USER] * grams[TRACK]))
        return total + sum(
            float(self._half(run, cost, *sides, files, grams)) for sides in ((USER, TRACK), (TRACK, USER))
        )

    def _half(
        self,
        run: ALSRun,
        work: Callable[[HalfIteration, Task], NDArray[np.float64]],
        side: str,
        other: str,
        files: dict[str, list[Path]],
        grams: dict[str, NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """The sum of what work finds in each task of one side."""
        own, result = files[side]
        job = HalfIteration(self.blocks, side, self.objective, own, result, files[other][0], grams[other], self.steps)
        found: NDArray[np.float64] = np.sum(run(partial(work, job), tasks_of(load_csr(self.blocks, side))), axis=0)
        return found

    def _start(self, run: ALSRun, seed: int) -> NDArray[np.float64]:
        """Draws the tracks' first factors; those of the users come of them. Returns the Gram matrix."""
        tracks = self.files[TRACK][0]
        edges = [*range(0, self.rows(tracks), _START_ROWS), self.rows(tracks)]
        total: NDArray[np.float64] = np.sum(
            run(partial(_draw, tracks, self.objective, seed), list(itertools.pairwise(edges))), axis=0
        )
        return total


def _refuse_too_large(plan: Plan) -> None:
    """Refuses factors that do not fit where they have to: both files of each side on the disk, the sides in memory."""
    width, rows = plan.objective.width, sum(len(load_csr(plan.blocks, side)) for side in (USER, TRACK))
    wanted = 4 * width * rows
    disk = shutil.disk_usage(plan.into)
    free = disk.free if disk.total else sys.maxsize  # some file systems do not say
    places = ((2 * wanted, free, f"free below {plan.into}"), (wanted, memory_limit(), "of memory here"))
    for needed, there, what in places:
        if needed > there:
            raise UserError(
                f"Factors of rank {plan.objective.rank} for {rows:,} users and tracks take {needed:,} bytes, "
                f"and {there:,} are {what}: bring more, or lower the rank."
            )


def tasks_of(rows: CSRMatrix) -> list[Task]:
    """Tasks with equally much work each. It depends on the data alone."""
    cost = rows.indptr + _ROW_COST * np.arange(len(rows.indptr))
    count = max(1, round(int(cost[-1]) / _TASK_COST))
    cuts = np.searchsorted(cost, np.linspace(0, int(cost[-1]), count + 1)[1:-1])
    return list(itertools.pairwise(sorted({0, *cuts.tolist(), len(rows)})))


def solve_rows(job: HalfIteration, task: Task) -> NDArray[np.float64]:
    """Solves a task's rows and writes them; returns their Gram matrix."""
    from spark.algorithms.als.kernel import solve

    (first, last), wanted = task, job.objective
    own, other = (factors(file, wanted.width) for file in (job.own, job.other))
    explicit = wanted.value == "rating"
    nothing = np.zeros((wanted.rank, wanted.rank))
    gram = nothing if explicit else job.gram
    entries, form = job.arguments
    solved = solve(entries, form, other, gram.astype(np.float32), own, job.steps, first, last)
    if wanted.biases:
        solved[:, form.minus] = 1.0
    write_at(job.result, 4 * wanted.width * first, solved)
    return nothing if explicit else gram_of(solved)


def cost(job: HalfIteration, task: Task) -> NDArray[np.float64]:
    """What a task's rows add to the objective, and, if they are users, their entries; shape ()."""
    from spark.algorithms.als.kernel import squared_error

    (first, last), wanted = task, job.objective
    own, other = (factors(file, wanted.width) for file in (job.own, job.other))
    entries, form = job.arguments
    counts = np.diff(entries.starts[first : last + 1])
    free = own[first:last, [*range(wanted.rank), *([form.ones] if wanted.biases else [])]].astype(np.float64)
    known = counts > 0
    penalty = wanted.reg_param * (counts[known] ** wanted.reg_exponent @ (free[known] ** 2).sum(axis=1))
    return np.array(
        penalty + (squared_error(entries, form, other, own, wanted.rank, first, last) if job.side == USER else 0)
    )


def gram_of(rows: Factors) -> NDArray[np.float64]:
    """The sum of the rows' outer products with themselves, in double precision every few thousand rows."""
    pieces = (rows[start : start + 4096] for start in range(0, len(rows), 4096))
    total: NDArray[np.float64] = sum(
        ((piece.T @ piece).astype(np.float64) for piece in pieces), np.zeros((rows.shape[1],) * 2)
    )
    return total


def factors(file: Path, width: int) -> Factors:
    """A file of factors, mapped into memory, one row an index."""
    return memory_map(file, np.float32).reshape(-1, width)


def _draw(file: Path, objective: Objective, seed: int, task: Task) -> NDArray[np.float64]:
    """Draws the first factors of some rows and writes them; returns their Gram matrix."""
    first, last = task
    rng = np.random.default_rng([seed, first // _START_ROWS])
    drawn = np.zeros((last - first, objective.width), np.float32)
    drawn[:, : objective.rank] = rng.standard_normal((last - first, objective.rank), np.float32)
    drawn *= np.float32(_START / objective.rank**0.5)
    if objective.biases:
        drawn[:, objective.rank] = 1.0
    write_at(file, 4 * objective.width * first, drawn)
    return gram_of(drawn[:, : objective.rank])
