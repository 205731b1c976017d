"""Measures models on the validation part, on which choices are made: settings, and the weights of a hybrid."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import NotApplicable
from spark.algorithms.saved_model import fit_model, load_scorer
from spark.algorithms.scorer import standardize_scores
from spark.algorithms.training_data import TrainingData
from spark.evaluation.ranking_metrics import find_hits, metrics_at
from spark.lists.topk import top_k_from_scores
from spark.runtime.worker_tasks import run_tasks
from spark.splitting.split import HeldOut
from spark.storage.interaction_matrix import USER, load_csr

CUTOFF = 10
_USERS = 4_000
"""Listeners who are looked at, at most."""
_BLOCK_BYTES = 32 << 20
_NOTHING = "nothing in the validation part is relevant to anybody: raise [split] validation_fraction"

Weights = NDArray[np.float32]


def run_trial(
    training: TrainingData,
    name: str,
    settings: Mapping[str, Any],
    validation: Path,
    liked_from: float | None,
    into: Path,
) -> float:
    """Trains a candidate and measures it: NDCG of its lists, or, if it predicts ratings, their error (RMSE).

    Args:
        training: the training part.
        validation: Parquet of the validation part.
        into: a directory that every worker can write; the model is made below it, and removed again.
    """
    own = Path(tempfile.mkdtemp(dir=into))  # workers remember models by their paths
    model = own / "model"
    fit_model(name, training, settings, model)
    if load_scorer(model).predicts_ratings:
        files = sorted(validation.glob("*.parquet"))
        squares, count = np.sum(run_tasks(training.spark, partial(_squares, model), files), axis=0)
        if not count:
            raise NotApplicable(_NOTHING)
        score = float((squares / count) ** 0.5)
    else:
        score = float(measure_ndcg(training, [model], np.ones((1, 1), np.float32), validation, liked_from)[0])
    shutil.rmtree(own)
    return score


def measure_ndcg(
    training: TrainingData, models: Sequence[Path], grid: Weights, validation: Path, liked_from: float | None
) -> NDArray[np.float64]:
    """Mean NDCG of each weighted sum of the models' standardised scores, shape (len(grid),).

    Args:
        grid: weights of the models, shape (sums, models).
        liked_from: the rating from which a track is relevant; None: all are.

    Raises:
        NotApplicable: nothing in the validation part is relevant to anybody who is looked at.
    """
    every = -(-training.num_users // _USERS)
    measure = partial(_sums, list(models), training.blocks, liked_from, grid, every)
    sums = np.sum(run_tasks(training.spark, measure, sorted(validation.glob("*.parquet"))), axis=0)
    if not sums[-1]:
        raise NotApplicable(_NOTHING)
    means: NDArray[np.float64] = sums[:-1] / sums[-1]
    return means


def _sums(
    models: Sequence[Path], blocks: Path, liked_from: float | None, grid: Weights, every: int, file: Path
) -> NDArray[np.float64]:
    """The sum of each NDCG over the users of a file, and at the end how many they are."""
    held_out = HeldOut.read(file, liked_from)
    chosen = held_out.relevant & (held_out.users % every == 0)
    users, tracks = held_out.users[chosen], held_out.tracks[chosen]
    scorers, heard, sums = [load_scorer(model) for model in models], load_csr(blocks, USER), np.zeros(len(grid) + 1)
    listeners = np.unique(users).astype(np.int32)
    size = max(1, _BLOCK_BYTES // (4 * scorers[0].num_tracks * len(scorers)))
    for start in range(0, len(listeners), size):
        some = listeners[start : start + size]
        theirs = np.isin(users, some)
        stacked = np.stack([standardize_scores(scorer.scores(some, heard)) for scorer in scorers])
        rows = np.searchsorted(some, users[theirs])
        for place, weights in enumerate(grid):
            lists = top_k_from_scores(
                np.tensordot(weights, stacked, axes=1), some, heard, min(CUTOFF, stacked.shape[2])
            )
            hits, relevant = find_hits(lists.tracks, lists.taken, rows, tracks[theirs], stacked.shape[2], CUTOFF)
            sums[place] += metrics_at(hits, relevant, CUTOFF)["ndcg"].sum()
        sums[-1] += len(some)
    return sums


def _squares(model: Path, file: Path) -> NDArray[np.float64]:
    """The sum of the squared errors of a file's ratings, and how many they are."""
    held_out = HeldOut.read(file, None)
    if not len(held_out.users):
        return np.zeros(2)
    errors = load_scorer(model).ratings(held_out.users, held_out.tracks) - held_out.values
    return np.array([(errors**2).sum(), len(errors)])
