"""Read raw files according to a dataset's description. Malformed rows are marked, not dropped."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.errors import UserError
from config.dataset import Dataset, Table, find_files
from spark.ingest.expressions import quote_name
from spark.ingest.raw_lines import REPLACEMENT, first_line, read_head, read_json_head, read_lines
from spark.ingest.raw_table import LINE, MALFORMED, RawData, RawTable
from spark.storage.tables import escape_glob

TableT = TypeVar("TableT", bound=Table)

_MAX_FIELDS = 20_480
"""Maximum number of fields in a line with quotes; a longer line is malformed."""

_DAMAGE_MESSAGES = (
    "EOFException",
    "java.util.zip",
    "incorrect header check",
    "invalid block type",
    "bzip2",
    "ParquetDecoding",
)
"""Parts of Spark's messages for files that are truncated or cannot be decompressed."""


def read_raw_data(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> RawData:
    """Open all tables that the description names; see `read_table`."""
    tracks = dataset.tracks
    uses_tags = tracks is not None and tracks.tags is None and dataset.tags is not None
    return RawData(
        interactions=read_table(spark, raw_dir, dataset.interactions),
        tracks=read_table(spark, raw_dir, tracks) if tracks else None,
        tags=read_table(spark, raw_dir, dataset.tags) if uses_tags and dataset.tags else None,
        tag_names=read_table(spark, raw_dir, dataset.tag_names) if uses_tags and dataset.tag_names else None,
        users=read_table(spark, raw_dir, dataset.users) if dataset.users else None,
    )


def read_table(spark: SparkSession, raw_dir: Path, description: TableT) -> RawTable[TableT]:
    """Open the files of one table. Blank lines and headers are not rows.

    Raises:
        MissingInput: no file matches, or one cannot be read.
        UserError: a file contradicts the description.
    """
    files = find_files(raw_dir, description)
    rows = _read_parquet(spark, files) if description.format == "parquet" else _read_text(spark, files, description)
    return RawTable(rows, description, raw_dir / description.path)


@contextmanager
def explain_damaged_files(raw_dir: Path) -> Iterator[None]:
    """Turn Spark's error about a truncated or corrupt file into a UserError."""
    try:
        yield
    except Exception as error:
        if any(message in str(error) for message in _DAMAGE_MESSAGES):
            raise UserError(f"A file in {raw_dir} is damaged or truncated: download it again.") from error
        raise


# -- text: CSV and JSON lines ----------------------------------------------------------------------------------------


def _read_text(spark: SparkSession, files: Sequence[Path], table: Table) -> DataFrame:
    heads = {file: read_head(file, table) for file in files}
    lines = read_lines(spark, heads, table)
    if table.format == "jsonl":
        return _json_fields(lines, [record for file, head in heads.items() for record in read_json_head(file, head)])
    names = {file: _column_names(file, head, table) for file, head in heads.items()}
    for other in files[1:]:
        if names[other] != names[files[0]]:
            raise UserError(f"{other} and {files[0]} have different headers; the files of one table must agree.")
    return _csv_fields(lines, names[files[0]], table)


def _column_names(file: Path, head: str, table: Table) -> list[str]:
    """Return the names of a CSV file's columns, from its first line or from the description."""
    if not table.header:
        return list(table.columns)
    header = first_line(head)
    if not header:
        raise UserError(f"{file} is empty; its first line should name the columns.")
    if REPLACEMENT in header:
        raise UserError(f"{file} is not {table.encoding} text; set the encoding in the dataset's description.")
    if len(table.separator) > 1 or not table.quote:
        names = header.split(table.separator)
    else:
        names = next(csv.reader([header], delimiter=table.separator, quotechar=table.quote))
    return _make_unique([name.strip() for name in names])


def _csv_fields(lines: DataFrame, names: Sequence[str], table: Table) -> DataFrame:
    """Split lines at the separator. Only lines with a quote go through Spark's CSV parser, which is slower."""
    fields = F.split(F.col(LINE), _escape_java_regex(table.separator), -1)
    if table.quote:
        positions = [f"_{position}" for position in range(len(names))]
        schema = ", ".join(f"{name} string" for name in [*positions, MALFORMED])
        options = {
            "sep": table.separator, "quote": table.quote, "escape": table.quote, "columnNameOfCorruptRecord": MALFORMED,
            "maxCharsPerColumn": "-1", "maxColumns": str(_MAX_FIELDS),
        }  # fmt: skip
        parsed = F.from_csv(F.col(LINE), schema, options)
        unquoted = F.array(*(parsed[position] for position in positions))
        fields = F.when(
            F.contains(F.col(LINE), F.lit(table.quote)),
            # Spark's parser fails on a line with more fields than its limit instead of marking it.
            F.when((F.size(fields) <= _MAX_FIELDS) & parsed[MALFORMED].isNull(), unquoted).otherwise(F.array()),
        ).otherwise(fields)
    return lines.select(LINE, fields.alias("fields")).select(
        *(_trim(F.get("fields", F.lit(position))).alias(name) for position, name in enumerate(names)),
        (F.size("fields") != len(names)).alias(MALFORMED),
        LINE,
    )


def _json_fields(lines: DataFrame, records: Sequence[Any]) -> DataFrame:
    """Parse lines of JSON. The schema is that of the first records; nested objects and lists keep their structure."""
    record_type = _infer_type(records)
    fields = record_type.fields if isinstance(record_type, T.StructType) else []
    schema = T.StructType([*fields, T.StructField(MALFORMED, T.StringType())])
    parsed = F.from_json(F.col(LINE), schema, {"columnNameOfCorruptRecord": MALFORMED})
    return lines.select(LINE, parsed.alias("fields")).select(
        *(_trim_text(f"fields.{quote_name(field.name)}", field) for field in fields),
        F.col(f"fields.{MALFORMED}").isNotNull().alias(MALFORMED),
        LINE,
    )


def _infer_type(values: Sequence[Any]) -> T.DataType:
    """Return a type that holds all values: a struct for objects, an array for lists, and text for all else."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, dict) for value in present):
        names = {name.lower(): name for value in reversed(present) for name in value}
        members = {name: [value.get(name) for value in present] for name in sorted(names.values())}
        return T.StructType([T.StructField(name, _infer_type(values)) for name, values in members.items()])
    if present and all(isinstance(value, list) for value in present):
        return T.ArrayType(_infer_type([item for value in present for item in value]))
    return T.StringType()


# -- Parquet ---------------------------------------------------------------------------------------------------------


def _read_parquet(spark: SparkSession, files: Sequence[Path]) -> DataFrame:
    """Read Parquet files; columns keep their types."""
    nanoseconds = set()
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} is not a Parquet file, or is truncated.") from error
        nanoseconds |= {field.name for field in schema if pa.types.is_timestamp(field.type) and field.type.unit == "ns"}
    rows = spark.read.parquet(*map(escape_glob, files))
    return rows.select(
        *(
            # pandas writes nanoseconds, which Spark reads as a number.
            F.timestamp_micros(F.floor(F.col(quote_name(field.name)) / 1000)).alias(field.name)
            if field.name in nanoseconds
            else _trim_text(quote_name(field.name), field)
            for field in rows.schema.fields
        ),
        F.lit(False).alias(MALFORMED),
        F.to_json(F.struct("*")).alias(LINE),
    )


# -- helpers ---------------------------------------------------------------------------------------------------------


def _trim_text(name: str, field: T.StructField) -> Column:
    """Trim a column of text; return any other column unchanged."""
    column = _trim(F.col(name)) if isinstance(field.dataType, T.StringType) else F.col(name)
    return column.alias(field.name)


def _trim(text: Column) -> Column:
    """Remove surrounding blanks; null where nothing is left."""
    return F.nullif(F.trim(text), F.lit(""))


def _make_unique(names: Sequence[str]) -> list[str]:
    """Append a number to repeated names, because Spark requires different ones."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name.lower()] += 1
        unique.append(name if seen[name.lower()] == 1 else f"{name}_{seen[name.lower()]}")
    return unique


def _escape_java_regex(text: str) -> str:
    """Escape text for Java's regular expressions; Java splits at a single escaped character without a regex."""
    return re.sub(r"(\W)", r"\\\1", text)
