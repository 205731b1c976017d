"""Our own tables: their columns, and how Spark's tasks read and write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

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

SIMILAR = (Columns.TRACK_ID, "rank", "similar_id", "score")
"""Columns of the lists of similar tracks."""


def read_parquet(spark: SparkSession, *paths: Path) -> DataFrame:
    """The Parquet below some paths."""
    return spark.read.parquet(*map(literal, paths))


def literal(path: Path) -> str:
    """A path as it is: Spark would see a pattern in some."""
    return re.sub(r"([\\*?{}\[\]])", r"\\\1", str(path))


def written(file: Path, write: Callable[[Path], None]) -> None:
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
