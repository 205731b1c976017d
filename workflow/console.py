"""What a run says on the terminal: a line a stage, and a live bar where somebody watches; never a secret."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from common.redaction import redact
from workflow.stage_progress import Show


class Console:
    """Writes to copies of standard output and error: sending Java's chatter elsewhere leaves them alone."""

    def __init__(self) -> None:
        """Takes the copies, and gives them back when it goes."""
        self._out, self._err = _copy_of(1), _copy_of(2)
        for copy in (self._out, self._err):
            weakref.finalize(self, copy.close)
        self._live = self._out.isatty()

    def close(self) -> None:
        """Gives the copies back now: nothing more is to be said."""
        self._out.close()
        self._err.close()

    def info(self, text: str = "") -> None:
        """Writes a line."""
        _write(self._out, text)

    def error(self, sentence: str) -> None:
        """Writes the sentence of an error."""
        _write(self._err, f"Error: {sentence}")

    @contextmanager
    def bar(self, label: str, done: int, total: int) -> Iterator[list[Show]]:
        """Shows a bar while the block runs: the stages of the run. What it yields wants to know how this one gets on.

        Where nobody watches, there is no bar and nobody who wants to know.
        """
        if not self._live:
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


def _write(out: TextIO, text: str) -> None:
    """Writes a line. Where nobody reads any more (`| head`, a closed terminal), the run goes on all the same."""
    try:
        print(redact(text), file=out, flush=True)
    except OSError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), out.fileno())


def _copy_of(descriptor: int) -> TextIO:
    return os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
