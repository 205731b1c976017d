"""Train and make lists on a given Spark master: the program that `test_cluster.py` runs.

python tests/support/cluster_job.py MASTER MATRIX INTO [--kill]

With --kill, a task in the middle of an iteration kills its executor, once. Prints the number of half-iterations and of
workers.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from spark.algorithms.als import half_iteration, training
from spark.algorithms.als.half_iteration import HalfIteration, Objective
from spark.runtime.session import SessionOptions, close_session, open_session

OBJECTIVE = Objective(5, 0.5, 0.5, "binary", alpha=8.0)
TASK_COST = 300


def main(master: str, matrix: Path, into: Path, *options: str) -> None:
    """Run the job; see the module docstring."""
    into.mkdir()
    half_iteration._COST_PER_TASK = TASK_COST
    if options:
        _kill_one(into / "killed")
    seen = into / "workers"
    seen.mkdir()
    _note_workers(seen)
    spark = open_session(SessionOptions(master, log=into / "spark.log"))
    reports: list[str] = []
    training.train(
        spark, matrix, into, OBJECTIVE, iterations=4, steps=3, seed=5, report=lambda text, _: reports.append(text)
    )
    close_session()
    print(
        json.dumps({"halves": len(reports), "workers": len(list(seen.iterdir())), "killed": (into / "killed").exists()})
    )


def _kill_one(mark: Path) -> None:
    """Make one task write NaN to a part of its rows and kill its executor; `mark` records that it has."""
    solve = training.solve_rows

    def solve_or_die(job: HalfIteration, task: tuple[int, int]) -> NDArray[np.float64]:
        # The third half-iteration, and not its first task.
        if job.side == "user" and job.own.name == "user-1" and task[0] > 0 and not mark.exists():
            mark.touch()
            half_iteration.write_at(
                job.result, 4 * job.objective.width * task[0], np.full(job.objective.width, np.nan, "f4")
            )
            os.kill(_executor(), signal.SIGKILL)
        return solve(job, task)

    training.solve_rows = solve_or_die


def _note_workers(seen: Path) -> None:
    """Make each Python worker create a file that is named after its executor's process id."""
    solve = training.solve_rows

    def solve_and_note(job: HalfIteration, task: tuple[int, int]) -> NDArray[np.float64]:
        (seen / str(_executor())).touch()
        return solve(job, task)

    training.solve_rows = solve_and_note


def _executor() -> int:
    """Return the process id of this Python worker's executor: the parent of Spark's daemon, a Java process."""
    return psutil.Process(os.getppid()).ppid()


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:4]), *sys.argv[4:])
