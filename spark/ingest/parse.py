"""Cast and validate raw rows of interactions: each is kept, or rejected with a reason."""

from __future__ import annotations

import numpy as np
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.errors import UserError
from config.dataset import Interactions
from spark.ingest.encode_interactions import REASON_SEPARATOR
from spark.ingest.expressions import lenient_casts, resolve_column
from spark.ingest.raw_lines import REPLACEMENT
from spark.ingest.raw_table import LINE, MALFORMED, RawTable
from spark.storage.tables import Columns

REASONS = (
    "malformed_row",
    "undecodable",
    "missing_user",
    "missing_track",
    "not_a_number",
    "not_finite",
    "out_of_range",
    "bad_time",
)
"""Why a row is rejected; the first that applies is reported."""

MAX_VALUE = float(np.finfo(np.float32).max)
"""Models compute in single precision, where larger values are infinite."""

MAX_TIME = 253_402_300_799
"""The last second of the year 9999: a later time is in another unit, such as milliseconds."""


def parse(raw: RawTable[Interactions]) -> DataFrame:
    """Return user_id, track_id, value and time of each raw row, and `reject`: null, or the reason and the raw row.

    Raises:
        UserError: the description names a column that does not exist, or an expression that Spark rejects.
    """
    description = raw.description
    with lenient_casts(raw.rows.sparkSession):
        cast = raw.rows.select(
            MALFORMED,
            resolve_column(raw, "[interactions] user", description.user).cast("string").alias(Columns.USER_ID),
            resolve_column(raw, "[interactions] track", description.track).cast("string").alias(Columns.TRACK_ID),
            (_number(raw, "value", description.value) if description.value else F.lit(1.0)).alias(Columns.VALUE),
            (_seconds(raw, description.time) if description.time else F.lit(None).cast("long")).alias(Columns.TIME),
            LINE,
        )
    validated = cast.select("*", _reject_reason(description).alias(Columns.REASON))
    # One text column with reason and row is the cheapest to transfer to Python.
    reject = F.concat(Columns.REASON, F.lit(REASON_SEPARATOR), LINE).alias(Columns.REJECT)
    return validated.select(Columns.USER_ID, Columns.TRACK_ID, Columns.VALUE, Columns.TIME, reject)


def _number(raw: RawTable[Interactions], key: str, expression: str) -> Column:
    """Return a column or expression as double, null where it is not a number."""
    number = resolve_column(raw, f"[interactions] {key}", expression)
    data_type = raw.rows.select(number).schema[0].dataType
    if isinstance(data_type, T.StringType):
        whole, double = number.try_cast("long").cast("double"), number.try_cast("double")  # the first is fast
        # Java also parses 1d, 1f and 0x1p3. Infinity and NaN pass here and are rejected as not finite.
        java_only = F.right(number, F.lit(1)).isin(*"dDfF") | F.contains(F.lower(number), F.lit("x"))
        return F.coalesce(whole, F.when(~java_only | F.isnan(double) | (F.abs(double) == float("inf")), double))
    if not isinstance(data_type, T.NumericType | T.BooleanType):
        raise UserError(
            f"[interactions] {key} = {expression!r} has the type {data_type.simpleString()}; it must be a number."
        )
    return number.cast("double")


def _seconds(raw: RawTable[Interactions], expression: str) -> Column:
    """Return the time in seconds since 1970, null where it is invalid. `time_format` applies to text and numbers."""
    time, time_format = resolve_column(raw, "[interactions] time", expression), raw.description.time_format
    data_type = raw.rows.select(time).schema[0].dataType
    if isinstance(data_type, T.TimestampType | T.TimestampNTZType | T.DateType):
        return time.cast("timestamp").cast("long")
    if time_format.startswith("epoch"):
        unit = 1000 if time_format == "epoch_ms" else 1
        number = _number(raw, "time", expression)
        return F.when(number.between(0, unit * MAX_TIME), F.floor(number / unit).cast("long"))
    if time_format == "iso8601":
        # A cast alone reads 12:30 as a time of today.
        return F.when(time.rlike(r"^\d{4}-\d\d-\d\d"), time.cast("timestamp")).cast("long")
    pattern = F.lit(time_format)
    try:
        raw.rows.sparkSession.range(1).select(F.try_to_timestamp(F.lit("2000"), pattern)).collect()
    except PySparkException as error:
        raise UserError(f"[interactions] time_format = {time_format!r} is not a valid pattern for Spark.") from error
    return F.try_to_timestamp(time.cast("string"), pattern).cast("long")


def _reject_reason(description: Interactions) -> Column:
    """Return the first of `REASONS` that applies to a cast row, or null."""
    user, track, value = F.col(Columns.USER_ID), F.col(Columns.TRACK_ID), F.col(Columns.VALUE)
    in_range = value.between(*description.rating_range) if description.rating_range is not None else value > 0
    tests = (
        F.col(MALFORMED),
        F.contains(user, F.lit(REPLACEMENT)) | F.contains(track, F.lit(REPLACEMENT)),
        user.isNull(),
        track.isNull(),
        value.isNull(),
        F.isnan(value) | (F.abs(value) > MAX_VALUE),
        ~in_range,
        F.col(Columns.TIME).isNull() if description.time else F.lit(False),
    )
    return F.coalesce(*(F.when(test, reason) for test, reason in zip(tests, REASONS, strict=True)))
