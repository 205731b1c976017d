"""Recommendations at once, for somebody whom no model knows: from the tracks that they name, without a JVM.

Where the served model has factors, the newcomer is folded in; else what is similar to the named tracks is added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from config.errors import StoreError
from models.fold_in import FoldIn
from models.store import Listed, Store

FACTORS = ("", "als")
"""Where in a version's model directory factors may be: it is a factor model itself, or a hybrid with such a part."""


@dataclass(frozen=True)
class Welcome:
    """What a newcomer is recommended."""

    lines: list[Listed]
    unknown: list[str]
    """Ids that the version has no track of."""
    folded_in: bool
    """Whether by fold-in; else by what is similar."""


def recommend_to_newcomer(store: Store, heard: Mapping[str, float], k: int) -> Welcome:
    """The best `k` tracks for somebody who heard some tracks, these left out.

    Args:
        store: a published version's.
        heard: by the track's own id, how often it was heard, or its rating; above 0.
        k: how many; there may be fewer.

    Raises:
        ValueError: the version has none of the tracks.
    """
    known = store.indexes(list(heard))
    unknown = [track for track in heard if track not in known]
    if not known:
        raise ValueError(f"None of {', '.join(map(repr, unknown[:5]))} is a track of version {store.version.name}.")
    values = {index: heard[track] for track, index in known.items()}
    folding = _folding(store.version / "model", store.num_tracks)
    most = k + len(values)
    best = _by_similar(store, values) if folding is None else _by_factors(folding, values, most)
    top = [(index, score) for index, score in best[:most] if index not in values][:k]
    tracks = store.tracks_at([index for index, _ in top])
    return Welcome([Listed(tracks[index], score) for index, score in top], unknown, folding is not None)


@lru_cache(maxsize=4)
def _folding(model: Path, num_tracks: int) -> FoldIn | None:
    """The model's factors, if it has some that take users in: opened once, as a version never changes."""
    for part in FACTORS:
        if (model / part / "itemFactors").is_dir():
            try:
                return FoldIn.open(model / part, num_tracks)
            except StoreError:
                continue
    return None


def _by_factors(folding: FoldIn, values: Mapping[int, float], most: int) -> list[tuple[int, float]]:
    """So many of the best tracks and their scores, in order."""
    own = folding.user(np.array(list(values)), np.array(list(values.values())))
    scores = folding.tracks @ own
    known = folding.tracks.any(axis=1)
    scores[~known] = -np.inf
    most = min(most, int(known.sum()))
    top = np.argpartition(-scores, most - 1)[:most]
    order = top[np.lexsort((top, -scores[top]))]
    return list(zip(order.tolist(), scores[order].tolist(), strict=True))


def _by_similar(store: Store, values: Mapping[int, float]) -> list[tuple[int, float]]:
    """The tracks that are similar to what was heard, each with the sum of how much."""
    sums: Counter[int] = Counter()
    for index in values:
        sums.update(store.similar_to(index))
    return sorted(sums.items(), key=lambda each: (-each[1], each[0]))
