"""The terminal output of a run: a line per stage, a progress bar on a terminal, and no secrets."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from common.redaction import redact
from workflow.reporting.stage_progress import Watcher


class Console:
    """Writes to copies of standard output and error, which stay on the terminal when Java's output is redirected."""

    def __init__(self) -> None:
        """Copy both descriptors; the copies are closed with the object."""
        self._out, self._err = _duplicate(1), _duplicate(2)
        for stream in (self._out, self._err):
            weakref.finalize(self, stream.close)
        self._is_terminal = self._out.isatty()

    def close(self) -> None:
        """Close the copies; nothing can be printed afterwards."""
        self._out.close()
        self._err.close()

    def info(self, text: str = "") -> None:
        """Print a line on standard output."""
        _write(self._out, text)

    def error(self, sentence: str) -> None:
        """Print an error on standard error."""
        _write(self._err, f"Error: {sentence}")

    @contextmanager
    def bar(self, label: str, done: int, total: int) -> Iterator[list[Watcher]]:
        """Show a progress bar over the stages of the run while the block runs, if the output is a terminal.

        Yields:
            the watcher that shows the progress of the current stage; none without a bar.
        """
        if not self._is_terminal:
            yield []
            return
        from tqdm import tqdm

        bar = tqdm(
            total=total, initial=done, desc=label, file=self._out, leave=False,
            bar_format="  {desc:<28} {bar:30} {n_fmt}/{total_fmt} stages, {elapsed}{postfix}",
        )  # fmt: skip
        try:
            yield [lambda state: bar.set_postfix_str(redact(state.words), refresh=True)]
        finally:
            bar.close()


def _write(stream: TextIO, text: str) -> None:
    """Print a line. If the output is closed (`| head`, a closed terminal), the run continues without it."""
    try:
        print(redact(text), file=stream, flush=True)
    except OSError:
        with Path(os.devnull).open("w") as null:
            os.dup2(null.fileno(), stream.fileno())


def _duplicate(descriptor: int) -> TextIO:
    return os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
