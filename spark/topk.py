"""The best k tracks of every user, without what they have heard: each task takes some users and writes their lists.

Whatever scores users in blocks goes through the same selection. Models of factors go a shorter way, where the products
are never written out, and tracks that cannot get into a list are passed over. Memory: a block of users holds at most
`_BLOCK_BYTES` of scores at a time, whatever the number of users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark.algorithms import Floats, Indexes, Scorer, load
from spark.algorithms.factors import FactorScorer
from spark.algorithms.hybrid import HybridScorer
from spark.algorithms.popularity import PopularityScorer
from spark.blocks import TRACK, USER, Rows, rows_of
from spark.reasons import because
from spark.tables import BECAUSE, RECOMMENDATIONS, SIMILAR, Columns, written
from spark.tasks import in_tasks

Places = NDArray[np.int64]
Offer = Callable[..., None]

_BLOCK_BYTES = 16 << 20
_USERS_PER_TASK = 1 << 14


@dataclass(frozen=True)
class Lists:
    """The lists of some users, best track first."""

    tracks: Indexes
    """Shape (users, k)."""
    scores: Floats
    sizes: NDArray[np.int64]
    """How many places of each list are taken; those behind hold nothing."""

    @classmethod
    def empty(cls, users: int, k: int) -> Lists:
        """With nothing in them yet."""
        return cls(np.zeros((users, k), np.int32), np.zeros((users, k), np.float32), np.zeros(users, np.int64))

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Which places are, shape (users, k)."""
        taken: NDArray[np.bool_] = np.arange(self.tracks.shape[1]) < self.sizes[:, None]
        return taken


def recommend_everyone(
    spark: SparkSession, ingested: Path, blocks: Path, model: Path, k: int, into: Path, *, reasons: bool = False
) -> tuple[int, int]:
    """Writes the list of every user as Parquet; returns how many users there are, and rows.

    Args:
        ingested: the directory that Ingest wrote.
        blocks: what each user has heard, which is left out.
        model: a saved model, at a path that every worker can read.
        k: the length of the lists.
        into: the directory to be made, at a path that every worker can write.
        reasons: adds a column that tells what each recommendation is due to.

    Raises:
        RuntimeError: the number of rows written is not the sum of min(k, unheard tracks) over the users.
    """
    into.mkdir()
    heard = rows_of(blocks, USER)
    users, tracks = len(heard), len(rows_of(blocks, TRACK))

    def recommend(first: int) -> None:
        some = np.arange(first, min(first + _USERS_PER_TASK, users), dtype=np.int32)
        scorer, own = load(model), rows_of(blocks, USER)
        lists = best(scorer, some, own, min(k, tracks))
        names = [_ids(ingested / name, key) for name, key in (("users", Columns.USER_ID), ("tracks", Columns.TRACK_ID))]
        # Ids are dictionaries in memory, so that they are written as such; the file says that they are text.
        name = f"part-{first // _USERS_PER_TASK:05}.parquet"
        table = _as_rows(some, lists, *names)
        if reasons:
            due_to = because(scorer, some, own, lists.tracks, lists.sizes)
            table = table.append_column(BECAUSE, _named(due_to[lists.taken], names[1]))
        written(into / name, partial(pq.write_table, table, store_schema=False))

    in_tasks(spark, recommend, range(0, users, _USERS_PER_TASK))
    rows, expected = ds.dataset(into).count_rows(), int(np.minimum(k, tracks - np.diff(heard.starts)).sum())
    if rows != expected:
        raise RuntimeError(f"{rows:,} recommendations were written instead of {expected:,}.")
    return users, rows


def similar_tracks(spark: SparkSession, ingested: Path, model: Path, k: int, into: Path) -> int:
    """Writes the k most similar tracks of each track as Parquet; returns how many rows.

    A track that the model does not know has none, and where everybody gets the same, no track has.

    Args:
        ingested, model, into: see `recommend_everyone`.
    """
    into.mkdir()

    def compare(first: int) -> None:
        scorer = load(model)
        some = np.arange(first, min(first + _USERS_PER_TASK, scorer.num_tracks), dtype=np.int32)
        ids = _ids(ingested / "tracks", Columns.TRACK_ID)
        table = _as_rows(some, similar(scorer, some, k), ids, ids, SIMILAR)
        name = f"part-{first // _USERS_PER_TASK:05}.parquet"
        written(into / name, partial(pq.write_table, table, store_schema=False))

    in_tasks(spark, compare, range(0, ds.dataset(ingested / "tracks").count_rows(), _USERS_PER_TASK))
    return int(ds.dataset(into).count_rows())


