"""Deals interactions into a training and a test part."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark.schemas import Columns

TRAIN = "train"
TEST = "test"

_BUCKETS = 1 << 30


def deal(interactions: DataFrame, test_fraction: float, seed: int) -> DataFrame:
    """Adds `part`: "test" for about `test_fraction` of the rows, "train" for the rest.

    The part depends on the user's and track's own ids and the seed alone, through a hash: the same rows fall into
    the same part whatever the partitioning, and whatever other rows there are.
    """
    bucket = F.pmod(F.xxhash64(Columns.PAIR, F.lit(seed)), F.lit(_BUCKETS))
    part = F.when(bucket < F.lit(round(test_fraction * _BUCKETS)), TEST).otherwise(TRAIN)
    return interactions.select("*", part.alias(Columns.PART))


def sizes(dealt: Path) -> dict[str, int]:
    """How many interactions each part has, from Parquet written with `partitionBy("part")`."""
    parts = {part: dealt / f"{Columns.PART}={part}" for part in (TRAIN, TEST)}
    return {part: ds.dataset(files).count_rows() if files.is_dir() else 0 for part, files in parts.items()}
