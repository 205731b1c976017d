"""The best k tracks of every user, without what they have heard: products of blocks, over Arrow batches.

Memory: a block holds at most `_BLOCK_BYTES` of scores at a time, whatever the number of users.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark.algorithms import Floats, Indexes, Scorer, load
from spark.tables import RECOMMENDATIONS, Columns, read_parquet

_BLOCK_BYTES = 64 << 20
_SCORES_PER_TASK = 20_000_000


def recommend_everyone(spark: SparkSession, ingested: Path, model: Path, k: int, into: Path) -> tuple[int, int]:
    """Writes the list of every user as Parquet; returns how many users there are, and rows.

    Args:
        ingested: the directory that Ingest wrote.
        model: a saved model, at a path that every worker can read.
        k: the length of the lists.
        into: where the Parquet goes.

    Raises:
        RuntimeError: the number of rows written is not the sum of min(k, unheard tracks) over the users.
    """
    tracks = track_ids(ingested / "tracks")
    heard = ds.dataset(ingested / "users").to_table(columns=["interactions"])["interactions"].to_numpy()
    interactions, users = (read_parquet(spark, ingested / name) for name in ("interactions", "users"))
    recommend_all(interactions, users, len(heard), tracks, model, k).write.parquet(str(into))
    written, expected = ds.dataset(into).count_rows(), int(np.minimum(k, len(tracks) - heard).sum())
    if written != expected:
        raise RuntimeError(f"{written:,} recommendations were written instead of {expected:,}.")
    return len(heard), written


def recommend_all(
    interactions: DataFrame, users: DataFrame, num_users: int, tracks: pa.Array, model: Path, k: int
) -> DataFrame:
    """Each user's `min(k, unheard tracks)` best tracks: user_id, rank from 1, track_id, score.

    Args:
        interactions: what was heard: user, track.
        users: index, user_id; every one of them gets a list.
        num_users: how many they are.
        tracks: the tracks' own ids by index.
        model: a saved model, at a path that every worker can read.
        k: the length of the lists.
    """
    heard = interactions.groupBy(Columns.USER).agg(F.collect_list(Columns.TRACK).alias("heard"))
    everyone = users.select(F.col(Columns.INDEX).alias(Columns.USER), Columns.USER_ID)
    rows = everyone.join(heard, on=Columns.USER, how="left")

    def recommend(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = load(model)
        for batch in batches:
            for block in blocks(batch, len(tracks)):
                yield _as_rows(block, *best(scorer, block, k), tracks)

    return spread(rows, num_users, len(tracks)).mapInArrow(recommend, RECOMMENDATIONS)


def spread(rows: DataFrame, num_users: int, num_tracks: int) -> DataFrame:
    """Deals the users over as many tasks as their scores are worth."""
    return rows.repartition(max(1, num_users * num_tracks // _SCORES_PER_TASK), Columns.USER)


def blocks(batch: pa.RecordBatch, num_tracks: int) -> Iterator[pa.RecordBatch]:
    """Cuts a batch so that the scores of each piece fit into a block."""
    size = max(1, _BLOCK_BYTES // (4 * num_tracks))
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def best(scorer: Scorer, block: pa.RecordBatch, k: int) -> tuple[Indexes, Floats]:
    """The best k unheard tracks of the users in a block (columns user, heard) and their scores, shape (users, k).

    Where fewer than k are unheard, the places after the last have a score of −∞.
    """
    scores = scorer.scores(block.column(Columns.USER).to_numpy())
    rows, heard = pairs_of(block.column("heard"))
    scores[rows, heard] = -np.inf
    return top_k(scores, k)


def pairs_of(lists: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """The row number and the item of every item in a column of lists; null lists have none."""
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten().to_numpy(zero_copy_only=False)


def top_k(scores: Floats, k: int) -> tuple[Indexes, Floats]:
    """Columns and values of the k highest scores of each row, descending; equal scores by column, ascending.

    Shape (rows, min(k, columns)).
    """
    num_rows, num_columns = scores.shape
    k = min(k, num_columns)
    if k == num_columns:
        chosen = np.broadcast_to(np.arange(k), (num_rows, k))
    else:
        chosen = np.argpartition(scores, num_columns - k, axis=1)[:, num_columns - k :]
        _settle_ties(scores, chosen)
    values = np.take_along_axis(scores, chosen, axis=1)
    order = np.lexsort((chosen, -values), axis=1)
    return np.take_along_axis(chosen, order, axis=1).astype(np.int32), np.take_along_axis(values, order, axis=1)


def _settle_ties(scores: Floats, chosen: np.ndarray) -> None:
    """Where the k-th score occurs outside the chosen too, chooses the first columns that have it."""
    k = chosen.shape[1]
    least = np.take_along_axis(scores, chosen, axis=1).min(axis=1)
    at_least = (scores >= least[:, None]).sum(axis=1)
    for row in np.flatnonzero(at_least > k):
        candidates = np.flatnonzero(scores[row] >= least[row])
        order = np.argsort(-scores[row, candidates], kind="stable")
        chosen[row] = candidates[order[:k]]


def track_ids(tracks: Path) -> pa.Array:
    """The tracks' own ids by index."""
    table = ds.dataset(tracks).to_table(columns=[Columns.INDEX, Columns.TRACK_ID]).sort_by(Columns.INDEX)
    return table[Columns.TRACK_ID].combine_chunks()


def _as_rows(block: pa.RecordBatch, tracks: Indexes, scores: Floats, ids: pa.Array) -> pa.RecordBatch:
    """One row a recommendation."""
    listed = np.isfinite(scores)
    users = np.repeat(np.arange(block.num_rows), listed.sum(axis=1))
    ranks = np.broadcast_to(np.arange(1, scores.shape[1] + 1, dtype=np.int32), scores.shape)
    return pa.record_batch(
        [
            block.column(Columns.USER_ID).take(users),
            pa.array(ranks[listed]),
            ids.take(tracks[listed]),
            pa.array(scores[listed]),
        ],
        names=RECOMMENDATIONS.names,
    )
