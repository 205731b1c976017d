"""Split interactions into a training, a validation and a test part.

Settings are tuned by training on the first and evaluating on the second. The test part is evaluated after training on
the other two.
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
from spark.splitting.random_split import split_at_random
from spark.splitting.temporal_split import PartCodes, cut_times, leave_last_n, split_at_times
from spark.storage.interaction_matrix import build_interaction_matrix
from spark.storage.tables import Columns, write_atomically

PARTS = TRAIN, VALIDATION, TEST = ("train", "validation", "test")

MATRIX = "matrix"
"""Directory of the interaction matrix of the training and validation parts together."""

TRAIN_MATRIX = "matrix-train"
"""Directory of the interaction matrix of the training part."""


@dataclass(frozen=True)
class SplitConfig:
    """The settings under `[split]`."""

    strategy: str
    """`random`: by a hash. `temporal`: the latest of all interactions. `leave_last_n`: the latest of each user."""
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
    """Whether the user likes the track."""

    @classmethod
    def read(cls, file: Path, liked_from: float | None) -> HeldOut:
        """Read a file of a part.

        Args:
            liked_from: the rating from which a track is relevant; None makes all tracks relevant.
        """
        columns = [Columns.USER, Columns.TRACK, Columns.VALUE]
        table = pq.read_table(file, columns=columns, use_threads=False, pre_buffer=False)
        users, tracks, values = (table[name].to_numpy() for name in table.column_names)
        return cls(users, tracks, values, np.ones(len(values), bool) if liked_from is None else values >= liked_from)


def split_interactions(
    spark: SparkSession, ingested: Path, config: SplitConfig, into: Path
) -> tuple[dict[str, int], dict[str, str]]:
    """Split the interactions; return the size of each part, and the cut times of a temporal split.

    Writes `parts`, Parquet in the directories `part=train`, `part=validation` and `part=test`; `matrix` of the first
    two parts; and `matrix-train` of the first. Each file of interactions is split by its own task and keeps its name
    and order.

    Args:
        ingested: the output of Ingest.
        into: an empty directory that every worker can write.

    Raises:
        UserError: the strategy needs times, and the interactions have none.
    """
    for part in PARTS:
        part_directory(into, part).mkdir(parents=True)
    files = sorted((ingested / "interactions").glob("*.parquet"))
    assign_parts, cuts = _strategy(spark, ingested, files, config, into)

    def split_file(file: Path) -> None:
        interactions = pq.read_table(file)
        codes = assign_parts(interactions)
        for code, part in enumerate(PARTS):
            table = interactions.filter(pa.array(codes == code))
            write_atomically(part_directory(into, part) / file.name, partial(pq.write_table, table))

    run_tasks(spark, split_file, files)
    num_users, num_tracks = (ds.dataset(ingested / name).count_rows() for name in ("users", "tracks"))
    for name, parts in ((MATRIX, (TRAIN, VALIDATION)), (TRAIN_MATRIX, (TRAIN,))):
        directories = [part_directory(into, part) for part in parts]
        build_interaction_matrix(spark, directories, num_users, num_tracks, into / name)
    return part_sizes(into), cuts


def _strategy(
    spark: SparkSession, ingested: Path, files: Sequence[Path], config: SplitConfig, into: Path
) -> tuple[Callable[[pa.Table], PartCodes], dict[str, str]]:
    """Return the function that assigns rows to parts, and the cut times of a temporal split."""
    if config.strategy == "random":
        assign = partial(split_at_random, ingested, config.validation_fraction, config.test_fraction, config.seed)
        return assign, {}
    if not ds.dataset(files).count_rows(filter=pc.field(Columns.TIME).is_valid()):
        raise UserError(
            f"[split] strategy = {config.strategy} needs times, and the interactions have none: set "
            "[interactions] time in the dataset's description to their column, or [split] strategy = random."
        )
    if config.strategy == "leave_last_n":
        return partial(leave_last_n, config.last_n), {}
    cuts = cut_times(spark, files, config.validation_fraction, config.test_fraction, into / "times")
    names = (f"{part}_from" for part in (VALIDATION, TEST))
    return partial(split_at_times, *cuts), {
        name: f"{np.datetime64(time, 's')}Z" for name, time in zip(names, cuts, strict=True)
    }


def part_sizes(split: Path) -> dict[str, int]:
    """Return the number of interactions in each part."""
    return {part: ds.dataset(part_directory(split, part)).count_rows() for part in PARTS}


def part_directory(split: Path, part: str) -> Path:
    """Return the directory of a part in the output of Split."""
    return split / "parts" / f"{Columns.PART}={part}"
