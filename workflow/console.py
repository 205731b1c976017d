"""What a run says on the terminal: a line a stage, and a live bar where somebody watches."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        print(text, file=self._out, flush=True)

    def fail(self, sentence: str) -> None:
        """Writes the sentence of an error."""
        print(f"Error: {sentence}", file=self._err, flush=True)

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
            while not ended.wait(_POLL_S):
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


def _copy_of(descriptor: int) -> TextIO:
    return os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
