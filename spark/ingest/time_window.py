"""Select interactions by time: before a given day, and within a number of days before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark.storage.tables import Columns

DAY_S = 86_400


@dataclass(frozen=True)
class Window:
    """The times `since <= time < until`, in seconds since 1970; None is no bound."""

    since: int | None = None
    until: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the window has no bounds."""
        return self.since is None and self.until is None

    def as_text(self) -> dict[str, str | None] | None:
        """Return the bounds as text, `from` and `until`; None for an open window."""
        if self.is_open:
            return None
        bounds = {"from": self.since, "until": self.until}
        return {name: None if bound is None else format_time(bound) for name, bound in bounds.items()}

    def contains(self, times: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return whether each time is inside the window."""
        inside = pc.greater_equal(times, self.since) if self.since is not None else pc.is_valid(times)
        return pc.and_(inside, pc.less(times, self.until)) if self.until is not None else inside


ALWAYS = Window()
"""The window that contains all times."""


def choose_window(parsed: DataFrame, as_of: date | None, days: int) -> Window:
    """Return the window that `--as-of` and `[ingest] window_days` select.

    Args:
        parsed: the rows that `spark.ingest.parse.parse` returns.
        as_of: the window ends when this day begins, in UTC; None if it ends with the data.
        days: length of the window in days; 0 is unlimited. Without `as_of` the last usable row ends it.
    """
    if as_of is not None:
        until = int(datetime.combine(as_of, time(), UTC).timestamp())
    elif days and (span := time_span(parsed)) is not None:
        until = span[1] + 1
    else:
        return ALWAYS
    return Window(until - days * DAY_S if days else None, until)


def time_span(parsed: DataFrame) -> tuple[int, int] | None:
    """Return the first and the last time of the usable rows, or None if no row is usable. Reads all rows."""
    usable, times = parsed.where(F.col(Columns.REJECT).isNull()), F.col(Columns.TIME)
    (span,) = usable.agg(F.min(times).alias("first"), F.max(times).alias("last")).collect()
    return None if span["first"] is None else (span["first"], span["last"])


def format_time(seconds: int) -> str:
    """Format a time in ISO 8601: 2026-03-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
