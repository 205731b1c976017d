"""How far a stage is: one poll of Spark, seen by the terminal's bar, by luigid and beside the run's record."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from run_records.stage_state import StageProgress

_POLL_S = 0.25
_PATIENCE_S = 2.0


Show = Callable[[StageProgress], None]
"""Somebody who is shown the state, a few times a second."""


class Progress:
    """The state of the stage that is being made."""

    def __init__(self) -> None:
        self._note, self._fraction = "", None  # type: tuple[str, float | None]
        self._reports: list[tuple[float, float]] = []

    def report(self, text: str, fraction: float | None = None) -> None:
        """What a stage says of itself while it works."""
        if fraction is None or (self._reports and fraction < self._reports[-1][1]):
            self._reports = []  # another stage, or another part of one
        if fraction is not None:
            self._reports = [*self._reports[:1], (time.monotonic(), fraction)]
        self._note, self._fraction = text, fraction

    def _remaining_s(self) -> float | None:
        """At the pace between the first report and the last; what came before the first was no such work."""
        if len(self._reports) < 2:
            return None
        (began, low), (last, high) = self._reports
        return max(0.0, (1 - high) * (last - began) / (high - low) - (time.monotonic() - last)) if high > low else None

    @contextmanager
    def shown_to(self, watchers: Sequence[Show]) -> Iterator[None]:
        """Shows the state to all of them while the block runs. What goes wrong with it is no matter of the stage."""
        self.report("")
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_POLL_S):
                with suppress(Exception):  # a JVM that dies is the stage's to report
                    state = StageProgress(*_spark_tasks(), self._note, self._fraction, self._remaining_s())
                    for show in watchers:
                        show(state)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(_PATIENCE_S)


def _spark_tasks() -> tuple[int, int]:
    """Spark's tasks that are done, and all, in the stages that it works on now."""
    if "pyspark" not in sys.modules:
        return (0, 0)
    from spark.runtime.session import active_tasks

    return active_tasks()
