"""The list that each user gets: from the highest tier of the fallback chain that can serve them, and within the rules.

Rungs, see `config.fallbacks`: the champion; content, for users with less history than the champion is trusted with;
popularity in a user's segment; popularity. Rules, all off by default: tracks that are blocked, at most so many tracks
of one artist, and a share of each list for tracks that hardly anybody has heard yet, which content finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import NotApplicable
from config.fallbacks import TIERS
from spark.algorithms.content import ContentScorer
from spark.algorithms.popularity import PopularityScorer
from spark.algorithms.saved_model import fit_model, load_popularity, load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.algorithms.segment_popularity import SegmentScorer
from spark.algorithms.training_data import TrainingData
from spark.lists.topk import TopKLists, top_k
from spark.storage.interaction_matrix import CSRMatrix
from spark.storage.tables import Columns, explode_texts, read_indexed

FALLBACK_MODELS = {"content": "content", "segment": "segment-popularity"}
"""The tiers between the champion and popularity, and the model of each."""

_DEEPER = 4
"""How many times as deep a look is taken, again and again, where an artist's limit leaves a list short."""

TierCodes = NDArray[np.int8]
"""Places in `TIERS`."""


def fit_fallbacks(training: TrainingData, into: Path) -> None:
    """Trains the tiers below the champion, as far as this data has what they need."""
    into.mkdir()
    for tier, model in FALLBACK_MODELS.items():
        try:
            fit_model(model, training, {}, into / tier)
        except NotApplicable:
            continue


@dataclass(frozen=True)
class FallbackChain:
    """The models that serve, best first: saved ones, at paths that every worker can read."""

    champion: Path
    fallbacks: Path
    """What `fit_fallbacks` made."""
    min_history: int = 1
    """How many tracks a user must have heard for the champion to be asked."""

    @property
    def content(self) -> ContentScorer | None:
        """What finds new tracks; None where nothing is known of tracks."""
        found = load_scorer(self.fallbacks / "content") if (self.fallbacks / "content").is_dir() else None
        assert found is None or isinstance(found, ContentScorer)
        return found

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        """The tiers that there are. Where popularity has won, nothing that lost to it comes before it."""
        champion = load_scorer(self.champion)
        won = isinstance(champion, PopularityScorer | SegmentScorer)
        there = [
            tier for tier in FALLBACK_MODELS if (self.fallbacks / tier).is_dir() and not (won and tier == "content")
        ]
        last = PopularityScorer(load_popularity(self.champion))
        return {"model": champion, **{tier: load_scorer(self.fallbacks / tier) for tier in there}, "popularity": last}

    def tiers(self, users: IndexArray, heard: CSRMatrix) -> TierCodes:
        """The tier of each user."""
        names = list(TIERS)
        knows = {tier: scorer.can_personalize(users, heard) for tier, scorer in self.scorers.items()}
        knows["popularity"] = np.ones(len(users), bool)
        enough = np.diff(heard.indptr)[users] >= self.min_history
        found = np.zeros(len(users), np.int8)
        # What comes later goes before what came earlier: with little history the champion is better than no taste at
        # all, and content better than that.
        for tier in ("popularity", "segment", "model", "content"):
            found[knows.get(tier, False)] = names.index(tier)
        found[knows["model"] & enough] = names.index("model")
        return found