def similar(scorer: Scorer, tracks: Indexes, k: int) -> Lists:
    """The k tracks that are most similar to each of some tracks, themselves apart.

    Similar by factors are tracks whose factors point into the same direction: the score is the cosine. By other models,
    what they say of somebody who heard that track alone.
    """
    lists = Lists.empty(len(tracks), min(k, scorer.num_tracks))
    if isinstance(scorer, PopularityScorer):
        return lists
    every = np.arange(scorer.num_tracks + 1)
    alone = Rows(every, every[:-1].astype(np.int32), np.ones(scorer.num_tracks, np.float32))
    known = np.flatnonzero(scorer.known_tracks[tracks])
    found = best(_of_tracks(scorer), tracks[known], alone, lists.tracks.shape[1], scorer.known_tracks)
    lists.tracks[known], lists.scores[known], lists.sizes[known] = found.tracks, found.scores, found.sizes
    return lists


def _of_tracks(scorer: Scorer) -> Scorer:
    """The same for tracks in the place of users."""
    if isinstance(scorer, FactorScorer):
        return scorer.by_direction
    if isinstance(scorer, HybridScorer):
        return HybridScorer({name: _of_tracks(part) for name, part in scorer.parts.items()}, scorer.weights)
    return scorer


def best(scorer: Scorer, users: Indexes, heard: Rows, k: int, eligible: NDArray[np.bool_] | None = None) -> Lists:
    """The best k tracks of some users that they have not heard.

    Args:
        heard: the tracks that each user heard, by user.
        k: at most the number of tracks.
        eligible: which tracks may be listed, shape (num_tracks,); all where it is None.
    """
    lists = Lists.empty(len(users), k)
    if isinstance(scorer, FactorScorer):
        factors, known = scorer.user_factors(users)
        _by_products(scorer, factors, known, users, heard, eligible, lists)
        rest = np.flatnonzero(~known | (lists.sizes < k))
    else:
        rest = np.arange(len(users))
    _by_scores(scorer, rest, users, heard, eligible, lists)
    return lists


def _by_products(
    scorer: FactorScorer,
    factors: Floats,
    known: NDArray[np.bool_],
    users: Indexes,
    heard: Rows,
    eligible: NDArray[np.bool_] | None,
    lists: Lists,
) -> None:
    """Lists of the known users, out of known tracks."""
    from spark import selection

    order, sorted_factors, norms = scorer.by_norm
    if eligible is not None:
        order, sorted_factors, norms = order[eligible[order]], sorted_factors[eligible[order]], norms[eligible[order]]

    def offer(block: Places, rows: Places, *found: NDArray[Any]) -> None:
        selection.offer_products(
            factors[block], order, sorted_factors, norms, rows, heard.starts, heard.columns, *found
        )
        selection.rescore(factors[block], scorer.track_factors, *found)

    _fill(lists, np.flatnonzero(known), users, selection.TILE_ROWS, offer)


def _by_scores(
    scorer: Scorer,
    places: Places,
    users: Indexes,
    heard: Rows,
    eligible: NDArray[np.bool_] | None,
    lists: Lists,
) -> None:
    """Lists of the users at some places, out of all tracks, with every score written out."""
    from spark import selection

    tracks = np.arange(scorer.num_tracks, dtype=np.int32)
    if eligible is not None:
        tracks = tracks[eligible]

    def offer(block: Places, rows: Places, *found: NDArray[Any]) -> None:
        scores = scorer.scores(users[block], heard)
        if eligible is not None:
            scores = np.ascontiguousarray(scores[:, eligible])
        selection.offer(scores, tracks, np.arange(len(block)), rows, heard.starts, heard.columns, *found)

    size = max(1, min(selection.TILE_ROWS, _BLOCK_BYTES // (4 * scorer.num_tracks)))
    _fill(lists, places, users, size, offer)


def _fill(lists: Lists, places: Places, users: Indexes, size: int, offer: Offer) -> None:
    """Makes the lists at some places anew, a block of them at a time.

    Args:
        offer: given a block of places, and whose lists they are, puts into scores, tracks and sizes what belongs there.
    """
    from spark import selection

    for start in range(0, len(places), size):
        block = places[start : start + size]
        found = [np.zeros_like(part[block]) for part in (lists.scores, lists.tracks, lists.sizes)]
        offer(block, users[block].astype(np.int64), *found)
        selection.sort_lists(*found)
        lists.scores[block], lists.tracks[block], lists.sizes[block] = found


@lru_cache(maxsize=4)
def _ids(described: Path, key: str) -> pa.Array:
    """The users' or tracks' own ids by index."""
    table = ds.dataset(described).to_table(columns=[Columns.INDEX, key]).sort_by(Columns.INDEX)
    return table[key].combine_chunks()


def _named(tracks: Indexes, ids: pa.Array) -> pa.Array:
    """Lists of ids, of the tracks in each row that are not −1."""
    there = tracks >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(ends, ids.take(pa.array(tracks[there])))


def _as_rows(
    users: Indexes, lists: Lists, user_ids: pa.Array, track_ids: pa.Array, names: Sequence[str] = RECOMMENDATIONS
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
