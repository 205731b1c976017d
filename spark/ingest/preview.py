"""`make preview`: parse the first thousand rows of a dataset as described, and show the result."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession

from common.errors import MissingInput, UserError
from common.formatting import MISSING
from common.terminal import EXIT_USAGE, text_table
from config.dataset import Dataset, Table, load_dataset
from config.paths import Paths
from spark.ingest.catalogue_details import select_track_columns, select_user_columns
from spark.ingest.encode_interactions import REASON_SEPARATOR
from spark.ingest.parse import parse
from spark.ingest.readers import read_table
from spark.runtime.session import SessionOptions, close_session, open_session
from spark.storage.tables import Columns

MAX_ROWS = 1000
"""Rows that are read of each table."""

SHOWN_ROWS = 5
_CELL_WIDTH = 40
_INTERACTION_COLUMNS = (Columns.USER_ID, Columns.TRACK_ID, Columns.VALUE, Columns.TIME)


def main(arguments: list[str] | None = None) -> int:
    """Print the preview and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spark.ingest.preview", description=__doc__)
    parser.add_argument("--dataset", required=True, help="name of a shipped dataset, or path of a TOML file")
    parser.add_argument("--raw-dir", default="", help="directory of the raw files (default: data/raw/<dataset>)")
    parser.add_argument("--data", type=Path, default=Paths().data_root, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as logs:
        try:
            dataset = load_dataset(options.dataset)
            raw_dir = Path(options.raw_dir) if options.raw_dir else Paths(options.data).raw(dataset.name)
            if dataset.synthetic:
                raise UserError(f"The dataset {dataset.name} is generated: it has no raw files to preview.")
            session = open_session(SessionOptions(log=Path(logs) / "spark.log"))
            for line in preview(session, dataset, raw_dir):
                print(line)
        except UserError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 20 if isinstance(error, MissingInput) else EXIT_USAGE
        finally:
            close_session()
    return 0


def preview(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> Iterator[str]:
    """Yield lines of text: rows kept, rows rejected by reason, and the first kept rows of each table.

    Raises:
        UserError: a file or a column does not match the description.
    """
    raw = read_table(spark, raw_dir, dataset.interactions)
    rows = parse(raw).take(MAX_ROWS)
    yield f"{dataset.title}: the first {len(rows):,} rows of {raw.path}"
    if not rows:
        return
    kept = [row for row in rows if row[Columns.REJECT] is None]
    rejects = [row[Columns.REJECT].split(REASON_SEPARATOR, 1) for row in rows if row[Columns.REJECT] is not None]
    yield from ("", f"  kept      {len(kept):>5,}", f"  rejected  {len(rejects):>5,}")
    for reason, count in Counter(reason for reason, _ in rejects).most_common():
        example = next(row for other, row in rejects if other == reason)
        yield f"    {reason:<14}{count:>5,}   e.g. {_shorten(repr(example), 2 * _CELL_WIDTH)}"
    if kept:
        yield from ("", f"First rows kept (feedback: {dataset.interactions.feedback}):", "")
        yield from _format_table(kept, _INTERACTION_COLUMNS)
        yield from ("", _summarize(kept))
    if dataset.tracks is not None:
        tracks = select_track_columns(read_table(spark, raw_dir, dataset.tracks))
        yield from _preview_details("tracks", dataset.tracks, tracks)
    if dataset.users is not None:
        users = select_user_columns(read_table(spark, raw_dir, dataset.users))
        yield from _preview_details("users", dataset.users, users)


def _preview_details(heading: str, table: Table, details: DataFrame) -> Iterator[str]:
    """Yield how many rows of users or tracks are unusable, and the first usable ones without empty columns."""
    rows = details.take(MAX_ROWS)
    usable = [row for row in rows if row[0] is not None]
    unusable = len(rows) - len(usable)
    yield from ("", f"[{heading}] {table.path}: {unusable:,} of {len(rows):,} rows malformed or without an id", "")
    yield from _format_table(usable, [name for name in details.columns if any(row[name] for row in usable)])


def _summarize(kept: Sequence[Row]) -> str:
    """Return the number of users and tracks, and the ranges of values and times."""
    users, tracks = (len({row[name] for row in kept}) for name in (Columns.USER_ID, Columns.TRACK_ID))
    values = [row[Columns.VALUE] for row in kept]
    times = [row[Columns.TIME] for row in kept if row[Columns.TIME] is not None]
    summary = f"  {users:,} users, {tracks:,} tracks, values from {min(values):g} to {max(values):g}"
    if not times:
        return summary
    return f"{summary}, times from {_format_cell(Columns.TIME, min(times))} to {_format_cell(Columns.TIME, max(times))}"


def _format_table(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Yield the first few rows in aligned columns."""
    cells = [list(names), *([_format_cell(name, row[name]) for name in names] for row in rows[:SHOWN_ROWS])]
    return (f"  {line}" for line in text_table(cells).splitlines())


def _format_cell(name: str, value: Any) -> str:
    if value is None:
        return MISSING
    if name == Columns.TIME:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:g}"
    return _shorten(str(value), _CELL_WIDTH)


def _shorten(text: str, width: int) -> str:
    """Cut text to a width and replace control characters, which a terminal would interpret, with question marks."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


if __name__ == "__main__":
    sys.exit(main())
