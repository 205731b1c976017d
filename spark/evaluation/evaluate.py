"""Measures a model on the test part: how good its lists are, and its predicted ratings where it has some."""

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

from spark.algorithms.saved_model import load_popularity, load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.evaluation.beyond_accuracy import CatalogueStatistics, list_metrics, load_track_labels
from spark.evaluation.metric_summary import MetricSummary, summarize_metrics
from spark.evaluation.ranking_metrics import CUTOFFS, find_hits, metrics_at, pack_hits
from spark.lists.topk import TopKLists, top_k
from spark.runtime.worker_tasks import run_tasks
from spark.splitting.split import TEST, HeldOut, part_sizes
from spark.storage.interaction_matrix import USER, CSRMatrix, load_csr
from spark.storage.tables import Columns, write_atomically

_DEPTH = max(CUTOFFS)

ListProvider = Callable[[IndexArray, CSRMatrix, int], TopKLists]
"""Given users, what all users heard, and a length: makes lists."""


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found."""

    summary: MetricSummary
    users: int
    """Users who have something in the test part."""
    users_ranked: int
    """Those among them to whom something there is relevant: the ranking metrics are means over these."""
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
    """Measures a saved model and writes the metrics of each user as Parquet.

    Args:
        ingested: the directory that Ingest wrote.
        split: the directory that Split wrote.
        model: a saved model, at a path that every worker can read.
        liked_from: see `HeldOut.read`.
        into: where the Parquet goes.
        served: makes the lists, instead of the model alone.
    """
    into.mkdir()
    files = sorted((split / "parts" / f"{Columns.PART}={TEST}").glob("*.parquet"))

    def measure(file: Path) -> None:
        held_out = HeldOut.read(file, liked_from)
        heard = load_csr(split / "matrix", USER)
        listeners, learned_from = load_popularity(model).astype(np.float64), np.count_nonzero(np.diff(heard.indptr))
        catalogue = CatalogueStatistics(listeners, int(learned_from), load_track_labels(ingested / "tracks"))
        scorer = load_scorer(model)
        table = per_user(scorer, held_out, heard, catalogue, served or partial(top_k, scorer))
        write_atomically(into / file.name, partial(pq.write_table, table))

    run_tasks(spark, measure, files)
    measured = ds.dataset(into)
    return EvaluationResult(
        summarize_metrics(into, ingested / "users", ds.dataset(ingested / "tracks").count_rows()),
        users=measured.count_rows(),
        users_ranked=users_ranked(into),
        held_out=part_sizes(split / "parts")[TEST],
    )


def per_user(
    scorer: Scorer, held_out: HeldOut, heard: CSRMatrix, catalogue: CatalogueStatistics, listed: ListProvider
) -> pa.Table:
    """Every metric of every user who has something held out, one row each.

    The list is drawn from the whole catalogue without what the user heard in training. Where nothing held out is
    relevant to a user, the metrics of the list are null.

    Args:
        heard: what each user heard in training.
        catalogue: what else is known of the tracks.
        listed: makes the lists of some users, of a length.
    """
    users, rows = np.unique(held_out.users, return_inverse=True)
    lists = listed(users.astype(np.int32), heard, min(_DEPTH, scorer.num_tracks))
    wanted = held_out.relevant
    hits, counts = find_hits(
        lists.tracks, lists.taken, rows[wanted], held_out.tracks[wanted], scorer.num_tracks, _DEPTH
    )
    ends = np.concatenate([[0], np.cumsum(lists.sizes)]).astype(np.int32)
    columns: dict[str, Any] = {
        "user": users.astype(np.int32),
        "relevant": counts.astype(np.int32),
        "heard": np.diff(heard.indptr)[users],
        "hits": pack_hits(hits),
        "top": pa.ListArray.from_arrays(ends, lists.tracks[lists.taken]),
        **_rating_errors(scorer, held_out, rows, len(users)),
    }
    for k in CUTOFFS:
        of_lists = metrics_at(hits, np.maximum(counts, 1), k) | list_metrics(lists, catalogue, k)
        for name, values in of_lists.items():
            columns[f"{name}@{k}"] = pa.array(np.where(counts > 0, values, np.nan), from_pandas=True)
    return pa.table(columns)


def users_ranked(measured: Path) -> int:
    """How many users the metrics of lists are a mean over."""
    return int(ds.dataset(measured).count_rows(filter=pc.field("relevant") > 0))


def _rating_errors(
    scorer: Scorer, held_out: HeldOut, rows: NDArray[np.int64], users: int
) -> dict[str, NDArray[np.generic]]:
    """Sums of squared and absolute errors over each user's held-out ratings, and their number."""
    if not scorer.predicts_ratings:
        return {
            "squared_error": np.zeros(users),
            "absolute_error": np.zeros(users),
            "rated": np.zeros(users, np.int32),
        }
    errors = scorer.ratings(held_out.users, held_out.tracks) - held_out.values
    return {
        "squared_error": np.bincount(rows, errors**2, users),
        "absolute_error": np.bincount(rows, np.abs(errors), users),
        "rated": np.bincount(rows, minlength=users).astype(np.int32),
    }
