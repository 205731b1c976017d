"""Early stop: how many iterations of implicit ALS are worth it, by lists for users of whom something is held back.

A fifth of what some users heard is held back, of twenty thousand at most; the rest is trained on until `ndcg@10` of
their lists has not improved for a while. Only then the training proper begins, on everything, for as many iterations as
were best. So nothing that an evaluation measures on is looked at, and it serves for the training on all data as well.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark.algorithms.als.training import Objective, factors, train
from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.training_data import ProgressReport, TrainingData
from spark.evaluation.ranking_metrics import find_hits, ndcg
from spark.lists.topk import top_k
from spark.runtime.worker_tasks import run_tasks
from spark.splitting.random_split import is_held_out
from spark.storage.interaction_matrix import (
    TRACK,
    USER,
    build_interaction_matrix,
    files_by_range,
    load_csr,
    read_merged,
)
from spark.storage.tables import Columns, write_atomically

_USERS = 20_000
_HELD_BACK = 0.2
_CUTOFF = 10


def best_iteration_count(
    training: TrainingData, objective: Objective, into: Path, *, most: int, patience: int, steps: int, seed: int,
    report: ProgressReport,
) -> int:  # fmt: skip
    """The number of iterations after which lists are best; `most` if nothing could be held back.

    Args:
        into: a directory that every worker can write; what is made there is removed again.
        patience: stops after so many iterations without a better one.
    """
    spark, watch = training.spark, into / "watch"
    (watch / "factors").mkdir(parents=True)
    files = _hold_back(training, watch, seed)
    build_interaction_matrix(spark, [watch / "learned"], training.num_users, training.num_tracks, watch / "matrix")
    found: list[float] = []

    def enough(done: int, users: Path, tracks: Path) -> bool:
        measure = partial(_ndcg, watch / "matrix", objective.width, users, tracks)
        sums = np.sum(run_tasks(spark, measure, files), axis=0)
        found.append(float(sums[0] / sums[1]) if sums[1] else float(done))
        report(f"looking how long to train: iteration {done} of {most}, ndcg@{_CUTOFF} {found[-1]:.4f}", done / most)
        return len(found) - 1 - int(np.argmax(found)) >= patience

    train(spark, watch / "matrix", watch / "factors", objective, iterations=most, steps=steps, seed=seed, enough=enough)
    shutil.rmtree(watch)
    return int(np.argmax(found)) + 1


def _hold_back(training: TrainingData, watch: Path, seed: int) -> list[Path]:
    """Writes what is learned and what is watched; returns the files of the latter."""
    every = -(-training.num_users // _USERS)
    for name in ("learned", "watched"):
        (watch / name).mkdir()

    def deal(files: tuple[Path, ...]) -> None:
        table = read_merged(files)
        users, tracks = (table[name].to_numpy().astype(np.uint64) for name in (Columns.USER, Columns.TRACK))
        chosen = (users % np.uint64(every) == 0) & is_held_out(users, tracks, _HELD_BACK, seed)
        for name, rows in (("learned", ~chosen), ("watched", chosen)):
            write_atomically(watch / name / files[0].name, partial(pq.write_table, table.filter(pa.array(rows))))

    run_tasks(training.spark, deal, files_by_range(training.interactions))
    return sorted((watch / "watched").glob("*.parquet"))


def _ndcg(blocks: Path, width: int, users: Path, tracks: Path, file: Path) -> np.ndarray:
    """The sum of the metric over the users of a file, and how many they are."""
    table = pq.read_table(file, columns=[Columns.USER, Columns.TRACK])
    watched, rows = np.unique(table[Columns.USER].to_numpy(), return_inverse=True)
    heard, listeners = load_csr(blocks, USER), np.diff(load_csr(blocks, TRACK).indptr)
    known = np.diff(heard.indptr) > 0
    scorer = FactorScorer(
        lambda first, last: (factors(users, width)[first:last], known[first:last]),
        np.array(factors(tracks, width)), listeners > 0, listeners.astype(np.float32),
    )  # fmt: skip
    lists = top_k(scorer, watched.astype(np.int32), heard, min(_CUTOFF, len(listeners)))
    hits, relevant = find_hits(
        lists.tracks, lists.taken, rows, table[Columns.TRACK].to_numpy(), len(listeners), _CUTOFF
    )
    return np.array([ndcg(hits, relevant, _CUTOFF).sum(), len(watched)])
