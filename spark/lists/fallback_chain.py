"""The fallback chain: the model that serves each user.

Tiers, see `config.fallbacks`: the champion; content, for users whose history is too short for the champion; popularity
in the user's segment; overall popularity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import NotApplicable
from config.fallbacks import FALLBACK_ALGORITHMS, TIERS
from spark.algorithms.popularity import PopularityScorer
from spark.algorithms.saved_model import fit_model, load_popularity, load_scorer
from spark.algorithms.scorer import IndexArray, Scorer
from spark.algorithms.training_data import TrainingData
from spark.storage.interaction_matrix import CSRMatrix

TierCodes = NDArray[np.int8]
"""Positions in `TIERS`."""


def fit_fallbacks(training: TrainingData, into: Path) -> None:
    """Train the models of the tiers between the champion and popularity, each into a directory named by its tier.

    Tiers whose algorithm cannot learn from the data are left out.
    """
    into.mkdir()
    for tier, algorithm in FALLBACK_ALGORITHMS.items():
        try:
            fit_model(algorithm, training, {}, into / tier)
        except NotApplicable:
            continue


@dataclass(frozen=True)
class FallbackChain:
    """The saved models of all tiers, at paths that every worker can read."""

    champion: Path
    fallbacks: Path
    """The directory that `fit_fallbacks` created."""
    min_history: int = 1
    """Minimum number of heard tracks for the champion to be preferred."""

    @property
    def content(self) -> Scorer | None:
        """The model that finds cold tracks; None if the catalogue has no metadata."""
        model = self.fallbacks / "content"
        return load_scorer(model) if model.is_dir() else None

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        """The scorer of each available tier.

        If a popularity ranking is the champion, content is not a tier: it lost to that ranking.
        """
        champion = load_scorer(self.champion)
        skipped = {"content"} if champion.ranks_by_popularity else set()
        models = {tier: self.fallbacks / tier for tier in FALLBACK_ALGORITHMS if tier not in skipped}
        return {
            "model": champion,
            **{tier: load_scorer(model) for tier, model in models.items() if model.is_dir()},
            "popularity": PopularityScorer(load_popularity(self.champion)),
        }

    def tiers(self, users: IndexArray, history: CSRMatrix) -> TierCodes:
        """The tier of each user, shape (len(users),)."""
        names = list(TIERS)
        can_serve = {tier: scorer.can_personalize(users, history) for tier, scorer in self.scorers.items()}
        can_serve["popularity"] = np.ones(len(users), bool)
        codes = np.zeros(len(users), np.int8)
        # Ascending preference for users with a short history: the champion is better than no personalisation, and
        # content better than the champion.
        for tier in ("popularity", "segment", "model", "content"):
            codes[can_serve.get(tier, False)] = names.index(tier)
        long_enough = np.diff(history.indptr)[users] >= self.min_history
        codes[can_serve["model"] & long_enough] = names.index("model")
        return codes
