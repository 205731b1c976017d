"""Shared parts of the command lines: argument parser, exit codes and text tables."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import NoReturn

EXIT_USAGE = 2
"""Exit code for an error in the arguments or settings."""

EXIT_REFUSED = 1
"""Exit code for a command that the current state forbids, such as promoting a version that does not verify."""


class CommandParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        self.exit(EXIT_USAGE, f"Error: {message[:1].upper()}{message[1:].rstrip('.')}.\n")


def text_table(rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Align rows in columns.

    Args:
        rows: cells; the first row is the heading.
        numbers: the columns to align to the right.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
