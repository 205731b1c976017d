"""Columns of the tables that stages exchange, and functions with which tasks read and write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession


class Columns:
    """Column names."""

    USER = "user"
    """Dense index of a user, from 0; valid within one ingest."""
    TRACK = "track"
    VALUE = "value"
    TIME = "time"
    """Seconds since 1970, UTC; null if the data has no times."""
    HASH = "hash"
    """Hash of a user's or track's id; independent of the rest of the data."""
    INDEX = "index"
    USER_ID = "user_id"
    TRACK_ID = "track_id"
    PART = "part"
    ROWS = "rows"
    REJECT = "reject"
    """The reason why a row is rejected, and the row; null for a usable row."""
    REASON = "reason"
    ROW = "row"


RECOMMENDATIONS = (Columns.USER_ID, "rank", Columns.TRACK_ID, "score")
"""Columns of the recommendations: text, int32 from 1, text, float32."""

BECAUSE = "because"
"""Optional column of the recommendations: ids of the user's tracks that contributed most."""

TIER = "tier"
"""Column with one row for each user: the tier of the fallback chain that made the list, see `config.fallbacks`."""

SIMILAR = (Columns.TRACK_ID, "rank", "similar_id", "score")
"""Columns of the lists of similar tracks."""


def read_parquet(spark: SparkSession, *paths: Path) -> DataFrame:
    """Read Parquet files and directories."""
    return spark.read.parquet(*map(escape_glob, paths))


def read_indexed(side: Path, *columns: str) -> pa.Table:
    """Read columns of the users or tracks that Ingest wrote, or all columns; row i has the index i."""
    return pq.read_table(side, columns=list(columns) or None, use_threads=False, pre_buffer=False)


def explode_texts(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the row and the text of each non-null value in a column of texts or of lists of texts."""
    values = column.combine_chunks()
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        rows, texts = pc.list_parent_indices(values).to_numpy(), pc.list_flatten(values)
    else:
        rows, texts = np.arange(len(values)), values
    valid = texts.is_valid()
    return rows[valid.to_numpy(zero_copy_only=False)].astype(np.int64), texts.filter(valid).cast(pa.string())


def escape_glob(path: Path) -> str:
    """Escape a path for Spark, which otherwise expands patterns in it."""
    return re.sub(r"([\\*?{}\[\]])", r"\\\1", str(path))


def write_atomically(file: Path, write: Callable[[Path], None]) -> None:
    """Write a temporary file and rename it, so that a repeated or concurrent task never leaves a partial file."""
    context = TaskContext.get()
    temporary = file.with_name(f"{file.name}.{context.taskAttemptId() if context else 'driver'}")
    try:
        write(temporary)
        temporary.replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
