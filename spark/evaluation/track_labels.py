"""The artist, genre and tags of each track as numbers, to compare tracks with one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark.storage.tables import explode_texts, read_indexed


@dataclass(frozen=True)
class TrackLabels:
    """Track t has the labels `labels[starts[t]:starts[t + 1]]`, in ascending order."""

    starts: NDArray[np.int64]
    labels: NDArray[np.int32]


@lru_cache(maxsize=2)
def load_track_labels(catalogue: Path) -> TrackLabels | None:
    """Read the labels from the Parquet of tracks; None if no track has any.

    Genres and tags are labels of one kind, because the first tag replaces a missing genre.
    """
    table = read_indexed(catalogue)
    artists, styles = (
        [explode_texts(table[name]) for name in names if name in table.column_names]
        for names in (["artist"], ["genre", "tags"])
    )
    tracks, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    total = 0
    for kind in (artists, styles):
        if kind:
            encoded = pa.concat_arrays([texts for _, texts in kind]).dictionary_encode()
            tracks += [rows for rows, _ in kind]
            labels.append(encoded.indices.to_numpy().astype(np.int64) + total)
            total += len(encoded.dictionary)
    if total == 0:
        return None
    pairs = np.unique(np.concatenate(tracks) * total + np.concatenate(labels))
    counts = np.bincount(pairs // total, minlength=len(table))
    return TrackLabels(np.concatenate([[0], np.cumsum(counts)]), (pairs % total).astype(np.int32))
