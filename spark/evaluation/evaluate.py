"""Evaluate a model on the test part: its lists, and its predicted ratings if it predicts any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from config.metrics import CUTOFFS
from spark.algorithms.saved_model import load_popularity, load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.evaluation.beyond_accuracy import CatalogueStatistics
from spark.evaluation.metric_functions import compute_metrics, functions_of
from spark.evaluation.metric_summary import MetricSummary, loss_column, summarize_metrics
from spark.evaluation.ranking_metrics import find_hits, pack_hits
from spark.evaluation.track_labels import load_track_labels
from spark.lists.topk import TopKLists, top_k
from spark.runtime.worker_tasks import run_tasks
from spark.splitting.split import MATRIX, TEST, HeldOut, part_directory, part_sizes
from spark.storage.interaction_matrix import USER, CSRMatrix, load_csr
from spark.storage.tables import write_atomically

_DEPTH = max(CUTOFFS)

ListProvider = Callable[[IndexArray, CSRMatrix, int], TopKLists]
"""Makes lists for some users, given the training interactions of all users and a list length."""


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of a model, and the users and interactions that they are based on."""

    summary: MetricSummary
    users: int
    """Users with interactions in the test part."""
    users_ranked: int
    """Users with a relevant track in the test part; metrics of lists are means over these."""
    held_out: int
    """Interactions in the test part."""


def evaluate(
    spark: SparkSession,
    ingested: Path,
    split: Path,
    model: Path,
    liked_from: float | None,
    into: Path,
    served: ListProvider | None = None,
) -> EvaluationResult:
    """Evaluate a saved model and write the metrics of each user as Parquet.

    Args:
        ingested: the output of Ingest.
        split: the output of Split.
        model: a saved model, at a path that every worker can read.
        liked_from: see `HeldOut.read`.
        into: the directory to create for the Parquet.
        served: makes the lists; default: the top k of the model.
    """
    into.mkdir()

    def evaluate_file(file: Path) -> None:
        held_out = HeldOut.read(file, liked_from)
        training = load_csr(split / MATRIX, USER)
        listeners = load_popularity(model).astype(np.float64)
        training_users = int(np.count_nonzero(np.diff(training.indptr)))
        catalogue = CatalogueStatistics(listeners, training_users, load_track_labels(ingested / "tracks"))
        scorer = load_scorer(model)
        table = evaluate_users(scorer, held_out, training, catalogue, served or partial(top_k, scorer))
        write_atomically(into / file.name, partial(pq.write_table, table))

    run_tasks(spark, evaluate_file, sorted(part_directory(split, TEST).glob("*.parquet")))
    return EvaluationResult(
        summarize_metrics(into, ingested / "users", ds.dataset(ingested / "tracks").count_rows()),
        users=ds.dataset(into).count_rows(),
        users_ranked=count_ranked_users(into),
        held_out=part_sizes(split)[TEST],
    )


def evaluate_users(
    scorer: Scorer, held_out: HeldOut, training: CSRMatrix, catalogue: CatalogueStatistics, make_lists: ListProvider
) -> pa.Table:
    """Return the metrics of every user with held-out interactions, one row each.

    Lists are drawn from the whole catalogue without the user's training tracks. Metrics of lists are null for a user
    without a relevant held-out track.

    Args:
        training: the training interactions of each user.
    """
    users, rows = np.unique(held_out.users, return_inverse=True)
    lists = make_lists(users.astype(np.int32), training, min(_DEPTH, scorer.num_tracks))
    is_relevant = held_out.relevant
    hits, relevant = find_hits(
        lists.tracks, lists.taken, rows[is_relevant], held_out.tracks[is_relevant], scorer.num_tracks, _DEPTH
    )
    list_ends = np.concatenate([[0], np.cumsum(lists.sizes)]).astype(np.int32)
    columns: dict[str, Any] = {
        "user": users.astype(np.int32),
        "relevant": relevant.astype(np.int32),
        "heard": np.diff(training.indptr)[users],
        "hits": pack_hits(hits),
        "top": pa.ListArray.from_arrays(list_ends, lists.tracks[lists.taken]),
        **_rating_losses(scorer, held_out, rows, len(users)),
    }
    for k in CUTOFFS:
        at_k = compute_metrics("hits", hits, np.maximum(relevant, 1), k) | compute_metrics("lists", lists, catalogue, k)
        for name, values in at_k.items():
            columns[f"{name}@{k}"] = pa.array(np.where(relevant > 0, values, np.nan), from_pandas=True)
    return pa.table(columns)


def count_ranked_users(evaluated: Path) -> int:
    """Return the number of users with a relevant track; metrics of lists are means over these."""
    return int(ds.dataset(evaluated).count_rows(filter=pc.field("relevant") > 0))


def _rating_losses(
    scorer: Scorer, held_out: HeldOut, rows: NDArray[np.int64], users: int
) -> dict[str, NDArray[np.generic]]:
    """Return the sum of each loss over each user's held-out ratings, and their number; all 0 without predictions."""
    metrics = functions_of("ratings")
    if not scorer.predicts_ratings:
        return {**{loss_column(name): np.zeros(users) for name in metrics}, "rated": np.zeros(users, np.int32)}
    errors = scorer.ratings(held_out.users, held_out.tracks) - held_out.values
    losses = {loss_column(name): np.bincount(rows, error.loss(errors), users) for name, error in metrics.items()}
    return {**losses, "rated": np.bincount(rows, minlength=users).astype(np.int32)}
