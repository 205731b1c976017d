"""Reads raw files as a dataset's description says, every column as text, malformed rows marked."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from config.dataset import Table, find_files
from config.errors import UserError, did_you_mean, listed

MALFORMED = "_malformed"
"""Holds the whole line where it does not have the table's number of fields; null elsewhere."""

_NAME = re.compile(r"[^\W\d]\w*")
_NULLS = {"quote": "\u0000", "escape": "\u0000"}


def column_names(file: Path, table: Table) -> list[str]:
    """The names of a file's columns, from its first line or from the description.

    Raises:
        UserError: the first line cannot be decoded, or is empty where a header should be.
    """
    if not table.header:
        return list(table.columns)
    try:
        with file.open(encoding=table.encoding, newline="") as lines:
            first = lines.readline().rstrip("\r\n").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not {table.encoding} text; set the encoding in the dataset's description."
        ) from error
    if not first:
        raise UserError(f"{file} is empty; its first line should name the columns.")
    if len(table.separator) > 1 or not table.quote:
        names = first.split(table.separator)
    else:
        names = next(csv.reader([first], delimiter=table.separator, quotechar=table.quote))
    return _distinct([name.strip() for name in names])


def _distinct(names: list[str]) -> list[str]:
    """The names, with a number behind those that came before: Spark wants them to differ."""
    times: Counter[str] = Counter()
    distinct = []
    for name in names:
        times[name.lower()] += 1
        distinct.append(name if times[name.lower()] == 1 else f"{name}_{times[name.lower()]}")
    return distinct


def read_table(spark: SparkSession, raw_dir: Path, table: Table) -> DataFrame:
    """The table's rows, every column a string, plus `_malformed`.

    Raises:
        MissingInput: there is no such file.
        UserError: its header cannot be read, or differs between files.
    """
    files = find_files(raw_dir, table)
    names = column_names(files[0], table)
    for other in files[1:]:
        if column_names(other, table) != names:
            raise UserError(f"{other} and {files[0]} have different headers; they should be one table.")
    schema = T.StructType([T.StructField(name, T.StringType()) for name in [*names, MALFORMED]])
    reader = spark.read.schema(schema).options(
        sep=table.separator,
        header=str(table.header).lower(),
        encoding=table.encoding,
        mode="PERMISSIVE",
        columnNameOfCorruptRecord=MALFORMED,
        **({"quote": table.quote, "escape": table.quote} if table.quote else _NULLS),
    )
    return reader.csv([_literal(file) for file in files])


def read_parquet(spark: SparkSession, path: Path) -> DataFrame:
    """The Parquet below a path."""
    return spark.read.parquet(_literal(path))


def _literal(path: Path) -> str:
    """A path as it is: Spark would see a pattern in some."""
    return re.sub(r"([\\*?{}\[\]])", r"\\\1", str(path))


def quoted(name: str) -> str:
    """A column's name as Spark SQL writes it, whatever is in it."""
    return f"`{name.replace('`', '``')}`"


def column(rows: DataFrame, table: Table, what: str, expression: str) -> Column:
    """A column by its name, or a Spark SQL expression over the columns; text is trimmed.

    Raises:
        UserError: it names a column that the file does not have; the sentence names file and key.
    """
    known = {name.lower(): name for name in rows.columns if name != MALFORMED}
    if (name := known.get(expression.lower())) is not None:
        return F.trim(F.col(quoted(name)))
    try:
        if _NAME.fullmatch(expression):
            raise LookupError(expression)
        chosen = F.expr(expression)
        of_text = isinstance(rows.select(chosen).schema[0].dataType, T.StringType)
    except (LookupError, PySparkException) as error:
        hint = did_you_mean(expression, known.values())
        raise UserError(
            f"{table.path} has no column {expression!r} ({what}){hint}; it has {listed(known.values())}."
        ) from error
    return F.trim(chosen) if of_text else chosen
