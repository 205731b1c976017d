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

from spark.algorithms import Indexes, Scorer, load, popularity_of
from spark.beyond import Catalogue, labels_of, per_list
from spark.blocks import USER, Rows, rows_of
from spark.ranking import CUTOFFS, hits_of, metrics_at, packed
from spark.split import TEST, HeldOut, sizes
from spark.summary import Summary, summarise
from spark.tables import Columns, written
from spark.tasks import in_tasks
from spark.topk import Lists, best

_DEPTH = max(CUTOFFS)

Listed = Callable[[Indexes, Rows, int], Lists]
"""Given users, what all users heard, and a length: makes lists."""


@dataclass(frozen=True)
class Measured:
    """What an evaluation found."""

    summary: Summary
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
    served: Listed | None = None,
) -> Measured:
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
    files = sorted((split / "dealt" / f"{Columns.PART}={TEST}").glob("*.parquet"))

    def measure(file: Path) -> None:
        held_out = HeldOut.read(file, liked_from)
        heard = rows_of(split / "blocks", USER)
        listeners, learned_from = popularity_of(model).astype(np.float64), np.count_nonzero(np.diff(heard.starts))
        catalogue = Catalogue(listeners, int(learned_from), labels_of(ingested / "tracks"))
        scorer = load(model)
        table = per_user(scorer, held_out, heard, catalogue, served or partial(best, scorer))
        written(into / file.name, partial(pq.write_table, table))

    in_tasks(spark, measure, files)
    measured = ds.dataset(into)
    return Measured(
        summarise(into, ingested / "users", ds.dataset(ingested / "tracks").count_rows()),
        users=measured.count_rows(),
        users_ranked=users_ranked(into),
        held_out=sizes(split / "dealt")[TEST],
    )


def per_user(scorer: Scorer, held_out: HeldOut, heard: Rows, catalogue: Catalogue, listed: Listed) -> pa.Table:
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
    hits, counts = hits_of(lists.tracks, lists.taken, rows[wanted], held_out.tracks[wanted], scorer.num_tracks, _DEPTH)
    ends = np.concatenate([[0], np.cumsum(lists.sizes)]).astype(np.int32)
    columns: dict[str, Any] = {
        "user": users.astype(np.int32),
        "relevant": counts.astype(np.int32),
        "heard": np.diff(heard.starts)[users],
        "hits": packed(hits),
        "top": pa.ListArray.from_arrays(ends, lists.tracks[lists.taken]),
        **_rating_errors(scorer, held_out, rows, len(users)),
    }
    for k in CUTOFFS:
        of_lists = metrics_at(hits, np.maximum(counts, 1), k) | per_list(lists, catalogue, k)
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
