"""The outcome of an ingest, in rows."""

from __future__ import annotations

from dataclasses import dataclass

from spark.ingest.time_window import ALWAYS, Window


@dataclass(frozen=True)
class IngestCounts:
    """How many raw rows were kept, merged, rejected or outside the window, and unusable rows of the other tables."""

    read: int
    rejected: dict[str, int]
    """Rejected rows by reason."""
    kept: int
    merged: int
    """Kept rows whose user and track already had one."""
    unusable: dict[str, int]
    """Rows of `tracks` and `users` that are malformed or have no id."""
    examples: dict[str, list[str]]
    """A few rejected rows by reason, shortened for reading."""
    outside: int = 0
    """Usable rows outside the time window."""
    window: Window = ALWAYS

    @property
    def interactions(self) -> int:
        """Distinct pairs of user and track."""
        return self.kept - self.merged
