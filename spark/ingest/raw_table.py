"""The rows of raw files, with the description of their columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pyspark.sql import DataFrame

from config.dataset import Interactions, Table, TagNames, Tags, Tracks, Users

MALFORMED = "_malformed"
"""Boolean column: whether a row does not match the format of its table."""

LINE = "_line"
"""Text column: the original line; for Parquet, the row as JSON."""

Description = TypeVar("Description", bound=Table, covariant=True)


@dataclass(frozen=True)
class RawTable(Generic[Description]):
    """One table of the description. Text is trimmed, and null where it is empty; nothing is cast."""

    rows: DataFrame
    """The table's own columns, `MALFORMED` and `LINE`."""
    description: Description
    path: Path
    """The path or glob pattern, for messages."""

    @property
    def columns(self) -> list[str]:
        """The table's own columns."""
        return [name for name in self.rows.columns if name not in (MALFORMED, LINE)]


@dataclass(frozen=True)
class RawData:
    """All tables of a dataset that ingest needs; None for those that the description lacks."""

    interactions: RawTable[Interactions]
    tracks: RawTable[Tracks] | None
    tags: RawTable[Tags] | None
    """Also None if `[tracks]` has tags."""
    tag_names: RawTable[TagNames] | None
    users: RawTable[Users] | None

    def shares_interactions_file(self, table: RawTable[Table]) -> bool:
        """Whether a table is read from the file of the interactions, in which ids repeat."""
        return table.description.path == self.interactions.description.path
