"""Measures a model on the test part: how good its lists are, and its predicted ratings where it has some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from config.errors import UserError
from spark.algorithms import Indexes, Scorer, load
from spark.ranking import CUTOFFS, METRICS, metrics_at
from spark.split import TEST, TRAIN, sizes
from spark.tables import Columns, read_parquet
from spark.topk import best, blocks, pairs_of, spread

_DEPTH = max(CUTOFFS)
_RANKED = [f"{metric}@{k}" for k in CUTOFFS for metric in METRICS]
_SCHEMA = (
    "user int, relevant int, top array<int>, squared_error double, absolute_error double, rated int, "
    + ", ".join(f"`{name}` double" for name in _RANKED)
)


@dataclass(frozen=True)
class Measured:
    """What an evaluation found."""

    metrics: dict[str, float]
    users: int
    """Users who have something in the test part."""
    users_ranked: int
    """Those among them to whom something there is relevant: the ranking metrics are means over these."""
    held_out: int
    """Interactions in the test part."""


def evaluate(
    spark: SparkSession, ingested: Path, dealt: Path, model: Path, liked_from: float | None, into: Path
) -> Measured:
    """Measures a saved model and writes the metrics of each user as Parquet.

    Args:
        ingested: the directory that Ingest wrote.
        dealt: Parquet of interactions with their part.
        model: a saved model, at a path that every worker can read.
        liked_from: see `per_user`.
        into: where the Parquet goes.
    """
    num_users, num_tracks = (ds.dataset(ingested / name).count_rows() for name in ("users", "tracks"))
    interactions = read_parquet(spark, dealt)
    per_user(interactions, num_users, num_tracks, model, liked_from).write.parquet(str(into))
    measured = ds.dataset(into)
    return Measured(
        summarise(into, num_tracks),
        users=measured.count_rows(),
        users_ranked=users_ranked(into),
        held_out=sizes(dealt)[TEST],
    )


def per_user(dealt: DataFrame, num_users: int, num_tracks: int, model: Path, liked_from: float | None) -> DataFrame:
    """Every metric of every user who has something in the test part, one row each.

    The list is drawn from the whole catalogue without what the user heard in training. Where nothing held out is
    relevant to a user, the ranking metrics are null.

    Args:
        dealt: user, track, value, part.
        num_users: number of users in all.
        num_tracks: size of the catalogue.
        model: a saved model, at a path that every worker can read.
        liked_from: the rating from which a held-out track is relevant; None: all held-out tracks are.
    """
    in_training, in_test = F.col(Columns.PART) == TRAIN, F.col(Columns.PART) == TEST
    relevant = in_test if liked_from is None else in_test & (F.col(Columns.VALUE) >= liked_from)
    by_user = dealt.groupBy(Columns.USER).agg(
        F.collect_list(F.when(in_training, F.col(Columns.TRACK))).alias("heard"),
        F.collect_list(F.when(relevant, F.col(Columns.TRACK))).alias("relevant"),
        F.collect_list(F.when(in_test, F.struct(Columns.TRACK, Columns.VALUE))).alias("held_out"),
    )
    tested = by_user.where(F.size("held_out") > 0)

    def measure(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = load(model)
        for batch in batches:
            for block in blocks(batch, num_tracks):
                yield _measured(block, scorer, num_tracks)

    return spread(tested, num_users, num_tracks).mapInArrow(measure, _SCHEMA)


def summarise(measured: Path, num_tracks: int) -> dict[str, float]:
    """The means over users, coverage, and RMSE and MAE over all held-out ratings.

    `coverage@k` is the share of the catalogue that stands in at least one user's first k.

    Raises:
        UserError: no user has a relevant track in the test part.
    """
    table = ds.dataset(measured).to_table()
    ranked = table.filter(pc.greater(table["relevant"], 0))
    if ranked.num_rows == 0:
        raise UserError(
            "No user has a relevant track in the test part: raise [split] test_fraction, or bring more data."
        )
    summary = {name: float(pc.mean(ranked[name]).as_py()) for name in _RANKED}
    lists = ranked["top"].combine_chunks()
    rows, tracks = pairs_of(lists)
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    for k in CUTOFFS:
        summary[f"coverage@{k}"] = len(np.unique(tracks[places < k])) / num_tracks
    rated = pc.sum(table["rated"]).as_py()
    if rated:
        summary["rmse"] = float((pc.sum(table["squared_error"]).as_py() / rated) ** 0.5)
        summary["mae"] = float(pc.sum(table["absolute_error"]).as_py() / rated)
    return summary


def users_ranked(measured: Path) -> int:
    """How many users the ranking metrics are a mean over."""
    return int(ds.dataset(measured).count_rows(filter=pc.field("relevant") > 0))


def _measured(block: pa.RecordBatch, scorer: Scorer, num_tracks: int) -> pa.RecordBatch:
    """The row of each user in a block (columns user, heard, relevant, held_out)."""
    top, scores = best(scorer, block, _DEPTH)
    listed = np.isfinite(scores)
    hits, counts = _hits(block.column("relevant"), top, num_tracks)
    hits[:, : top.shape[1]] &= listed
    ranked = {
        f"{name}@{k}": np.where(counts > 0, values, np.nan)
        for k in CUTOFFS
        for name, values in metrics_at(hits, np.maximum(counts, 1), k).items()
    }
    lists = pa.ListArray.from_arrays(np.concatenate([[0], listed.sum(axis=1).cumsum()]).astype(np.int32), top[listed])
    columns: dict[str, Any] = {
        "user": block.column(Columns.USER),
        "relevant": counts.astype(np.int32),
        "top": lists,
    }
    columns |= _rating_errors(block, scorer)
    columns |= {name: pa.array(values, from_pandas=True) for name, values in ranked.items()}
    return pa.record_batch(columns)


def _hits(relevant: pa.ListArray, top: Indexes, num_tracks: int) -> tuple[np.ndarray, np.ndarray]:
    """Which places of the lists hold a relevant track, shape (users, _DEPTH); and how many tracks are relevant."""
    rows, tracks = pairs_of(relevant)
    places = np.arange(len(top))[:, None] * num_tracks + top
    hits = np.zeros((len(top), _DEPTH), bool)
    hits[:, : top.shape[1]] = np.isin(places, rows * num_tracks + tracks)
    return hits, np.bincount(rows, minlength=len(top))


def _rating_errors(block: pa.RecordBatch, scorer: Scorer) -> dict[str, np.ndarray]:
    """Sums of squared and absolute errors over each user's held-out ratings, and their number."""
    num_users = block.num_rows
    if not scorer.predicts_ratings:
        return {
            "squared_error": np.zeros(num_users),
            "absolute_error": np.zeros(num_users),
            "rated": np.zeros(num_users, np.int32),
        }
    held_out = block.column("held_out")
    rows = np.repeat(np.arange(num_users), held_out.value_lengths().to_numpy())
    pairs = held_out.flatten()
    users = block.column(Columns.USER).to_numpy()[rows]
    errors = scorer.ratings(users, pairs.field(Columns.TRACK).to_numpy()) - pairs.field(Columns.VALUE).to_numpy()
    return {
        "squared_error": np.bincount(rows, errors**2, num_users),
        "absolute_error": np.bincount(rows, np.abs(errors), num_users),
        "rated": np.bincount(rows, minlength=num_users).astype(np.int32),
    }
