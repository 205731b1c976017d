"""Early stopping: the number of iterations of implicit ALS with the best lists on held-out interactions.

A fifth of the interactions of up to 20,000 users is held out. ALS trains on the rest until the NDCG@10 of these users'
lists has not improved for a number of iterations. The model itself is then trained on all data, for the best number of
iterations. No evaluation data is used, so this also works when training on all interactions.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark.algorithms.als.half_iteration import Objective, map_factors
from spark.algorithms.als.training import train
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

_MAX_USERS = 20_000
_HELD_OUT_FRACTION = 0.2
_CUTOFF = 10


def best_iteration_count(
    training: TrainingData,
    objective: Objective,
    into: Path,
    *,
    max_iterations: int,
    patience: int,
    steps: int,
    seed: int,
    report: ProgressReport,
) -> int:
    """Return the number of iterations with the best lists, from 1 to `max_iterations`.

    If nothing can be held out, return `max_iterations`.

    Args:
        into: a directory on a file system that every worker can write to; it is left empty.
        patience: stop after this many iterations without improvement.
    """
    spark, scratch = training.spark, into / "early-stopping"
    (scratch / "factors").mkdir(parents=True)
    held_out = _hold_out(training, scratch, seed)
    matrix = scratch / "matrix"
    build_interaction_matrix(spark, [scratch / "training"], training.num_users, training.num_tracks, matrix)
    scores: list[float] = []

    def should_stop(iteration: int, users: Path, tracks: Path) -> bool:
        sums = np.sum(run_tasks(spark, partial(_sum_ndcg, matrix, objective.width, users, tracks), held_out), axis=0)
        # Without held-out interactions, the score is the iteration: more iterations count as better.
        scores.append(float(sums[0] / sums[1]) if sums[1] else float(iteration))
        report(
            f"early stopping: iteration {iteration} of {max_iterations}, ndcg@{_CUTOFF} {scores[-1]:.4f}",
            iteration / max_iterations,
        )
        return len(scores) - 1 - int(np.argmax(scores)) >= patience

    train(
        spark,
        matrix,
        scratch / "factors",
        objective,
        iterations=max_iterations,
        steps=steps,
        seed=seed,
        should_stop=should_stop,
    )
    shutil.rmtree(scratch)
    return int(np.argmax(scores)) + 1


def _hold_out(training: TrainingData, scratch: Path, seed: int) -> list[Path]:
    """Split the interactions into `training` and `held-out`; return the files of the latter."""
    step = -(-training.num_users // _MAX_USERS)
    for part in ("training", "held-out"):
        (scratch / part).mkdir()

    def split(files: tuple[Path, ...]) -> None:
        table = read_merged(files)
        users, tracks = (table[name].to_numpy().astype(np.uint64) for name in (Columns.USER, Columns.TRACK))
        held_out = (users % np.uint64(step) == 0) & is_held_out(users, tracks, _HELD_OUT_FRACTION, seed)
        for part, rows in (("training", ~held_out), ("held-out", held_out)):
            write_atomically(scratch / part / files[0].name, partial(pq.write_table, table.filter(pa.array(rows))))

    run_tasks(training.spark, split, files_by_range(training.interactions))
    return sorted((scratch / "held-out").glob("*.parquet"))


def _sum_ndcg(matrix: Path, width: int, users: Path, tracks: Path, file: Path) -> NDArray[np.float64]:
    """Return the sum of NDCG over the users of a file of held-out interactions, and the number of these users."""
    table = pq.read_table(file, columns=[Columns.USER, Columns.TRACK])
    held_out_users, rows = np.unique(table[Columns.USER].to_numpy(), return_inverse=True)
    history, listeners = load_csr(matrix, USER), np.diff(load_csr(matrix, TRACK).indptr)
    known = np.diff(history.indptr) > 0
    scorer = FactorScorer(
        lambda first, last: (map_factors(users, width)[first:last], known[first:last]),
        np.array(map_factors(tracks, width)), listeners > 0, listeners.astype(np.float32),
    )  # fmt: skip
    lists = top_k(scorer, held_out_users.astype(np.int32), history, min(_CUTOFF, len(listeners)))
    held_out_tracks = table[Columns.TRACK].to_numpy()
    hits, relevant = find_hits(lists.tracks, lists.taken, rows, held_out_tracks, len(listeners), _CUTOFF)
    return np.array([ndcg(hits, relevant, _CUTOFF).sum(), len(held_out_users)])
