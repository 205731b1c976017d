"""What a run says on the terminal: a line a stage, and a live bar where somebody watches."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

_POLL_S = 0.25

Tasks = tuple[int, int]
"""How many of Spark's tasks are done, and how many there are."""


class Console:
    """Writes to copies of standard output and error: sending Java's chatter elsewhere leaves them alone."""

    def __init__(self) -> None:
        """Takes the copies, and gives them back when it goes."""
        self._out, self._err = _copy_of(1), _copy_of(2)
        for copy in (self._out, self._err):
            weakref.finalize(self, copy.close)
        self._live = self._out.isatty()

    def say(self, text: str = "") -> None:
        """Writes a line."""
        _write(self._out, text)

    def fail(self, sentence: str) -> None:
        """Writes the sentence of an error."""
        _write(self._err, f"Error: {sentence}")

    @contextmanager
    def progress(self, label: str, stages: Tasks, tasks: Callable[[], Tasks]) -> Iterator[None]:
        """Shows a bar while the block runs: the stages of the run, and Spark's tasks in this one."""
        if not self._live:
            yield
            return
        from tqdm import tqdm

        done, total = stages
        bar = tqdm(
            total=total, initial=done, desc=label, file=self._out, leave=False,
            bar_format="  {desc:<22} {bar:30} {n_fmt}/{total_fmt} stages, {elapsed}{postfix}",
        )  # fmt: skip
        ended = threading.Event()

        def watch() -> None:
            finished = running = 0
            while not ended.wait(_POLL_S):
                with suppress(Exception):  # a JVM that dies is the stage's to report
                    finished, running = tasks()
                bar.set_postfix_str(f"{finished}/{running} Spark tasks" if running else "", refresh=True)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            bar.close()


def _write(out: TextIO, text: str) -> None:
    """Writes a line. Where nobody reads any more (`| head`, a closed terminal), the run goes on all the same."""
    try:
        print(text, file=out, flush=True)
    except OSError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), out.fileno())


def _copy_of(descriptor: int) -> TextIO:
    return os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
