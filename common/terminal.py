"""What the command lines share, some of it with the page: how they refuse, tables as text, times, sizes and counts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

EXIT_USAGE = 2
"""Exit code for what the user can put right."""

EXIT_REFUSED = 1
"""Exit code for what cannot be done as things are: a version that does not verify, another that came first."""


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        self.exit(EXIT_USAGE, f"Error: {message[:1].upper()}{message[1:].rstrip('.')}.\n")


def text_table(rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    """Rows as text, the first of them the heading: numbers to the right, words to the left."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def format_bytes(count: int) -> str:
    """Bytes: 512 B, 4.2 kB, 1.3 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def format_time(stamp: str | None) -> str:
    """A time as it stands in a table; text that is no time as it is, a dash for none."""
    try:
        return f"{datetime.fromisoformat(stamp or ''):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return stamp or "–"


def plural(noun: str) -> str:
    """The plural of a noun, which may be what a dataset calls its items."""
    return noun if noun.endswith("s") else f"{noun}s"


def count_noun(count: int, noun: str) -> str:
    """A number and its noun: 1 user, 1,200 users."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"
