"""Reads raw files as a dataset's description says: text columns, and malformed rows marked instead of dropped."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.errors import UserError, did_you_mean, join_sorted
from config.dataset import Table, find_files
from spark.ingest.raw_lines import LINE, REPLACEMENT, head_of, header_of, lines_of, records_of
from spark.storage.tables import escape_glob

MALFORMED = "_malformed"
"""Whether a row does not have the form of its table."""

_NAME = re.compile(r"[^\W\d]\w*")
_COMMON_SEPARATORS = (",", "\t", ";", "|", "::", " ")


def read_table(spark: SparkSession, raw_dir: Path, table: Table) -> DataFrame:
    """The table's rows: its columns, text trimmed and null where it is empty; `MALFORMED`; `LINE`.

    Lines that are blank, or a header, are no rows.

    Raises:
        MissingInput: there is no such file, or it cannot be read.
        UserError: a file is not what the description says; the sentence says how.
    """
    files = find_files(raw_dir, table)
    if table.format == "parquet":
        return _columns_of(spark, files)
    heads = {file: head_of(file, table) for file in files}
    lines = lines_of(spark, heads, table)
    if table.format == "jsonl":
        return _objects(lines, [record for file, head in heads.items() for record in records_of(file, head)])
    named = {file: column_names(file, head, table) for file, head in heads.items()}
    for other in files[1:]:
        if named[other] != named[files[0]]:
            raise UserError(f"{other} and {files[0]} have different headers; they should be one table.")
    return _fields(lines, named[files[0]], table)


def column_names(file: Path, head: str, table: Table) -> list[str]:
    """The names of a CSV file's columns, from its first line or from the description; `head` is how it begins.

    Raises:
        UserError: the first line cannot be decoded, or is empty where a header should be.
    """
    if not table.header:
        return list(table.columns)
    header = header_of(head)
    if not header:
        raise UserError(f"{file} is empty; its first line should name the columns.")
    if REPLACEMENT in header:
        raise UserError(f"{file} is not {table.encoding} text; set the encoding in the dataset's description.")
    if len(table.separator) > 1 or not table.quote:
        names = header.split(table.separator)
    else:
        names = next(csv.reader([header], delimiter=table.separator, quotechar=table.quote))
    return _distinct([name.strip() for name in names])


def other_separator(line: str, table: Table, fields: int) -> str:
    """A hint that another separator would cut the line into as many fields; empty where none would."""
    fitting = [each for each in _COMMON_SEPARATORS if each != table.separator and len(line.split(each)) == fields > 1]
    return f" (is the separator {fitting[0]!r}?)" if fitting else ""


def column(rows: DataFrame, table: Table, what: str, expression: str) -> Column:
    """A column by its name, or a Spark SQL expression over the columns.

    In an expression, text that is no number is null where a number is needed, and nothing raises.

    Raises:
        UserError: it names a column that the file does not have; the sentence names file and key.
    """
    known = {name.lower(): name for name in _own_columns(rows)}
    if (name := known.get(expression.lower())) is not None:
        return F.col(quoted(name))
    unknown = expression
    try:
        if not _NAME.fullmatch(expression):
            with lenient(rows.sparkSession):
                rows.select(F.expr(expression), F.col(LINE))  # beside a column no aggregate can stand
            return F.expr(expression)
    except PySparkException as error:
        if error.getCondition() != "UNRESOLVED_COLUMN.WITH_SUGGESTION":
            said = re.sub(r"^\[[^]]*\] *|\s*SQLSTATE.*", "", str(error), flags=re.DOTALL).splitlines()[0].rstrip(".:")
            raise UserError(f"{what} = {expression!r} is no expression that Spark understands: {said}.") from error
        unknown = (error.getMessageParameters() or {})["objectName"].strip("`")
    hint = did_you_mean(unknown.lower(), known) or _separator_of_header(known, table)
    raise UserError(f"{table.path} has no column {unknown!r} ({what}){hint}; it has {join_sorted(known.values())}.")


@contextmanager
def lenient(spark: SparkSession) -> Iterator[None]:
    """While it lasts, what is analysed turns a bad cast into null instead of an error."""
    ansi = "spark.sql.ansi.enabled"
    before = spark.conf.get(ansi)
    spark.conf.set(ansi, "false")
    try:
        yield
    finally:
        spark.conf.set(ansi, str(before))


def quoted(name: str) -> str:
    """A column's name as Spark SQL writes it, whatever is in it."""
    return f"`{name.replace('`', '``')}`"


# -- the three formats ---------------------------------------------------------------------------------------------


