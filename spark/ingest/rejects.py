"""Rejected rows: counts and examples by reason, and errors for input with too few usable rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.sql import DataFrame

from common.errors import UserError
from config.dataset import Interactions
from spark.ingest.expressions import suggest_separator
from spark.ingest.parse import REASONS
from spark.ingest.raw_table import RawTable
from spark.ingest.time_window import Window, format_time, time_span
from spark.storage.tables import Columns

EXAMPLES_PER_REASON = 3
EXAMPLE_WIDTH = 200
"""Characters of a rejected row that are shown."""


@dataclass(frozen=True)
class RejectSummary:
    """Rejected rows by reason, in the order of `REASONS`."""

    counts: dict[str, int]
    examples: dict[str, list[str]]

    @property
    def total(self) -> int:
        """All rejected rows."""
        return sum(self.counts.values())

    @classmethod
    def read(cls, directory: Path, counts: Counter[str]) -> RejectSummary:
        """Read a few examples of each reason that occurs in `counts`."""
        by_reason = {reason: counts[reason] for reason in REASONS if counts.get(reason)}
        return cls(by_reason, {reason: _examples(directory, reason) for reason in by_reason})


def _examples(directory: Path, reason: str) -> list[str]:
    matching = ds.dataset(directory).head(EXAMPLES_PER_REASON, filter=pc.field(Columns.REASON) == reason)
    rows = matching[Columns.ROW].to_pylist()
    return [row if len(row) <= EXAMPLE_WIDTH else f"{row[: EXAMPLE_WIDTH - 1]}…" for row in rows]


def refuse_bad_input(
    raw: RawTable[Interactions], usable: int, rejects: RejectSummary, max_reject_fraction: float
) -> None:
    """Raise a UserError if the table is empty, has no usable row or too many rejects.

    The message names the two most frequent reasons, each with an example.
    """
    rows = usable + rejects.total
    if rows == 0:
        raise UserError(f"{raw.path} has no rows.")
    if usable and rejects.total <= max_reject_fraction * rows:
        return
    most_frequent = sorted(rejects.counts, key=lambda reason: -rejects.counts[reason])[:2]
    reasons = "; ".join(
        f"{reason} {rejects.counts[reason]:,} times, e.g. {rejects.examples[reason][0]!r}"
        f"{_hint(raw, reason, rejects.examples[reason][0])}"
        for reason in most_frequent
    )
    raise UserError(
        f"{raw.path}: {rejects.total:,} of {rows:,} rows were rejected ({reasons}); correct the data or its "
        f"description, or raise [ingest] max_reject_fraction = {max_reject_fraction:g}."
    )


def _hint(raw: RawTable[Interactions], reason: str, example: str) -> str:
    """Return how many fields a malformed row should have, and the separator that would give as many."""
    if reason != "malformed_row" or raw.description.format != "csv":
        return ""
    fields, separator = len(raw.columns), raw.description.separator
    return f", not {fields} fields between {separator!r}{suggest_separator(example, separator, fields)}"


def check_window_is_not_empty(path: Path, kept: int, window: Window, parsed: DataFrame) -> None:
    """Raise a UserError if no row is inside the time window; the message has the time span of the data."""
    if kept:
        return
    since, until = (format_time(bound) if bound is not None else None for bound in (window.since, window.until))
    bounds = f"from {since} to {until}" if since else f"before {until}"
    span = time_span(parsed)
    available = f"; its times range from {format_time(span[0])} to {format_time(span[1])}" if span else ""
    raise UserError(
        f"{path} has no interactions {bounds}, the selected time window{available}: change --as-of or "
        "[ingest] window_days."
    )
