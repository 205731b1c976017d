"""Trains and makes lists in a session of its own, on the master that is named: a program, for `test_cluster.py`.

python tests/support/cluster_job.py MASTER BLOCKS INTO [--kill]

With --kill, a task in the middle of an iteration kills the executor that it runs in, once. Prints how many half
iterations were done, and by how many workers.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.als import training
from spark.runtime.session import SessionOptions, close_session, open_session

OBJECTIVE = training.Objective(5, 0.5, 0.5, "binary", alpha=8.0)
TASK_COST = 300


def main(master: str, blocks: Path, into: Path, *options: str) -> None:
    """See above."""
    into.mkdir()
    training._TASK_COST = TASK_COST
    if options:
        _kill_one(into / "killed")
    seen = into / "workers"
    seen.mkdir()
    _note_workers(seen)
    spark = open_session(SessionOptions(master, log=into / "spark.log"))
    told: list[str] = []
    training.train(
        spark, blocks, into, OBJECTIVE, iterations=4, steps=3, seed=5, report=lambda text, _: told.append(text)
    )
    close_session()
    print(json.dumps({"halves": len(told), "workers": len(list(seen.iterdir())), "killed": (into / "killed").exists()}))


def _kill_one(mark: Path) -> None:
    """Makes the task that first finds no mark kill its executor, when it has written a half of its rows wrongly."""
    solve = training.solve_rows

    def solve_or_die(job: training.HalfIteration, task: tuple[int, int]) -> NDArray[np.float64]:
        # The third half-iteration, and not its first task.
        if job.side == "user" and job.own.name == "user-1" and task[0] > 0 and not mark.exists():
            mark.touch()
            training.write_at(job.result, 4 * job.objective.width * task[0], np.full(job.objective.width, np.nan, "f4"))
            os.kill(_executor(), signal.SIGKILL)
        return solve(job, task)

    training.solve_rows = solve_or_die


def _note_workers(seen: Path) -> None:
    """Makes each Python worker leave a file of its name."""
    solve = training.solve_rows

    def solve_and_note(job: training.HalfIteration, task: tuple[int, int]) -> NDArray[np.float64]:
        (seen / str(_executor())).touch()
        return solve(job, task)

    training.solve_rows = solve_and_note


def _executor() -> int:
    """The process of the executor that this Python worker belongs to: its parent is Spark's daemon, then Java."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:4]), *sys.argv[4:])
