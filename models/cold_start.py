"""Recommendations for a new user, from the tracks they name, without a JVM.

The user is folded into the served model if it is a factor model. Otherwise the stored similarities of the named tracks
are summed. numpy and Arrow, which only folding in needs, are imported on first use.
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
_open_lock = threading.Lock()


@dataclass(frozen=True)
class ColdStartResult:
    """Recommendations for a new user."""

    lines: list[ScoredTrack]
    """The recommended tracks, best first."""
    unknown: list[str]
    """The given ids that are not tracks of the version."""
    folded_in: bool
    """Whether the scores come from folding in; otherwise they are summed similarities."""


def recommend_for_new_user(store: ServingStore, heard: Mapping[str, float], k: int) -> ColdStartResult:
    """Return the best `k` tracks for a user with the given history, without the tracks in it.

    Args:
        store: the store of a published version.
        heard: plays or rating by track id; above 0.
        k: maximum number of tracks.

    Raises:
        ValueError: the version contains none of the tracks.
    """
    known = store.track_indexes(list(heard))
    unknown = [track for track in heard if track not in known]
    if not known:
        raise ValueError(f"None of {', '.join(map(repr, unknown[:5]))} is a track of version {store.version.name}.")
    values = {index: heard[track] for track, index in known.items()}
    model = _fold_in(store.version / "model", store.num_tracks)
    limit = k + len(values)
    best = _most_similar(store, values) if model is None else model.best(values, limit)
    top = [(index, score) for index, score in best[:limit] if index not in values][:k]
    tracks = store.tracks_by_index([index for index, _ in top])
    return ColdStartResult([ScoredTrack(tracks[index], score) for index, score in top], unknown, model is not None)


def _fold_in(model: Path, num_tracks: int) -> FoldIn | None:
    """Return the model or part of a blend into which users can be folded, if any. A version never changes: cached."""
    with _open_lock:  # concurrent first requests wait instead of opening the model again
        return _open_fold_in(model, num_tracks)


@lru_cache(maxsize=4)
def _open_fold_in(model: Path, num_tracks: int) -> FoldIn | None:
    with suppress(StoreError):  # a model that cannot fold users in, or of an unknown algorithm
        for directory, algorithm in saved_algorithms(model):
            if algorithm.can_fold_in:
                with _single_threaded_numpy():
                    from models.fold_in import FoldIn
                return FoldIn.open(directory, num_tracks)
    return None


@contextmanager
def _single_threaded_numpy() -> Iterator[None]:
    """Make numpy compute matrix products in the calling thread, if it is first imported in this context.

    A server already has threads. Together with those of OpenBLAS, which spin while they wait, eight concurrent requests
    had four times the median latency, and up to two seconds. The environment is restored for child processes.
    """
    before = os.environ.get(_THREADS)
    os.environ.setdefault(_THREADS, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]


def _most_similar(store: ServingStore, values: Mapping[int, float]) -> list[tuple[int, float]]:
    """Return tracks and the sums of their similarities to those heard, best first."""
    sums: Counter[int] = Counter()
    for index in values:
        sums.update(store.similarities(index))
    return sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))
