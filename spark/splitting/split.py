"""Deals interactions into three parts: training, validation and test.

Choices are made by training on the first and measuring on the second. The test part is looked at once, for the report,
after training on the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from common.errors import UserError
from spark.runtime.worker_tasks import run_tasks
from spark.splitting.temporal_split import PartCodes, cut_times, leave_last_n, split_at_times
from spark.storage.interaction_matrix import build_interaction_matrix
from spark.storage.tables import Columns, read_indexed, write_atomically

PARTS = TRAIN, VALIDATION, TEST = ("train", "validation", "test")

_BUCKETS = 1 << 30

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class SplitConfig:
    """How interactions are dealt: the settings under `[split]`."""

    strategy: str
    """`random`: by a hash. `temporal`: the latest of all. `leave_last_n`: the last of each user."""
    test_fraction: float
    validation_fraction: float
    last_n: int
    seed: int


@dataclass(frozen=True)
class HeldOut:
    """Interactions of the validation or test part, sorted by user."""

    users: NDArray[np.int32]
    tracks: NDArray[np.int32]
    values: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    """Whether each is a track that the user likes."""

    @classmethod
    def read(cls, file: Path, liked_from: float | None) -> HeldOut:
        """From a file of a part; `liked_from` is the rating from which a track is relevant, None: all are."""
        columns = [Columns.USER, Columns.TRACK, Columns.VALUE]
        table = pq.read_table(file, columns=columns, use_threads=False, pre_buffer=False)
        users, tracks, values = (table[name].to_numpy() for name in table.column_names)
        return cls(users, tracks, values, np.ones(len(values), bool) if liked_from is None else values >= liked_from)


def split_interactions(
    spark: SparkSession, ingested: Path, how: SplitConfig, into: Path
) -> tuple[dict[str, int], dict[str, str]]:
    """Deals the interactions; returns how many each part has, and what times it was cut at, if it was.

    Writes `parts`, Parquet in a directory `part=train`, one `part=validation` and one `part=test`; `matrix` of the
    first two, and `matrix-train` of the first. Each file of interactions is dealt by a task of its own and keeps its
    name and order.

    Args:
        ingested: the directory that Ingest wrote.
        into: an empty directory that every worker can write.

    Raises:
        UserError: the strategy needs times, and there are none.
    """
    dealt = into / "parts"
    for part in PARTS:
        _directory(dealt, part).mkdir(parents=True)
    files = sorted((ingested / "interactions").glob("*.parquet"))
    part_of, cuts = _strategy(spark, ingested, files, how, into)

    def deal_file(file: Path) -> None:
        interactions = pq.read_table(file)
        parts = part_of(interactions)
        for number, part in enumerate(PARTS):
            table = interactions.filter(pa.array(parts == number))
            write_atomically(_directory(dealt, part) / file.name, partial(pq.write_table, table))

    run_tasks(spark, deal_file, files)
    num_users, num_tracks = (ds.dataset(ingested / name).count_rows() for name in ("users", "tracks"))
    for name, learned in (("matrix", (TRAIN, VALIDATION)), ("matrix-train", (TRAIN,))):
        build_interaction_matrix(
            spark, [_directory(dealt, part) for part in learned], num_users, num_tracks, into / name
        )
    return part_sizes(dealt), cuts


def _strategy(
    spark: SparkSession, ingested: Path, files: Sequence[Path], how: SplitConfig, into: Path
) -> tuple[Callable[[pa.Table], PartCodes], dict[str, str]]:
    """What says the part of each row of a file, and the times that it was told to cut at."""
    if how.strategy == "random":
        return partial(_at_random, ingested, how), {}
    if not ds.dataset(files).count_rows(filter=pc.field(Columns.TIME).is_valid()):
        raise UserError(
            f"[split] strategy = {how.strategy} needs times, and the interactions have none: name their column as "
            "[interactions] time in the dataset's description, or say [split] strategy = random."
        )
    if how.strategy == "leave_last_n":
        return partial(leave_last_n, how.last_n), {}
    cuts = cut_times(spark, files, how.validation_fraction, how.test_fraction, into / "times")
    names = (f"{part}_from" for part in (VALIDATION, TEST))
    return partial(split_at_times, *cuts), {
        name: f"{np.datetime64(time, 's')}Z" for name, time in zip(names, cuts, strict=True)
    }


def _at_random(ingested: Path, how: SplitConfig, interactions: pa.Table) -> PartCodes:
    """The part of each row by its hash: the lowest are the test part, the next the validation part."""
    users, tracks = (
        id_hashes(ingested / name)[interactions[column].to_numpy()]
        for name, column in (("users", Columns.USER), ("tracks", Columns.TRACK))
    )
    buckets, both = _buckets(users, tracks, how.seed), how.test_fraction + how.validation_fraction
    return np.add(buckets < _share(how.test_fraction), buckets < _share(both), dtype=np.int8)


def is_held_out(users: Hashes, tracks: Hashes, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Whether each pair, by the hashes of its ids, is held out; shape (pairs,).

    It depends on the ids and the seed alone: the same pair falls into the same part whatever other rows there are. What
    a fraction holds out, a larger one does too.
    """
    return np.asarray(_buckets(users, tracks, seed) < _share(fraction))


def _buckets(users: Hashes, tracks: Hashes, seed: int) -> Hashes:
    start = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    return _scrambled(_scrambled(users + start) ^ tracks) >> np.uint64(64 - 30)


def _share(fraction: float) -> np.uint64:
    """How many of the buckets a fraction is."""
    return np.uint64(round(fraction * _BUCKETS))


def id_hashes(side: Path) -> Hashes:
    """The hash of each user's or track's own id, by index."""
    return np.asarray(read_indexed(side, Columns.HASH)[Columns.HASH]).astype(np.uint64)


def part_sizes(dealt: Path) -> dict[str, int]:
    """How many interactions each part has."""
    return {part: ds.dataset(_directory(dealt, part)).count_rows() for part in PARTS}


def _directory(dealt: Path, part: str) -> Path:
    return dealt / f"{Columns.PART}={part}"


def _scrambled(bits: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): each bit of the result depends on every bit given."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
