"""Our own tables: their columns, and how Spark's tasks read and write them."""

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
    """Names of the columns in our own tables."""

    USER = "user"
    """Dense index of a user, from 0: private to one ingest."""
    TRACK = "track"
    VALUE = "value"
    TIME = "time"
    """Seconds since 1970, UTC; null where the data has no times."""
    HASH = "hash"
    """A hash of a user's or track's own id: the same whatever else is in the data."""
    INDEX = "index"
    USER_ID = "user_id"
    TRACK_ID = "track_id"
    PART = "part"
    ROWS = "rows"
    REJECT = "reject"
    """Why a row cannot be used, and the row; null where it can."""
    REASON = "reason"
    ROW = "row"


RECOMMENDATIONS = (Columns.USER_ID, "rank", Columns.TRACK_ID, "score")
"""Columns of the lists: text, int32 from 1, text, float32."""

BECAUSE = "because"
"""One more column of the lists: the ids of the tracks that the user heard and that contributed most."""

TIER = "tier"
"""One row a user, by index: what their list stands on, see `config.fallbacks`."""

SIMILAR = (Columns.TRACK_ID, "rank", "similar_id", "score")
"""Columns of the lists of similar tracks."""


def read_parquet(spark: SparkSession, *paths: Path) -> DataFrame:
    """The Parquet below some paths."""
    return spark.read.parquet(*map(escape_glob, paths))


def read_indexed(side: Path, *columns: str) -> pa.Table:
    """Columns of the users or tracks that Ingest described, or all: one row an index, in their order."""
    return pq.read_table(side, columns=list(columns) or None, use_threads=False, pre_buffer=False)


def explode_texts(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Of each text in a column of texts or of lists of them: the row it stands in, and the text. Nulls are left out."""
    whole = column.combine_chunks()
    if pa.types.is_list(whole.type) or pa.types.is_large_list(whole.type):
        rows, texts = pc.list_parent_indices(whole).to_numpy(), pc.list_flatten(whole)
    else:
        rows, texts = np.arange(len(whole)), whole
    valid = texts.is_valid()
    return rows[valid.to_numpy(zero_copy_only=False)].astype(np.int64), texts.filter(valid).cast(pa.string())


def escape_glob(path: Path) -> str:
    """A path as it is: Spark would see a pattern in some."""
    return re.sub(r"([\\*?{}\[\]])", r"\\\1", str(path))


def write_atomically(file: Path, write: Callable[[Path], None]) -> None:
    """Writes beside the file and renames, so that a task that is repeated or doubled never leaves half a file."""
    context = TaskContext.get()
    beside = file.with_name(f"{file.name}.{context.taskAttemptId() if context else 'driver'}")
    try:
        write(beside)
        beside.replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            beside.unlink()
        raise
