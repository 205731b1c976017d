"""Column names and schemas that several jobs share."""

from __future__ import annotations

from pyspark.sql import types as T


class Columns:
    """Names of the columns in our own tables."""

    USER = "user"
    """Dense index of a user, from 0: private to one ingest."""
    TRACK = "track"
    VALUE = "value"
    TIME = "time"
    """Seconds since 1970, UTC; null where the data has no times."""
    PAIR = "pair"
    """A hash of the user's and track's own ids: the same whatever else is in the data."""
    INDEX = "index"
    USER_ID = "user_id"
    TRACK_ID = "track_id"
    PART = "part"
    ROWS = "rows"
    REASON = "reason"
    ROW = "row"


INTERACTIONS = T.StructType(
    [
        T.StructField(Columns.USER, T.IntegerType(), nullable=False),
        T.StructField(Columns.TRACK, T.IntegerType(), nullable=False),
        T.StructField(Columns.VALUE, T.DoubleType(), nullable=False),
        T.StructField(Columns.TIME, T.LongType()),
        T.StructField(Columns.PAIR, T.LongType(), nullable=False),
    ]
)

RECOMMENDATIONS = T.StructType(
    [
        T.StructField(Columns.USER_ID, T.StringType(), nullable=False),
        T.StructField("rank", T.IntegerType(), nullable=False),
        T.StructField(Columns.TRACK_ID, T.StringType(), nullable=False),
        T.StructField("score", T.FloatType(), nullable=False),
    ]
)