@dataclass(frozen=True)
class ListRules:
    """What lists keep to besides scores."""

    artists: NDArray[np.int32]
    """Each track's artist as a number; −1: not known, and not limited."""
    max_per_artist: int = 0
    """Tracks of one artist in a list; 0: any number."""
    eligible: NDArray[np.bool_] | None = None
    """Which tracks may be listed; None: all."""
    new_share: float = 0.0
    """Share of a list's places, at its end, that are kept for new tracks."""

    @property
    def may_shorten(self) -> bool:
        """Whether a list may be shorter than there are tracks."""
        return self.max_per_artist > 0 or self.eligible is not None

    @classmethod
    def of(cls, tracks: Path, *, max_per_artist: int, new_share: float, blocked: dict[str, set[str]]) -> ListRules:
        """The rules for a catalogue.

        Args:
            tracks: the Parquet of tracks that Ingest wrote.
            blocked: ids under "track" and names under "artist" that nobody is recommended.
        """
        table = read_indexed(tracks)
        artists = np.full(len(table), -1, np.int32)
        eligible = ~np.isin(table[Columns.TRACK_ID].to_numpy(), list(blocked["track"]))
        if "artist" in table.column_names:
            rows, names = explode_texts(table["artist"])
            encoded = names.dictionary_encode()
            artists[rows] = encoded.indices.to_numpy()
            eligible[rows] &= ~np.isin(names.to_numpy(zero_copy_only=False), list(blocked["artist"]))
        return cls(artists, max_per_artist, None if eligible.all() else eligible, new_share)


def build_lists(
    chain: FallbackChain, users: IndexArray, heard: CSRMatrix, k: int, rules: ListRules
) -> tuple[TopKLists, TierCodes]:
    """The lists of some users, and the tier of each: the rules hold on every tier."""
    tiers, lists = chain.tiers(users, heard), TopKLists.empty(len(users), k)
    for place, tier in enumerate(TIERS):
        mine = np.flatnonzero(tiers == place)
        if len(mine):
            lists.put(
                mine,
                lists_within_rules(chain.scorers[tier], users[mine], heard, k, rules, chain.content),
            )
    return lists, tiers


def lists_only(chain: FallbackChain, rules: ListRules, users: IndexArray, heard: CSRMatrix, k: int) -> TopKLists:
    """The lists alone."""
    return build_lists(chain, users, heard, k, rules)[0]


def lists_within_rules(
    scorer: Scorer, users: IndexArray, heard: CSRMatrix, k: int, rules: ListRules, content: ContentScorer | None = None
) -> TopKLists:
    """The best k tracks of each user within the rules.

    Args:
        content: finds the new tracks; there are none where it is None.
    """
    fresh = TopKLists.empty(len(users), 0)
    if content is not None and (places := round(rules.new_share * k)):
        new = content.new_tracks
        fresh = top_k(content, users, heard, places, new if rules.eligible is None else new & rules.eligible)
        fresh.sizes[~content.can_personalize(users, heard)] = 0
    elif not rules.max_per_artist:
        return top_k(scorer, users, heard, k, rules.eligible)
    found = TopKLists.empty(len(users), k)
    short, depth = np.arange(len(users)), k
    while len(short):
        depth = min(depth, scorer.num_tracks)
        deep = top_k(scorer, users[short], heard, depth, rules.eligible)
        picked = _picked(deep, fresh.of(short), k, rules)
        found.put(short, picked)
        short = short[(picked.sizes < k) & (deep.sizes == depth) & (depth < scorer.num_tracks)]
        depth *= _DEEPER
    return found


def _picked(deep: TopKLists, fresh: TopKLists, k: int, rules: ListRules) -> TopKLists:
    """The first k that the rules allow: of the best tracks, then new ones, then the others."""
    from spark.lists import topk_kernel

    first = k - fresh.tracks.shape[1]
    # What content says of a new track is on a scale of its own: its score is that of the line before.
    parts = (deep.tracks, deep.scores, deep.taken), (fresh.tracks, np.full(fresh.scores.shape, np.inf), fresh.taken)
    tracks, scores, taken = (
        np.concatenate([best_ones[:, :first], new_ones, best_ones[:, first:]], axis=1)
        for best_ones, new_ones in zip(*parts, strict=True)
    )
    places, sizes = np.zeros((len(tracks), k), np.int64), np.zeros(len(tracks), np.int64)
    topk_kernel.pick(tracks, taken, rules.artists, rules.max_per_artist, places, sizes)
    picked = np.minimum.accumulate(np.take_along_axis(scores, places, axis=1), axis=1).astype(np.float32)
    return TopKLists(np.take_along_axis(tracks, places, axis=1), picked, sizes)
