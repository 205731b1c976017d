"""Progress of the current stage: polled from Spark, and shown on the terminal, in luigid and beside the run record."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from run_records.stage_state import StageProgress

_POLL_INTERVAL_S = 0.25
_JOIN_TIMEOUT_S = 2.0

Watcher = Callable[[StageProgress], None]
"""Receives the progress a few times a second."""


class Progress:
    """The progress of the current stage."""

    def __init__(self) -> None:
        self._note, self._fraction = "", None  # type: tuple[str, float | None]
        self._reports: list[tuple[float, float]] = []
        """Time and fraction of the first and the last report, for the estimate."""

    def report(self, text: str, fraction: float | None = None) -> None:
        """Set the stage's own report: a text, and the fraction of its work that is done."""
        if fraction is None or (self._reports and fraction < self._reports[-1][1]):
            self._reports = []  # another stage, or another part of the same stage
        if fraction is not None:
            self._reports = [*self._reports[:1], (time.monotonic(), fraction)]
        self._note, self._fraction = text, fraction

    def _remaining_s(self) -> float | None:
        """Estimate the remaining seconds from the pace between the first and the last report."""
        if len(self._reports) < 2:
            return None
        (first_time, low), (last_time, high) = self._reports
        if high <= low:
            return None
        remaining = (1 - high) * (last_time - first_time) / (high - low)
        return max(0.0, remaining - (time.monotonic() - last_time))

    @contextmanager
    def shown_to(self, watchers: Sequence[Watcher]) -> Iterator[None]:
        """Pass the progress to all watchers while the block runs. Their errors do not affect the stage."""
        self.report("")
        ended = threading.Event()

        def poll() -> None:
            while not ended.wait(_POLL_INTERVAL_S):
                with suppress(Exception):  # the stage itself reports that its JVM has died
                    progress = StageProgress(*_spark_tasks(), self._note, self._fraction, self._remaining_s())
                    for watch in watchers:
                        watch(progress)

        poller = threading.Thread(target=poll, daemon=True)
        poller.start()
        try:
            yield
        finally:
            ended.set()
            poller.join(_JOIN_TIMEOUT_S)


def _spark_tasks() -> tuple[int, int]:
    """The done tasks and all tasks of Spark's active stages."""
    if "pyspark" not in sys.modules:
        return (0, 0)
    from spark.runtime.session import active_tasks

    return active_tasks()
