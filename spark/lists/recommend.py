"""Lists for everyone as Parquet, and of similar tracks: each task takes some users, or tracks, and writes theirs."""

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
from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.hybrid import HybridScorer
from spark.algorithms.popularity import PopularityScorer
from spark.algorithms.saved_model import load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.lists.explain import REASONS, explain_lists
from spark.lists.topk import TopKLists, top_k
from spark.lists.user_lists import FallbackChain, ListRules, TierCodes, build_lists
from spark.runtime.worker_tasks import run_tasks
from spark.storage.interaction_matrix import TRACK, USER, CSRMatrix, load_csr
from spark.storage.tables import BECAUSE, RECOMMENDATIONS, SIMILAR, TIER, Columns, read_indexed, write_atomically

_USERS_PER_TASK = 1 << 14


def recommend_all_users(
    spark: SparkSession,
    ingested: Path,
    blocks: Path,
    chain: FallbackChain,
    k: int,
    into: Path,
    *,
    rules: ListRules,
    reasons: bool = False,
) -> int:
    """Writes the list of every user as Parquet, and beside it `tiers.parquet`, one a user; returns how many rows.

    Args:
        ingested: the directory that Ingest wrote.
        blocks: what each user has heard, which is left out.
        k: the length of the lists.
        into: the directory to be made, at a path that every worker can write.
        reasons: adds a column that tells what each recommendation is due to.

    Raises:
        RuntimeError: fewer rows were written than the sum of min(k, unheard tracks) over the users, and no rule is why.
    """
    into.mkdir()
    heard = load_csr(blocks, USER)
    users, tracks = len(heard), len(load_csr(blocks, TRACK))

    def recommend(first: int) -> TierCodes:
        some = np.arange(first, min(first + _USERS_PER_TASK, users), dtype=np.int32)
        own = load_csr(blocks, USER)
        lists, tiers = build_lists(chain, some, own, min(k, tracks), rules)
        names = [_ids(ingested / name, key) for name, key in (("users", Columns.USER_ID), ("tracks", Columns.TRACK_ID))]
        # Ids are dictionaries in memory, so that they are written as such; the file says that they are text.
        name = f"part-{first // _USERS_PER_TASK:05}.parquet"
        table = _as_rows(some, lists, *names)
        if reasons:
            due_to = _because(chain, rules, some, own, lists, tiers)
            table = table.append_column(BECAUSE, _named(due_to[lists.taken], names[1]))
        write_atomically(into / name, partial(pq.write_table, table, store_schema=False))
        return tiers

    tiers = run_tasks(spark, recommend, range(0, users, _USERS_PER_TASK))
    rows, expected = int(ds.dataset(into).count_rows()), int(np.minimum(k, tracks - np.diff(heard.indptr)).sum())
    if rows != expected and not rules.may_shorten:
        raise RuntimeError(f"{rows:,} recommendations were written instead of {expected:,}.")
    named = pa.DictionaryArray.from_arrays(np.concatenate(tiers), pa.array(list(TIERS)))
    pq.write_table(pa.table({TIER: named}), into.with_name("tiers.parquet"), store_schema=False)
    return rows


def _because(
    chain: FallbackChain,
    rules: ListRules,
    users: IndexArray,
    heard: CSRMatrix,
    lists: TopKLists,
    tiers: TierCodes,
) -> IndexArray:
    """What each place of a list is due to, see `because`: by the tier, and for new tracks by content."""
    found = np.full((*lists.tracks.shape, REASONS), -1, np.int32)
    for place, tier in enumerate(TIERS):
        mine = np.flatnonzero(tiers == place)
        if len(mine):
            found[mine] = explain_lists(chain.scorers[tier], users[mine], heard, lists.tracks[mine], lists.sizes[mine])
    if rules.new_share and chain.content is not None:
        by_content = explain_lists(chain.content, users, heard, lists.tracks, lists.sizes)
        found = np.where(chain.content.new_tracks[lists.tracks][:, :, None], by_content, found)
    return found


def write_similar_tracks(spark: SparkSession, ingested: Path, model: Path, k: int, into: Path) -> int:
    """Writes the k most similar tracks of each track as Parquet; returns how many rows.

    A track that the model does not know has none, and where everybody gets the same, no track has.

    Args:
        ingested, model, into: see `recommend_everyone`.
    """
    into.mkdir()

    def compare(first: int) -> None:
        scorer = load_scorer(model)
        some = np.arange(first, min(first + _USERS_PER_TASK, scorer.num_tracks), dtype=np.int32)
        ids = _ids(ingested / "tracks", Columns.TRACK_ID)
        table = _as_rows(some, similar(scorer, some, k), ids, ids, SIMILAR)
        name = f"part-{first // _USERS_PER_TASK:05}.parquet"
        write_atomically(into / name, partial(pq.write_table, table, store_schema=False))

    run_tasks(spark, compare, range(0, ds.dataset(ingested / "tracks").count_rows(), _USERS_PER_TASK))
    return int(ds.dataset(into).count_rows())


def similar(scorer: Scorer, tracks: IndexArray, k: int) -> TopKLists:
    """The k tracks that are most similar to each of some tracks, themselves apart.

    Similar by factors are tracks whose factors point into the same direction: the score is the cosine. By other models,
    what they say of somebody who heard that track alone.
    """
    lists = TopKLists.empty(len(tracks), min(k, scorer.num_tracks))
    if isinstance(scorer, PopularityScorer):
        return lists
    every = np.arange(scorer.num_tracks + 1)
    alone = CSRMatrix(every, every[:-1].astype(np.int32), np.ones(scorer.num_tracks, np.float32))
    known = np.flatnonzero(scorer.known_tracks[tracks])
    lists.put(known, top_k(_of_tracks(scorer), tracks[known], alone, lists.tracks.shape[1], scorer.known_tracks))
    return lists


def _of_tracks(scorer: Scorer) -> Scorer:
    """The same for tracks in the place of users."""
    if isinstance(scorer, FactorScorer):
        return scorer.by_direction
    if isinstance(scorer, HybridScorer):
        return HybridScorer({name: _of_tracks(part) for name, part in scorer.parts.items()}, scorer.weights)
    return scorer


@lru_cache(maxsize=4)
def _ids(side: Path, key: str) -> pa.Array:
    """The users' or tracks' own ids by index."""
    return read_indexed(side, key)[key].combine_chunks()


def _named(tracks: IndexArray, ids: pa.Array) -> pa.Array:
    """Lists of ids, of the tracks in each row that are not −1."""
    there = tracks >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(ends, ids.take(pa.array(tracks[there])))


def _as_rows(
    users: IndexArray, lists: TopKLists, user_ids: pa.Array, track_ids: pa.Array, names: Sequence[str] = RECOMMENDATIONS
) -> pa.Table:
    """One row a place of a list that is taken."""
    taken = lists.taken
    ranks = np.broadcast_to(np.arange(1, taken.shape[1] + 1, dtype=np.int32), taken.shape)
    own = user_ids.slice(int(users[0]), len(users))
    who = np.repeat(np.arange(len(users), dtype=np.int32), lists.sizes)
    return pa.table(
        [
            pa.DictionaryArray.from_arrays(who, own),
            ranks[taken],
            pa.DictionaryArray.from_arrays(lists.tracks[taken], track_ids),
            lists.scores[taken],
        ],
        names=names,
    )
