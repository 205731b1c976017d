"""The lines of raw text files: found out what they are, decoded, and freed from what is no row."""

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
from spark.storage.tables import escape_glob

LINE = "_line"
"""The row as it stands in its file; of Parquet, the row as JSON."""

REPLACEMENT = "\ufffd"
"""Stands where bytes could not be decoded."""

_SNIFFED_BYTES = 1 << 16
_SNIFFED_LINES = 1000
_BOM = "\ufeff"
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_OTHER_KINDS = {
    b"\x1f\x8b": "is compressed by gzip: give it a name that ends in .gz",
    b"PK\x03\x04": "is a ZIP archive: unpack it",
    b"PAR1": 'is Parquet: say format = "parquet"',
    b"\xff\xfe": "is UTF-16: convert it with iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "is UTF-16: convert it with iconv -f utf-16 -t utf-8",
}
"""What a file begins with that is no text."""


def lines_of(spark: SparkSession, heads: Mapping[Path, str], table: Table) -> DataFrame:
    """`LINE`: every line that is neither blank nor a header, decoded, without carriage returns and byte order marks.

    Lines are cut here and not by Spark's CSV reader, which takes a stray carriage return for the end of a line.
    """
    old_macs = all("\r" in head and "\n" not in head for head in heads.values())
    lines = spark.read.text([escape_glob(file) for file in heads], lineSep="\r" if old_macs else "\n")
    value, encoding = F.col("value"), table.encoding
    line = F.make_valid_utf8(value) if encoding == "UTF-8" else F.decode(value.cast("binary"), encoding)
    if any(head.startswith(_BOM) for head in heads.values()):
        line = F.regexp_replace(line, f"^{_BOM}", "")
    nothing = {ending for head in heads.values() for ending in _not_rows(head, table)}
    wanted = ~value.cast("binary").isin(nothing)
    return lines.where(wanted).select(F.replace(line, F.lit("\r"), F.lit("")).alias(LINE))


def _not_rows(head: str, table: Table) -> Iterator[bytes]:
    """Lines that are blank or the header, byte for byte: so told apart, they cost the other lines nearly nothing."""
    skipped = ["", _BOM] + ([header_of(head), _BOM + header_of(head)] if table.format == "csv" and table.header else [])
    for line in skipped:
        for ending in ("", "\r"):
            with suppress(UnicodeEncodeError):  # an encoding without byte order marks
                yield (line + ending).encode(table.encoding)


def head_of(file: Path, table: Table) -> str:
    """How a text file begins.

    Raises:
        MissingInput: it cannot be read.
        UserError: it is no text.
    """
    try:
        with _OPENERS.get(file.suffix, Path.open)(file, "rb") as opened:
            start: bytes = opened.read(_SNIFFED_BYTES)
    except (OSError, EOFError) as error:
        raise MissingInput(f"{file} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            raise UserError(f"{file} {kind}.")
    control_codes = sum(start.count(bytes([code])) for code in range(32) if chr(code) not in f"\t\r\n{table.separator}")
    if 20 * control_codes > len(start):
        raise UserError(f"{file} is not text.")
    return start.decode(table.encoding, errors="replace")


def header_of(head: str) -> str:
    """The first line that is not empty, as `lines_of` would have it."""
    text = head.removeprefix(_BOM).lstrip("\r\n")
    return re.split("\n|\r(?!\n)", text, maxsplit=1)[0].replace("\r", "")


def records_of(file: Path, head: str) -> list[Any]:
    """What the first lines of JSON hold; a line that cannot be read is a reject later on.

    Raises:
        UserError: none of them holds an object.
    """
    if head.lstrip(f"{_BOM} \t\r\n").startswith("["):
        raise UserError(f"{file} begins with a JSON array: it should have one object a line.")
    records = []
    for line in islice(head.removeprefix(_BOM).split("\n"), _SNIFFED_LINES):
        with suppress(ValueError):
            records.append(json.loads(line))
    objects = [record for record in records if isinstance(record, dict)]
    if head.strip() and not objects:
        raise UserError(f"{file} has no JSON object in its first lines.")
    return objects
