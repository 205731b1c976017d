"""Evaluate models on the validation part, to choose settings and the weights of a hybrid."""

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
from spark.evaluation.ranking_metrics import find_hits, ndcg
from spark.lists.topk import top_k_from_scores
from spark.runtime.worker_tasks import run_tasks
from spark.splitting.split import HeldOut
from spark.storage.interaction_matrix import USER, load_csr

CUTOFF = 10
_MAX_USERS = 4_000
"""Approximate number of users that are evaluated."""
_BATCH_BYTES = 32 << 20
"""Memory for the scores of a batch of users."""
_NO_RELEVANT_TRACK = "no user has a relevant track in the validation part: raise [split] validation_fraction"

Weights = NDArray[np.float32]


def run_trial(
    training: TrainingData,
    name: str,
    settings: Mapping[str, Any],
    validation: Path,
    liked_from: float | None,
    into: Path,
) -> float:
    """Train a candidate and return the NDCG of its lists, or the RMSE if it predicts ratings.

    Args:
        training: the training part.
        validation: Parquet of the validation part.
        into: a directory that every worker can write; the model is saved in it for the duration of the trial.
    """
    directory = Path(tempfile.mkdtemp(dir=into))  # a new path, because workers cache models by path
    model = directory / "model"
    fit_model(name, training, settings, model)
    if load_scorer(model).predicts_ratings:
        files = sorted(validation.glob("*.parquet"))
        squared_error, count = np.sum(run_tasks(training.spark, partial(_sum_squared_errors, model), files), axis=0)
        if not count:
            raise NotApplicable(_NO_RELEVANT_TRACK)
        score = float((squared_error / count) ** 0.5)
    else:
        score = float(measure_ndcg(training, [model], np.ones((1, 1), np.float32), validation, liked_from)[0])
    shutil.rmtree(directory)
    return score


def measure_ndcg(
    training: TrainingData, models: Sequence[Path], grid: Weights, validation: Path, liked_from: float | None
) -> NDArray[np.float64]:
    """Return the mean NDCG of each weighted sum of the models' standardised scores, shape (len(grid),).

    Args:
        grid: weights of the models, shape (sums, models).
        liked_from: the rating from which a track is relevant; None makes all tracks relevant.

    Raises:
        NotApplicable: no evaluated user has a relevant track in the validation part.
    """
    step = -(-training.num_users // _MAX_USERS)
    measure = partial(_sum_ndcg, list(models), training.matrix, liked_from, grid, step)
    sums = np.sum(run_tasks(training.spark, measure, sorted(validation.glob("*.parquet"))), axis=0)
    if not sums[-1]:
        raise NotApplicable(_NO_RELEVANT_TRACK)
    means: NDArray[np.float64] = sums[:-1] / sums[-1]
    return means


def _sum_ndcg(
    models: Sequence[Path], matrix: Path, liked_from: float | None, grid: Weights, step: int, file: Path
) -> NDArray[np.float64]:
    """Return the sum of each NDCG over every `step`-th user of a file, followed by the number of users."""
    held_out = HeldOut.read(file, liked_from)
    chosen = held_out.relevant & (held_out.users % step == 0)
    users, tracks = held_out.users[chosen], held_out.tracks[chosen]
    scorers, training, sums = [load_scorer(model) for model in models], load_csr(matrix, USER), np.zeros(len(grid) + 1)
    distinct_users = np.unique(users).astype(np.int32)
    batch_size = max(1, _BATCH_BYTES // (4 * scorers[0].num_tracks * len(scorers)))
    for start in range(0, len(distinct_users), batch_size):
        batch = distinct_users[start : start + batch_size]
        in_batch = np.isin(users, batch)
        scores = np.stack([standardize_scores(scorer.scores(batch, training)) for scorer in scorers])
        num_tracks = scores.shape[2]
        rows = np.searchsorted(batch, users[in_batch])
        for position, weights in enumerate(grid):
            blended = np.tensordot(weights, scores, axes=1)
            lists = top_k_from_scores(blended, batch, training, min(CUTOFF, num_tracks))
            hits, relevant = find_hits(lists.tracks, lists.taken, rows, tracks[in_batch], num_tracks, CUTOFF)
            sums[position] += ndcg(hits, relevant, CUTOFF).sum()
        sums[-1] += len(batch)
    return sums


def _sum_squared_errors(model: Path, file: Path) -> NDArray[np.float64]:
    """Return the sum of the squared errors of a file's ratings, and their number."""
    held_out = HeldOut.read(file, None)
    if not len(held_out.users):
        return np.zeros(2)
    errors = load_scorer(model).ratings(held_out.users, held_out.tracks) - held_out.values
    return np.array([(errors**2).sum(), len(errors)])
