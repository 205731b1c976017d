"""Random parts by a hash of user, track and seed, independent of files, order and other rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark.splitting.temporal_split import PartCodes
from spark.storage.tables import Columns, read_indexed

_BUCKET_BITS = 30

Hashes = NDArray[np.uint64]


def split_at_random(
    ingested: Path, validation_fraction: float, test_fraction: float, seed: int, interactions: pa.Table
) -> PartCodes:
    """Return the part of each row: the lowest hashes are the test part, the next ones the validation part."""
    users, tracks = (
        id_hashes(ingested / name)[interactions[column].to_numpy()]
        for name, column in (("users", Columns.USER), ("tracks", Columns.TRACK))
    )
    buckets, both = _buckets(users, tracks, seed), test_fraction + validation_fraction
    return np.add(buckets < _bucket_count(test_fraction), buckets < _bucket_count(both), dtype=np.int8)


def is_held_out(users: Hashes, tracks: Hashes, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return whether each pair of user and track is held out, shape (pairs,).

    Depends on the ids and the seed alone. A larger fraction holds out a superset.

    Args:
        users, tracks: hashes of the ids, see `id_hashes`.
    """
    return np.asarray(_buckets(users, tracks, seed) < _bucket_count(fraction))


def id_hashes(side: Path) -> Hashes:
    """Return the hash of each user's or track's id, by index."""
    return np.asarray(read_indexed(side, Columns.HASH)[Columns.HASH]).astype(np.uint64)


def _buckets(users: Hashes, tracks: Hashes, seed: int) -> Hashes:
    start = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    return _mix(_mix(users + start) ^ tracks) >> np.uint64(64 - _BUCKET_BITS)


def _bucket_count(fraction: float) -> np.uint64:
    """Return the number of buckets that make up a fraction."""
    return np.uint64(round(fraction * (1 << _BUCKET_BITS)))


def _mix(bits: Hashes) -> Hashes:
    """Mix all bits with the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
