"""Deals interactions into a training and a test part."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark.blocks import build
from spark.tables import Columns, written
from spark.tasks import in_tasks

TRAIN = "train"
TEST = "test"

_BUCKETS = 1 << 30

Hashes = NDArray[np.uint64]


def deal(spark: SparkSession, ingested: Path, test_fraction: float, seed: int, into: Path) -> dict[str, int]:
    """Deals the interactions; returns how many each part has.

    Writes `dealt`, Parquet in a directory `part=train` and one `part=test`, and `blocks` of the training part. Each
    file of interactions is dealt by a task of its own and keeps its name and order.

    Args:
        ingested: the directory that Ingest wrote.
        test_fraction: share of the interactions that goes to the test part, about.
        seed: another one deals otherwise.
        into: an empty directory that every worker can write.
    """
    dealt = into / "dealt"
    for part in (TRAIN, TEST):
        _directory(dealt, part).mkdir(parents=True)
    files = sorted((ingested / "interactions").glob("*.parquet"))

    def deal_file(file: Path) -> None:
        interactions = pq.read_table(file)
        users, tracks = (
            hashes(ingested / name)[interactions[column].to_numpy()]
            for name, column in (("users", Columns.USER), ("tracks", Columns.TRACK))
        )
        chosen = held_out(users, tracks, test_fraction, seed)
        for part, rows in ((TRAIN, ~chosen), (TEST, chosen)):
            table = interactions.filter(pa.array(rows))
            written(_directory(dealt, part) / file.name, partial(pq.write_table, table))

    in_tasks(spark, deal_file, files)
    num_users, num_tracks = (ds.dataset(ingested / name).count_rows() for name in ("users", "tracks"))
    build(spark, _directory(dealt, TRAIN), num_users, num_tracks, into / "blocks")
    return sizes(dealt)


def held_out(users: Hashes, tracks: Hashes, test_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Whether each pair, by the hashes of its ids, is in the test part; shape (pairs,).

    It depends on the ids and the seed alone: the same pair falls into the same part whatever other rows there are.
    """
    start = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    mixed = _scrambled(_scrambled(users + start) ^ tracks)
    bucket = mixed >> np.uint64(64 - 30)
    return np.asarray(bucket < np.uint64(round(test_fraction * _BUCKETS)))


def hashes(described: Path) -> Hashes:
    """The hash of each user's or track's own id, by index."""
    table = ds.dataset(described).to_table(columns=[Columns.INDEX, Columns.HASH]).sort_by(Columns.INDEX)
    return np.asarray(table[Columns.HASH]).astype(np.uint64)


def sizes(dealt: Path) -> dict[str, int]:
    """How many interactions each part has."""
    return {part: ds.dataset(_directory(dealt, part)).count_rows() for part in (TRAIN, TEST)}


def _directory(dealt: Path, part: str) -> Path:
    return dealt / f"{Columns.PART}={part}"


def _scrambled(bits: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): each bit of the result depends on every bit given."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
