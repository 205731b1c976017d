"""Rules for lists beyond the ranking: blocked tracks, a limit per artist, and a share for cold tracks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.scorer import IndexArray, Scorer
from spark.lists.topk import TopKLists, top_k
from spark.storage.interaction_matrix import CSRMatrix
from spark.storage.tables import Columns, explode_texts, read_indexed

_DEPTH_FACTOR = 4
"""Growth of the number of candidates per round while the artist limit leaves lists short."""


@dataclass(frozen=True)
class ListRules:
    """The rules for one catalogue."""

    artists: NDArray[np.int32]
    """Code of each track's artist; -1 if unknown, which is not limited. Shape (num_tracks,)."""
    max_per_artist: int = 0
    """Maximum tracks of one artist in a list; 0 is unlimited."""
    eligible: NDArray[np.bool_] | None = None
    """Whether each track may be listed, shape (num_tracks,); None allows all."""
    new_share: float = 0.0
    """Share of each list, at its end, reserved for cold tracks."""

    @property
    def may_shorten(self) -> bool:
        """Whether lists may have fewer than min(k, unheard tracks) entries."""
        return self.max_per_artist > 0 or self.eligible is not None

    @classmethod
    def of(cls, tracks: Path, *, max_per_artist: int, new_share: float, blocked: dict[str, set[str]]) -> ListRules:
        """Build the rules for a catalogue.

        Args:
            tracks: the Parquet of track metadata that Ingest wrote.
            blocked: ids under "track" and names under "artist" that are never recommended.
        """
        table = read_indexed(tracks)
        artists = np.full(len(table), -1, np.int32)
        eligible = ~np.isin(table[Columns.TRACK_ID].to_numpy(), list(blocked["track"]))
        if "artist" in table.column_names:
            rows, names = explode_texts(table["artist"])
            artists[rows] = names.dictionary_encode().indices.to_numpy()
            eligible[rows] &= ~np.isin(names.to_numpy(zero_copy_only=False), list(blocked["artist"]))
        return cls(artists, max_per_artist, None if eligible.all() else eligible, new_share)


def lists_within_rules(
    scorer: Scorer, users: IndexArray, history: CSRMatrix, k: int, rules: ListRules, content: Scorer | None = None
) -> TopKLists:
    """Select the best k tracks of each user within the rules.

    Args:
        content: the model that finds cold tracks; without it, none are reserved.
    """
    cold = TopKLists.empty(len(users), 0)
    if content is not None and (reserved := round(rules.new_share * k)):
        cold = _cold_tracks(content, users, history, reserved, rules)
    elif not rules.max_per_artist:
        return top_k(scorer, users, history, k, rules.eligible)
    lists = TopKLists.empty(len(users), k)
    short, depth = np.arange(len(users)), k
    while len(short):
        depth = min(depth, scorer.num_tracks)
        candidates = top_k(scorer, users[short], history, depth, rules.eligible)
        picked = _pick(candidates, cold.of(short), k, rules)
        lists.put(short, picked)
        short = short[(picked.sizes < k) & (candidates.sizes == depth) & (depth < scorer.num_tracks)]
        depth *= _DEPTH_FACTOR
    return lists


def _cold_tracks(content: Scorer, users: IndexArray, history: CSRMatrix, k: int, rules: ListRules) -> TopKLists:
    """The best k cold tracks of each user; no tracks for unknown users."""
    eligible = content.cold_tracks if rules.eligible is None else content.cold_tracks & rules.eligible
    lists = top_k(content, users, history, k, eligible)
    lists.sizes[~content.can_personalize(users, history)] = 0
    return lists


def _pick(candidates: TopKLists, cold: TopKLists, k: int, rules: ListRules) -> TopKLists:
    """Pick the first k tracks within the artist limit: the best candidates, then the cold tracks, then the rest."""
    from spark.lists import topk_kernel

    first = k - cold.tracks.shape[1]
    # Content's scores have another scale: a cold track gets the score of the track before it.
    no_score = np.full(cold.scores.shape, np.inf)
    columns = zip(
        (candidates.tracks, candidates.scores, candidates.taken), (cold.tracks, no_score, cold.taken), strict=True
    )
    tracks, scores, taken = (
        np.concatenate([ranked[:, :first], inserted, ranked[:, first:]], axis=1) for ranked, inserted in columns
    )
    positions, sizes = np.zeros((len(tracks), k), np.int64), np.zeros(len(tracks), np.int64)
    topk_kernel.pick(tracks, taken, rules.artists, rules.max_per_artist, positions, sizes)
    descending = np.minimum.accumulate(np.take_along_axis(scores, positions, axis=1), axis=1).astype(np.float32)
    return TopKLists(np.take_along_axis(tracks, positions, axis=1), descending, sizes)
