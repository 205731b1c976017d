"""Write a run record: one JSON line per event, forced to the disk as it happens, without secrets.

The process holds a lock on the record while the run is active. The system releases it when the process ends; child
processes do not inherit it. Beside the record, `<run id>.now` holds the progress of the current stage.
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

from common.dates import utc_now
from common.errors import UserError
from common.files import append_line, write_atomically
from common.redaction import redact_values
from run_records.record_files import PROGRESS_SUFFIX, is_running
from run_records.stage_state import StageProgress

Status = Literal["done", "failed", "skipped"]

_MIN_INTERVAL_S = 1.0
"""Minimum seconds between two writes of the progress."""


@dataclass
class StageRecord:
    """The closing line of a stage."""

    run: str
    stage: str
    model: str | None
    """The candidate; None for stages without one."""
    fingerprint: str
    status: Status
    started: str
    duration_s: float = 0.0
    rows_in: int | None = None
    rows_out: int | None = None
    error: str | None = None
    requires: tuple[str, ...] = ()
    """The labels of the stages it requires."""


class RunRecorder:
    """Writes `data/runs/<dataset>/<run id>.jsonl`."""

    def __init__(
        self, path: Path, run: str, dataset: str, on_lost: Callable[[OSError], None] = lambda error: None, **facts: Any
    ) -> None:
        """Open the record and write its first line.

        Args:
            on_lost: called once if a later line cannot be written. The run continues: its results matter more than
                its record.
            facts: further keys of the first line.

        Raises:
            UserError: a record of this run exists.
            OSError: the first line cannot be written.
        """
        self._path, self._run, self._start = path, run, time.monotonic()
        self._progress_file, self._next_progress = path.with_suffix(PROGRESS_SUFFIX), 0.0
        try:
            self._lock = path.open("x")
        except FileExistsError:
            message = f"Run {run} of {dataset} is already recorded: leave --run-id out, or give another id."
            raise UserError(message) from None
        weakref.finalize(self, self._lock.close)
        self._on_lost, self._is_open, self._is_lost = on_lost, False, False
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # waits at most for a process that checks the lock
        _remove_stale_progress(path.parent)
        self._append("run_started", at=utc_now(), dataset=dataset, **facts)
        self._is_open = True

    def start_stage(self, record: StageRecord) -> None:
        """Record that a stage has started. Not forced to the disk, which would slow down many short stages."""
        event = {"event": "stage_started", "run": self._run, "stage": record.stage, "model": record.model}
        self._write(event | {"at": record.started}, forced=False)

    def write_progress(self, label: str, state: StageProgress) -> None:
        """Write the progress of the current stage, unless the last write was less than a second ago."""
        if time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + _MIN_INTERVAL_S
            share = None if state.share is None else round(state.share, 3)
            progress = {"stage": label, "progress": share, "doing": state.words or None}
            with suppress(OSError):
                write_atomically(self._progress_file, json.dumps(redact_values(progress)) + "\n", forced=False)

    def end_stage(self, record: StageRecord) -> None:
        """Record how a stage has ended."""
        self._progress_file.unlink(missing_ok=True)
        self._write({"event": "stage", **asdict(record)})

    def finish(
        self, status: Literal["done", "failed", "nothing_to_do"], version: str | None, **facts: str | None
    ) -> float:
        """Write the last line and release the lock; return the duration of the run in seconds.

        Args:
            facts: further keys of the line; those that are None are left out.
        """
        duration = time.monotonic() - self._start
        known = {name: fact for name, fact in facts.items() if fact is not None}
        self._append(
            "run_finished", at=utc_now(), status=status, duration_s=round(duration, 3), version=version, **known
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
                self._on_lost(error)


def _remove_stale_progress(directory: Path) -> None:
    """Remove the progress files of runs that were killed."""
    for file in directory.glob(f"*{PROGRESS_SUFFIX}*"):
        if not is_running(file.with_name(file.name.partition(PROGRESS_SUFFIX)[0] + ".jsonl")):
            file.unlink(missing_ok=True)
