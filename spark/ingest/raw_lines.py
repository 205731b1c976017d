"""Read raw text files as lines: detect their form, decode them, drop blank lines and headers."""

from __future__ import annotations

import bz2
import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common.errors import MissingInput, UserError
from config.dataset import Table
from spark.ingest.raw_table import LINE
from spark.storage.tables import escape_glob

REPLACEMENT = "\ufffd"
"""The character that replaces bytes which cannot be decoded."""

_HEAD_BYTES = 1 << 16
_HEAD_LINES = 1000
_BOM = "\ufeff"
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_MAGIC_BYTES = {
    b"\x1f\x8b": "is compressed by gzip: give it a name that ends in .gz",
    b"PK\x03\x04": "is a ZIP archive: unpack it",
    b"PAR1": 'is Parquet: set format = "parquet"',
    b"\xff\xfe": "is UTF-16: convert it with iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "is UTF-16: convert it with iconv -f utf-16 -t utf-8",
}
"""First bytes of files that are not plain text, and what to do with them."""


def read_lines(spark: SparkSession, heads: Mapping[Path, str], table: Table) -> DataFrame:
    """Return `LINE`: all lines except blank ones and headers, decoded, without carriage returns and byte order marks.

    Spark's CSV reader is not used, because it ends a line at a stray carriage return.

    Args:
        heads: the files, and the beginning of each.
    """
    only_carriage_returns = all("\r" in head and "\n" not in head for head in heads.values())
    lines = spark.read.text([escape_glob(file) for file in heads], lineSep="\r" if only_carriage_returns else "\n")
    value, encoding = F.col("value"), table.encoding
    line = F.make_valid_utf8(value) if encoding == "UTF-8" else F.decode(value.cast("binary"), encoding)
    if any(head.startswith(_BOM) for head in heads.values()):
        line = F.regexp_replace(line, f"^{_BOM}", "")
    skipped = {line for head in heads.values() for line in _skipped_lines(head, table)}
    is_row = ~value.cast("binary").isin(skipped)
    return lines.where(is_row).select(F.replace(line, F.lit("\r"), F.lit("")).alias(LINE))


def _skipped_lines(head: str, table: Table) -> Iterator[bytes]:
    """Yield blank lines and the header as bytes: comparing bytes costs the other lines almost nothing."""
    lines = ["", _BOM]
    if table.format == "csv" and table.header:
        lines += [first_line(head), _BOM + first_line(head)]
    for line in lines:
        for ending in ("", "\r"):
            with suppress(UnicodeEncodeError):  # the encoding has no byte order mark
                yield (line + ending).encode(table.encoding)


def read_head(file: Path, table: Table) -> str:
    """Return the beginning of a text file, decoded.

    Raises:
        MissingInput: the file cannot be read.
        UserError: the file is not text.
    """
    try:
        with _OPENERS.get(file.suffix, Path.open)(file, "rb") as opened:
            start: bytes = opened.read(_HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise MissingInput(f"{file} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    for magic, advice in _MAGIC_BYTES.items():
        if start.startswith(magic):
            raise UserError(f"{file} {advice}.")
    control_codes = sum(start.count(bytes([code])) for code in range(32) if chr(code) not in f"\t\r\n{table.separator}")
    if 20 * control_codes > len(start):
        raise UserError(f"{file} is not text.")
    return start.decode(table.encoding, errors="replace")


def first_line(head: str) -> str:
    """Return the first line that is not empty, in the form in which `read_lines` returns lines."""
    text = head.removeprefix(_BOM).lstrip("\r\n")
    return re.split("\n|\r(?!\n)", text, maxsplit=1)[0].replace("\r", "")


def read_json_head(file: Path, head: str) -> list[Any]:
    """Return the JSON objects in the first lines; invalid lines are skipped here and rejected when rows are parsed.

    Raises:
        UserError: no line holds an object.
    """
    if head.lstrip(f"{_BOM} \t\r\n").startswith("["):
        raise UserError(f"{file} begins with a JSON array: it must have one object per line.")
    records = []
    for line in islice(head.removeprefix(_BOM).split("\n"), _HEAD_LINES):
        with suppress(ValueError):
            records.append(json.loads(line))
    objects = [record for record in records if isinstance(record, dict)]
    if head.strip() and not objects:
        raise UserError(f"{file} has no JSON object in its first lines.")
    return objects
