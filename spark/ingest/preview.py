"""`make preview`: what a description makes of the first thousand rows of somebody's data, before a run is started."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession

from common.errors import MissingInput, UserError
from config.dataset import Dataset, load_dataset
from config.paths import Paths
from spark.ingest.encode_interactions import AFTER_REASON
from spark.ingest.raw_to_parquet import described_tracks, described_users, parse
from spark.ingest.readers import read_table
from spark.runtime.session import SessionOptions, close_session, open_session
from spark.storage.tables import Columns

PREVIEWED = 1000
"""Rows that are read of each file."""

SHOWN = 5
_WIDEST = 40


def main(arguments: list[str] | None = None) -> int:
    """Prints the preview; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spark.ingest.preview", description=__doc__)
    parser.add_argument("--dataset", required=True, help="a shipped dataset's name, or the path of a TOML file")
    parser.add_argument("--raw-dir", default="", help="where the raw files are (default: data/raw/<dataset>)")
    parser.add_argument("--data", type=Path, default=Paths().data_root, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as chatter:
        try:
            dataset = load_dataset(given.dataset)
            raw_dir = Path(given.raw_dir) if given.raw_dir else Paths(given.data).raw(dataset.name)
            if dataset.synthetic:
                raise UserError(f"The dataset {dataset.name} makes its own data: there is nothing to preview.")
            session = open_session(SessionOptions(log=Path(chatter) / "spark.log"))
            for line in preview(session, dataset, raw_dir):
                print(line)
        except UserError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 20 if isinstance(error, MissingInput) else 2
        finally:
            close_session()
    return 0


def preview(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> Iterator[str]:
    """The lines that say what would be kept, what rejected and why, and how the kept rows are understood.

    Raises:
        UserError: a file or a column is not as the description says.
    """
    about = dataset.interactions
    rows = parse(read_table(spark, raw_dir, about), about).take(PREVIEWED)
    yield f"{dataset.title}: the first {len(rows):,} rows of {raw_dir / about.path}"
    if not rows:
        return
    kept = [row for row in rows if row[Columns.REJECT] is None]
    rejects = [row[Columns.REJECT].split(AFTER_REASON, 1) for row in rows if row[Columns.REJECT] is not None]
    yield from ("", f"  kept      {len(kept):>5,}", f"  rejected  {len(rejects):>5,}")
    for reason, count in Counter(reason for reason, _ in rejects).most_common():
        example = next(row for other, row in rejects if other == reason)
        yield f"    {reason:<14}{count:>5,}   e.g. {_short(repr(example), 2 * _WIDEST)}"
    if kept:
        yield from ("", f"The first that are kept, as they are understood ({about.feedback}):", "")
        yield from _table(kept, [Columns.USER_ID, Columns.TRACK_ID, Columns.VALUE, Columns.TIME])
        yield from ("", _in_all(kept))
    for heading, table, described in _others(dataset):
        looked_up = described(read_table(spark, raw_dir, table)).take(PREVIEWED)
        useless = sum(row[0] is None for row in looked_up)
        yield from ("", f"[{heading}] {table.path}: of {len(looked_up):,} rows {useless:,} are of no use", "")
        useful = [row for row in looked_up if row[0] is not None]
        known = [name for name in (useful[0].asDict() if useful else []) if any(row[name] for row in useful)]
        yield from _table(useful, known)


def _others(dataset: Dataset) -> Iterator[tuple[str, Any, Callable[[DataFrame], DataFrame]]]:
    if (tracks := dataset.tracks) is not None:
        yield "tracks", tracks, lambda rows: described_tracks(rows, tracks)
    if (users := dataset.users) is not None:
        yield "users", users, lambda rows: described_users(rows, users)


def _in_all(kept: Sequence[Row]) -> str:
    """How many users and tracks, and from where to where values and times go."""
    users, tracks = (len({row[name] for row in kept}) for name in (Columns.USER_ID, Columns.TRACK_ID))
    values = [row[Columns.VALUE] for row in kept]
    times = [row[Columns.TIME] for row in kept if row[Columns.TIME] is not None]
    said = f"  {users:,} users, {tracks:,} tracks, values from {min(values):g} to {max(values):g}"
    return (
        f"{said}, times from {_cell(Columns.TIME, min(times))} to {_cell(Columns.TIME, max(times))}" if times else said
    )


def _table(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """The first few rows, in columns."""
    cells = [list(names), *([_cell(name, row[name]) for name in names] for row in rows[:SHOWN])]
    widths = [max(len(line[place]) for line in cells) for place in range(len(names))]
    for line in cells:
        yield "  " + "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name == Columns.TIME:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:g}"
    return _short(str(value), _WIDEST)


def _short(text: str, widest: int) -> str:
    """Cut to a width; what would steer the terminal is a question mark."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= widest else f"{text[: widest - 1]}…"


if __name__ == "__main__":
    sys.exit(main())
