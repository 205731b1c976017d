"""Recommendations at once, for somebody whom no model knows: from the tracks that they name, without a JVM.

Where the served model has factors, the newcomer is folded in; else what is similar to the named tracks is added up.
What folding in needs, numpy and Arrow, is loaded when somebody asks for it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import StoreError
from models.model_directory import saved_algorithms
from models.serving_records import ScoredTrack
from models.serving_store import ServingStore

if TYPE_CHECKING:
    from models.fold_in import FoldIn

_THREADS = "OPENBLAS_NUM_THREADS"
_opening = threading.Lock()


@dataclass(frozen=True)
class ColdStartResult:
    """What a newcomer is recommended."""

    lines: list[ScoredTrack]
    unknown: list[str]
    """Ids that the version has no track of."""
    folded_in: bool
    """Whether by fold-in; else by what is similar."""


def recommend_for_new_user(store: ServingStore, heard: Mapping[str, float], k: int) -> ColdStartResult:
    """The best `k` tracks for somebody who heard some tracks, these left out.

    Args:
        store: a published version's.
        heard: by the track's own id, how often it was heard, or its rating; above 0.
        k: how many; there may be fewer.

    Raises:
        ValueError: the version has none of the tracks.
    """
    known = store.track_indexes(list(heard))
    unknown = [track for track in heard if track not in known]
    if not known:
        raise ValueError(f"None of {', '.join(map(repr, unknown[:5]))} is a track of version {store.version.name}.")
    values = {index: heard[track] for track, index in known.items()}
    folding = _folding(store.version / "model", store.num_tracks)
    most = k + len(values)
    best = _by_similar(store, values) if folding is None else folding.best(values, most)
    top = [(index, score) for index, score in best[:most] if index not in values][:k]
    tracks = store.tracks_by_index([index for index, _ in top])
    return ColdStartResult([ScoredTrack(tracks[index], score) for index, score in top], unknown, folding is not None)


def _folding(model: Path, num_tracks: int) -> FoldIn | None:
    """The model's factors, if it has some that take users in: opened once, as a version never changes."""
    with _opening:  # who comes meanwhile waits, and does not open them again
        return _opened(model, num_tracks)


@lru_cache(maxsize=4)
def _opened(model: Path, num_tracks: int) -> FoldIn | None:
    with suppress(StoreError):  # a model that cannot fold users in, or of an unknown algorithm
        for directory, algorithm in saved_algorithms(model):
            if algorithm.can_fold_in:
                with _numpy_in_one_thread():
                    from models.fold_in import FoldIn
                return FoldIn.open(directory, num_tracks)
    return None


@contextmanager
def _numpy_in_one_thread() -> Iterator[None]:
    """Where numpy is first imported in here, its products stay in the thread that asks for them.

    A server has threads of its own; beside those of OpenBLAS, which spin while they wait, eight requests at a time took
    four times as long as a median, and up to two seconds. Processes that are started later are not concerned.
    """
    given = os.environ.get(_THREADS)
    os.environ.setdefault(_THREADS, "1")
    try:
        yield
    finally:
        if given is None:
            del os.environ[_THREADS]


def _by_similar(store: ServingStore, values: Mapping[int, float]) -> list[tuple[int, float]]:
    """The tracks that are similar to what was heard, each with the sum of how much."""
    sums: Counter[int] = Counter()
    for index in values:
        sums.update(store.similarities(index))
    return sorted(sums.items(), key=lambda each: (-each[1], each[0]))