def _fields(lines: DataFrame, names: Sequence[str], table: Table) -> DataFrame:
    """Lines cut at the separator. Only a line with a quote in it takes Spark's CSV parser, which costs more."""
    cut = F.split(F.col(LINE), _java_quoted(table.separator), -1)
    if table.quote:
        positions = [f"_{place}" for place in range(len(names))]
        schema = ", ".join(f"{name} string" for name in [*positions, MALFORMED])
        options = {
            "sep": table.separator, "quote": table.quote, "escape": table.quote, "columnNameOfCorruptRecord": MALFORMED,
            "maxCharsPerColumn": "-1", "maxColumns": str(len(names) + 1),
        }  # fmt: skip
        parsed = F.from_csv(F.col(LINE), schema, options)
        whole = F.array(*(parsed[place] for place in positions))
        cut = F.when(
            F.contains(F.col(LINE), F.lit(table.quote)), F.when(parsed[MALFORMED].isNull(), whole).otherwise(F.array())
        ).otherwise(cut)
    return lines.select(LINE, cut.alias("fields")).select(
        *(_text(F.get("fields", F.lit(place))).alias(name) for place, name in enumerate(names)),
        (F.size("fields") != len(names)).alias(MALFORMED),
        LINE,
    )


def _objects(lines: DataFrame, examples: Sequence[Any]) -> DataFrame:
    """Lines of JSON. Their fields are those that the first lines have; what is nested keeps its form."""
    found = _kind_of(examples)
    fields = found.fields if isinstance(found, T.StructType) else []
    schema = T.StructType([*fields, T.StructField(MALFORMED, T.StringType())])
    parsed = F.from_json(F.col(LINE), schema, {"columnNameOfCorruptRecord": MALFORMED})
    return lines.select(LINE, parsed.alias("fields")).select(
        *(_cleaned(f"fields.{quoted(field.name)}", field) for field in fields),
        F.col(f"fields.{MALFORMED}").isNotNull().alias(MALFORMED),
        LINE,
    )


def _kind_of(examples: Sequence[Any]) -> T.DataType:
    """The type that holds all the values: objects and lists as such, all else as text."""
    given = [example for example in examples if example is not None]
    if given and all(isinstance(example, dict) for example in given):
        names = {name.lower(): name for example in reversed(given) for name in example}
        members = {name: [example.get(name) for example in given] for name in sorted(names.values())}
        return T.StructType([T.StructField(name, _kind_of(values)) for name, values in members.items()])
    if given and all(isinstance(example, list) for example in given):
        return T.ArrayType(_kind_of([item for example in given for item in example]))
    return T.StringType()


def _columns_of(spark: SparkSession, files: Sequence[Path]) -> DataFrame:
    """Rows of Parquet: text trimmed, all else as it is."""
    nanoseconds = set()
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} is no Parquet file, or not a whole one.") from error
        nanoseconds |= {field.name for field in schema if pa.types.is_timestamp(field.type) and field.type.unit == "ns"}
    rows = spark.read.parquet(*map(escape_glob, files))
    return rows.select(
        *(
            # What pandas writes; Spark reads it as a number.
            F.timestamp_micros(F.floor(F.col(quoted(field.name)) / 1000)).alias(field.name)
            if field.name in nanoseconds
            else _cleaned(quoted(field.name), field)
            for field in rows.schema.fields
        ),
        F.lit(False).alias(MALFORMED),
        F.to_json(F.struct("*")).alias(LINE),
    )


def _cleaned(name: str, field: T.StructField) -> Column:
    """Text without blanks around it, null where nothing is left; any other type as it is."""
    kept = _text(F.col(name)) if isinstance(field.dataType, T.StringType) else F.col(name)
    return kept.alias(field.name)


def _text(text: Column) -> Column:
    return F.nullif(F.trim(text), F.lit(""))


def _separator_of_header(names: Iterable[str], table: Table) -> str:
    """A hint where the whole header became one column."""
    (name, *others) = names
    fitting = [each for each in _COMMON_SEPARATORS if not others and table.format == "csv" and each in name]
    return f" (is the separator {fitting[0]!r}?)" if fitting else ""


def _own_columns(rows: DataFrame) -> list[str]:
    return [name for name in rows.columns if name not in (MALFORMED, LINE)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that came before: Spark wants them to differ."""
    times: Counter[str] = Counter()
    distinct = []
    for name in names:
        times[name.lower()] += 1
        distinct.append(name if times[name.lower()] == 1 else f"{name}_{times[name.lower()]}")
    return distinct


def _java_quoted(text: str) -> str:
    """A regular expression of Java's for the text itself; where that is one character, Java splits without it."""
    return re.sub(r"(\W)", r"\\\1", text)
