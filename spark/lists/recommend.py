"""Write the recommendations of all users and the similar tracks of all tracks as Parquet, a range of rows per task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from config.fallbacks import TIERS
from spark.algorithms.saved_model import load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.lists.explain import REASONS, explain_lists
from spark.lists.fallback_chain import FallbackChain, TierCodes
from spark.lists.list_rules import ListRules
from spark.lists.topk import TopKLists, top_k
from spark.lists.user_lists import build_lists
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, load_csr
from spark.storage.tables import BECAUSE, RECOMMENDATIONS, SIMILAR, TIER, Columns, read_indexed, write_atomically

_ROWS_PER_TASK = 1 << 14


def recommend_all_users(
    spark: SparkSession,
    ingested: Path,
    matrix: Path,
    chain: FallbackChain,
    k: int,
    into: Path,
    *,
    rules: ListRules,
    reasons: bool = False,
) -> int:
    """Write the list of every user into `into`, and each user's tier into `tiers.parquet` beside it.

    Args:
        ingested: the directory that Ingest wrote.
        matrix: the users' histories, which are excluded.
        k: length of the lists.
        into: the directory to create, on a file system that every worker can write to.
        reasons: whether to add the column `because`.

    Returns:
        The number of rows.

    Raises:
        RuntimeError: the number of rows is not the sum of min(k, unheard tracks) over the users, and no rule
            shortens lists.
    """
    into.mkdir()
    history = load_csr(matrix, USER)
    num_users, num_tracks = len(history), len(load_csr(matrix, TRACK))

    def write_range(first: int) -> TierCodes:
        users = np.arange(first, min(first + _ROWS_PER_TASK, num_users), dtype=np.int32)
        history = load_csr(matrix, USER)
        lists, tiers = build_lists(chain, users, history, min(k, num_tracks), rules)
        user_ids, track_ids = _ids(ingested / "users", Columns.USER_ID), _ids(ingested / "tracks", Columns.TRACK_ID)
        table = _to_table(users, lists, user_ids, track_ids)
        if reasons:
            because = _explain(chain, rules, users, history, lists, tiers)
            table = table.append_column(BECAUSE, _id_lists(because[lists.taken], track_ids))
        _write(table, into, first)
        return tiers

    tiers = run_tasks(spark, write_range, range(0, num_users, _ROWS_PER_TASK))
    rows = int(ds.dataset(into).count_rows())
    expected = int(np.minimum(k, num_tracks - np.diff(history.indptr)).sum())
    if rows != expected and not rules.may_shorten:
        raise RuntimeError(f"{rows:,} recommendations were written instead of {expected:,}.")
    names = pa.DictionaryArray.from_arrays(np.concatenate(tiers), pa.array(list(TIERS)))
    pq.write_table(pa.table({TIER: names}), into.with_name("tiers.parquet"), store_schema=False)
    return rows


def _explain(
    chain: FallbackChain,
    rules: ListRules,
    users: IndexArray,
    history: CSRMatrix,
    lists: TopKLists,
    tiers: TierCodes,
) -> IndexArray:
    """Explain each list entry, shape (users, k, REASONS): by the user's tier, or by content for cold tracks."""
    reasons = np.full((*lists.tracks.shape, REASONS), -1, np.int32)
    for code, tier in enumerate(TIERS):
        rows = np.flatnonzero(tiers == code)
        if len(rows):
            tracks, sizes = lists.tracks[rows], lists.sizes[rows]
            reasons[rows] = explain_lists(chain.scorers[tier], users[rows], history, tracks, sizes)
    if rules.new_share and chain.content is not None:
        by_content = explain_lists(chain.content, users, history, lists.tracks, lists.sizes)
        reasons = np.where(chain.content.cold_tracks[lists.tracks][:, :, None], by_content, reasons)
    return reasons


def write_similar_tracks(spark: SparkSession, ingested: Path, model: Path, k: int, into: Path) -> int:
    """Write the k most similar tracks of each track into the new directory `into`; return the number of rows.

    Tracks that the model does not know have none. A model that ranks by popularity has none for any track.
    """
    into.mkdir()

    def write_range(first: int) -> None:
        scorer = load_scorer(model)
        tracks = np.arange(first, min(first + _ROWS_PER_TASK, scorer.num_tracks), dtype=np.int32)
        ids = _ids(ingested / "tracks", Columns.TRACK_ID)
        _write(_to_table(tracks, similar_tracks(scorer, tracks, k), ids, ids, SIMILAR), into, first)

    run_tasks(spark, write_range, range(0, ds.dataset(ingested / "tracks").count_rows(), _ROWS_PER_TASK))
    return int(ds.dataset(into).count_rows())


def similar_tracks(scorer: Scorer, tracks: IndexArray, k: int) -> TopKLists:
    """The k most similar known tracks of each given track, without the track itself."""
    lists = TopKLists.empty(len(tracks), min(k, scorer.num_tracks))
    similarity = scorer.similarity_scorer()
    if similarity is None:
        return lists
    indptr = np.arange(scorer.num_tracks + 1)
    only_itself = CSRMatrix(indptr, indptr[:-1].astype(np.int32), np.ones(scorer.num_tracks, np.float32))
    known = np.flatnonzero(scorer.known_tracks[tracks])
    lists.put(known, top_k(similarity, tracks[known], only_itself, lists.tracks.shape[1], scorer.known_tracks))
    return lists


@lru_cache(maxsize=4)
def _ids(table: Path, column: str) -> pa.Array:
    """Ids of users or tracks by index."""
    return read_indexed(table, column)[column].combine_chunks()


def _id_lists(tracks: IndexArray, ids: pa.Array) -> pa.Array:
    """Convert the tracks of each row, without -1, to a list of ids."""
    valid = tracks >= 0
    offsets = np.concatenate([[0], np.cumsum(valid.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, ids.take(pa.array(tracks[valid])))


def _to_table(
    rows: IndexArray, lists: TopKLists, row_ids: pa.Array, track_ids: pa.Array, names: Sequence[str] = RECOMMENDATIONS
) -> pa.Table:
    """Convert lists to a table with one row per list entry. `rows` are consecutive indexes of users or tracks."""
    taken = lists.taken
    ranks = np.broadcast_to(np.arange(1, taken.shape[1] + 1, dtype=np.int32), taken.shape)
    row_numbers = np.repeat(np.arange(len(rows), dtype=np.int32), lists.sizes)
    columns = [
        pa.DictionaryArray.from_arrays(row_numbers, row_ids.slice(int(rows[0]), len(rows))),
        ranks[taken],
        pa.DictionaryArray.from_arrays(lists.tracks[taken], track_ids),
        lists.scores[taken],
    ]
    return pa.table(columns, names=names)


def _write(table: pa.Table, into: Path, first: int) -> None:
    """Write one file. Ids are dictionary-encoded; without Arrow's schema in the file, readers see plain text."""
    name = f"part-{first // _ROWS_PER_TASK:05}.parquet"
    write_atomically(into / name, partial(pq.write_table, table, store_schema=False))
