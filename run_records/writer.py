"""The run record: one JSON line per event, forced to the disk as it happens, without secrets.

A lock on the record says that the run goes on. The system releases it when the process ends, in whatever way, and no
child of it has the lock: Python's files are not inherited. Beside the record, `<run id>.now` says how far the stage is
that is being made.
"""

from __future__ import annotations

import fcntl
import json
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common.durable import append_line, utc_now, write_atomically
from common.errors import UserError
from common.redaction import redact_values
from run_records.reader import PROGRESS_SUFFIX, is_running
from run_records.stage_state import StageProgress

Status = Literal["done", "failed", "skipped"]

_EVERY_S = 1.0
"""How far a stage is, is written at most so often."""


@dataclass
class StageRecord:
    """The closing line of a stage."""

    run: str
    stage: str
    model: str | None
    fingerprint: str
    status: Status
    started: str
    duration_s: float = 0.0
    rows_in: int | None = None
    rows_out: int | None = None
    error: str | None = None
    requires: tuple[str, ...] = ()
    """The labels of the stages before it."""


class RunRecorder:
    """Writes `data/runs/<dataset>/<run id>.jsonl`."""

    def __init__(
        self, path: Path, run: str, dataset: str, lost: Callable[[OSError], None] = lambda error: None, **facts: Any
    ) -> None:
        """Opens the record with its first line; `facts` are what else it says.

        Args:
            lost: is told, once, that a later line could not be written. The run goes on: what it makes is worth more
                than what is said of it.

        Raises:
            UserError: there is a record of that run already.
        """
        self._path, self._run, self._since = path, run, time.monotonic()
        self._now, self._next = path.with_suffix(PROGRESS_SUFFIX), 0.0
        try:
            self._lock = path.open("x")
        except FileExistsError:
            told = f"Run {run} of {dataset} is recorded already: leave --run-id out, or name another."
            raise UserError(told) from None
        weakref.finalize(self, self._lock.close)
        self._lost, self._is_open, self._is_lost = lost, False, False
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # waits at most for somebody who looks whether it is locked
        _sweep(path.parent)
        self._append("run_started", at=utc_now(), dataset=dataset, **facts)
        self._is_open = True

    def began(self, line: StageRecord) -> None:
        """A stage has begun. Not forced to the disk, which would cost a run of many short stages some time."""
        event = {"event": "stage_started", "run": self._run, "stage": line.stage, "model": line.model}
        self._write(event | {"at": line.started}, forced=False)

    def doing(self, label: str, state: StageProgress) -> None:
        """Says how far a stage is, unless that was done a moment ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_S
            share = None if state.share is None else round(state.share, 3)
            told = {"stage": label, "progress": share, "doing": state.words or None}
            with suppress(OSError):
                write_atomically(self._now, json.dumps(redact_values(told)) + "\n", forced=False)

    def stage(self, line: StageRecord) -> None:
        """A stage has ended."""
        self._now.unlink(missing_ok=True)
        self._write({"event": "stage", **asdict(line)})

    def finished(
        self, status: Literal["done", "failed", "nothing_to_do"], version: str | None, **facts: str | None
    ) -> float:
        """The run has ended; returns the seconds it took. `facts` are what else is known of it."""
        duration = time.monotonic() - self._since
        told = {name: fact for name, fact in facts.items() if fact is not None}
        self._append(
            "run_finished", at=utc_now(), status=status, duration_s=round(duration, 3), version=version, **told
        )
        self._lock.close()
        return duration

    def _append(self, event: str, **facts: Any) -> None:
        self._write({"event": event, "run": self._run, **facts})

    def _write(self, record: dict[str, Any], *, forced: bool = True) -> None:
        try:
            append_line(self._path, redact_values(record), forced=forced)
        except OSError as error:
            if not self._is_open:
                raise
            if not self._is_lost:
                self._is_lost = True
                self._lost(error)


def _sweep(directory: Path) -> None:
    """Removes what runs that were killed have left beside their records."""
    for left in directory.glob(f"*{PROGRESS_SUFFIX}*"):
        if not is_running(left.with_name(left.name.partition(PROGRESS_SUFFIX)[0] + ".jsonl")):
            left.unlink(missing_ok=True)
