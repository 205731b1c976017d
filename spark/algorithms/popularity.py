"""The baseline: everyone gets what most users have heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark.algorithms import Floats, Indexes, Ranker, Report, Training, popularity_of
from spark.blocks import Rows


def fit(training: Training, settings: Mapping[str, Any], into: Path, report: Report) -> dict[str, Any]:
    """Makes the model's directory; the counts that every model carries are all there is to it."""
    into.mkdir()
    return {}


def load(model: Path) -> PopularityScorer:
    """Opens a saved model."""
    return PopularityScorer(popularity_of(model))


@dataclass(frozen=True)
class PopularityScorer(Ranker):
    """Scores a track by its number of users, the same for everyone."""

    def knows(self, users: Indexes, heard: Rows) -> NDArray[np.bool_]:
        """See `Scorer`: of nobody."""
        return np.zeros(len(users), bool)

    def scores(self, users: Indexes, heard: Rows) -> Floats:
        """See `Scorer`."""
        return np.tile(self.popularity, (len(users), 1))
