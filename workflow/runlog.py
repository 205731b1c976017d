"""The run record: one JSON line per event, forced to the disk as it happens, without secrets."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from config.durable import append_line, now
from config.redaction import redacted

Status = Literal["done", "failed", "skipped"]


@dataclass
class StageLine:
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


class RunRecord:
    """Writes `data/runs/<dataset>/<run id>.jsonl`."""

    def __init__(self, path: Path, run: str, dataset: str, **facts: Any) -> None:
        """Opens the record with its first line; `facts` are what else it says."""
        self._path, self._run, self._since = path, run, time.monotonic()
        self._append("run_started", at=now(), dataset=dataset, **facts)

    def stage(self, line: StageLine) -> None:
        """A stage has ended."""
        self._write({"event": "stage", **asdict(line)})

    def finished(self, status: Literal["done", "failed", "nothing_to_do"], version: str | None) -> float:
        """The run has ended; returns the seconds it took."""
        duration = time.monotonic() - self._since
        self._append("run_finished", at=now(), status=status, duration_s=round(duration, 3), version=version)
        return duration

    def _append(self, event: str, **facts: Any) -> None:
        self._write({"event": event, "run": self._run, **facts})

    def _write(self, record: dict[str, Any]) -> None:
        append_line(self._path, redacted(record))
