"""Resolve the columns and Spark SQL expressions that a dataset's description names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.errors import PySparkException
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from common.errors import UserError, did_you_mean, join_sorted
from config.dataset import Table
from spark.ingest.raw_table import LINE, RawTable

_NAME = re.compile(r"[^\W\d]\w*")
_COMMON_SEPARATORS = (",", "\t", ";", "|", "::", " ")


def resolve_column(raw: RawTable[Table], key: str, expression: str) -> Column:
    """Return a column by its name, or a Spark SQL expression over the columns.

    In an expression, text that is not a number becomes null where a number is needed.

    Args:
        key: the key of the description that holds the expression, such as `[interactions] user`, for messages.

    Raises:
        UserError: the expression is invalid or names a column that the file lacks.
    """
    known = {name.lower(): name for name in raw.columns}
    if (name := known.get(expression.lower())) is not None:
        return F.col(quote_name(name))
    unknown = expression
    try:
        if not _NAME.fullmatch(expression):
            with lenient_casts(raw.rows.sparkSession):
                raw.rows.select(F.expr(expression), F.col(LINE))  # beside a column, Spark refuses aggregates
            return F.expr(expression)
    except PySparkException as error:
        if error.getCondition() != "UNRESOLVED_COLUMN.WITH_SUGGESTION":
            message = re.sub(r"^\[[^]]*\] *|\s*SQLSTATE.*", "", str(error), flags=re.DOTALL).splitlines()[0]
            raise UserError(
                f"{key} = {expression!r} is not a valid Spark SQL expression: {message.rstrip('.:')}."
            ) from error
        unknown = (error.getMessageParameters() or {})["objectName"].strip("`")
    hint = did_you_mean(unknown.lower(), known) or _separator_hint(raw)
    raise UserError(
        f"{raw.description.path} has no column {unknown!r} ({key}){hint}; it has {join_sorted(known.values())}."
    )


@contextmanager
def lenient_casts(spark: SparkSession) -> Iterator[None]:
    """Make expressions that are analysed inside the block return null for a bad cast instead of an error."""
    ansi = "spark.sql.ansi.enabled"
    before = spark.conf.get(ansi)
    spark.conf.set(ansi, "false")
    try:
        yield
    finally:
        spark.conf.set(ansi, str(before))


def quote_name(name: str) -> str:
    """Quote a column's name for Spark SQL."""
    return f"`{name.replace('`', '``')}`"


def suggest_separator(line: str, separator: str, fields: int) -> str:
    """Return a hint naming another common separator that splits the line into `fields` fields, or an empty string."""
    others = [other for other in _COMMON_SEPARATORS if other != separator]
    return _hint([other for other in others if len(line.split(other)) == fields > 1])


def _separator_hint(raw: RawTable[Table]) -> str:
    """Return a hint for a CSV file whose whole header became one column."""
    (name, *others) = raw.columns
    if others or raw.description.format != "csv":
        return ""
    return _hint([separator for separator in _COMMON_SEPARATORS if separator in name])


def _hint(separators: list[str]) -> str:
    return f" (is the separator {separators[0]!r}?)" if separators else ""
