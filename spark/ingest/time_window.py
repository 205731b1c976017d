"""Which interactions count by their time: those before a day, and of them those of the last so many days."""

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
    """From one time, included, until another, excluded; in seconds since 1970, None where there is no bound."""

    since: int | None = None
    until: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether every time lies in it."""
        return self.since is None and self.until is None

    @property
    def described(self) -> dict[str, str | None] | None:
        """The bounds as text, `from` and `until`; None where there is none."""
        if self.is_open:
            return None
        return {"from": _moment(self.since), "until": _moment(self.until)}

    def holds(self, times: pa.ChunkedArray) -> pa.ChunkedArray:
        """Whether each time lies in it; of bounds that are not there nothing is asked."""
        since = pc.greater_equal(times, self.since) if self.since is not None else pc.is_valid(times)
        return pc.and_(since, pc.less(times, self.until)) if self.until is not None else since


ALWAYS = Window()
"""Every time counts."""


def choose_window(parsed: DataFrame, as_of: date | None, days: int) -> Window:
    """What counts of some rows.

    Args:
        parsed: what `spark.ingest.raw_to_parquet.parse` makes.
        as_of: what happened before this day begins, in UTC, counts; None where everything does.
        days: of that, what happened in the so many days before; without `as_of` in those up to the latest time that a
            row has which can be used. 0: all.
    """
    if as_of is not None:
        until = int(datetime.combine(as_of, time(), UTC).timestamp())
    elif days and (times := time_span(parsed)) is not None:
        until = times[1] + 1
    else:
        return ALWAYS
    return Window(until - days * DAY_S if days else None, until)


def time_span(parsed: DataFrame) -> tuple[int, int] | None:
    """The first and the last time of the rows that can be used; None where no row can be. Reads all of them."""
    usable, when = parsed.where(F.col(Columns.REJECT).isNull()), F.col(Columns.TIME)
    (found,) = usable.agg(F.min(when).alias("first"), F.max(when).alias("last")).collect()
    return None if found["first"] is None else (found["first"], found["last"])


def format_time(seconds: int) -> str:
    """A time as text: 2026-03-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else format_time(seconds)
