"""Reads run records: what the last runs did, as far as they came to say so."""

from __future__ import annotations

import fcntl
import json
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.errors import UserError, did_you_mean, join_sorted

RUNNING = "running"
"""A run that goes on, and the stage that it is making."""

UNFINISHED = "unfinished"
"""A run that was stopped before it could say how it ended, and the stage that it was making."""

NOT_RUN = "not run"
"""A stage that the run did not come to."""

_FACTS = ("started", "duration_s", "rows_in", "rows_out", "error", "fingerprint", "progress", "doing")

PROGRESS_SUFFIX = ".now"
"""Suffix of the file beside the record of a run that goes on: how far the stage is that it is making."""


@dataclass(frozen=True)
class RecordedStage:
    """What became of one stage of a run."""

    label: str
    """Its name, with the candidate that it is about: `Train als`."""
    status: str
    """`done`, `failed`, `skipped` (its result was there), `running`, `unfinished` or `not run`."""
    requires: tuple[str, ...] = ()
    """The labels of the stages before it."""
    started: str | None = None
    duration_s: float | None = None
    rows_in: int | None = None
    rows_out: int | None = None
    error: str | None = None
    fingerprint: str | None = None
    progress: float | None = None
    """How much of it is done while it runs, from 0 to 1, where that is known."""
    doing: str | None = None
    """What it is at while it runs: iteration 3 of 10, 12/40 Spark tasks."""


@dataclass(frozen=True)
class RecordedRun:
    """One invocation of the pipeline."""

    run: str
    dataset: str
    started: str | None
    status: str
    """`done`, `failed`, `nothing_to_do`, `running` or `unfinished`."""
    duration_s: float | None
    version: str | None
    """The version that was there when it ended."""
    steps: tuple[RecordedStage, ...]
    """Its stages, each after those that it requires."""
    settings: dict[str, dict[str, Any]]
    """Every section of settings, as the run used it; empty where the record does not say."""
    changed: dict[str, list[str]]
    """The keys of those settings that were not the default, by section."""
    as_of: str | None = None
    """The day before which something had to happen to count; None where everything did."""
    compared: str | None = None
    """How its champion compares with popularity and with what was served, if it came to that."""
    not_promoted: str | None = None
    """Why its version was published and not promoted; None where it was, or the record does not say."""

    @property
    def stages(self) -> Counter[str]:
        """How many stages ended in each status."""
        return Counter(step.status for step in self.steps)

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status in ("done", "nothing_to_do")

    @property
    def ended(self) -> datetime | None:
        """When it ended; None where its record does not say."""
        if self.started is None or self.duration_s is None:
            return None
        return datetime.fromisoformat(self.started) + timedelta(seconds=self.duration_s)

    @property
    def error(self) -> str | None:
        """The sentence of the stage that failed."""
        failed = next((step for step in self.steps if step.status == "failed"), None)
        return f"{_of(failed.label)}: {failed.error or 'failed without saying why.'}" if failed else None


def new_run_id() -> str:
    """When, in UTC, and four digits that make it unique."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def last_runs(directory: Path, limit: int | None = None) -> list[RecordedRun]:
    """The newest runs recorded in `data/runs/<dataset>`, newest first."""
    return newest_first([read_run(record) for record in _records(directory)[:limit]])


def page_of_runs(directory: Path, page: int, size: int) -> tuple[list[RecordedRun], int]:
    """One page of the runs recorded there, the newest on page 1, and how many there are in all."""
    records, first = _records(directory), size * (page - 1)
    return newest_first([read_run(record) for record in records[first : first + size]]), len(records)


def last_success(directory: Path) -> RecordedRun | None:
    """The last run recorded there that ended well; reads no more records than it must."""
    return next((run for record in _records(directory) if (run := read_run(record)).succeeded), None)


def newest_first(runs: list[RecordedRun]) -> list[RecordedRun]:
    """The runs by when they began."""
    return sorted(runs, key=lambda run: (run.started or "", run.run), reverse=True)


def run_directories(root: Path, dataset: str | None = None) -> list[Path]:
    """The directories of run records below `data/runs`: of one dataset, or of all.

    Raises:
        UserError: no run of that dataset is recorded.
    """
    directories = sorted(path for path in root.glob("*/") if any(path.glob("*.jsonl")))
    if dataset is None:
        return directories
    names = [path.name for path in directories]
    if dataset not in names:
        known = f"there are runs of {join_sorted(names)}" if names else "there are none of any other"
        raise UserError(f"No run of {dataset!r} is recorded in {root}{did_you_mean(dataset, names)}; {known}.")
    return [root / dataset]


def find_run(root: Path, dataset: str | None = None, wanted: str = "") -> RecordedRun:
    """The run whose id is, or alone begins with, what is wanted; the last one where nothing is.

    Raises:
        UserError: there is no such run, or there are several.
    """
    records = [record for directory in run_directories(root, dataset) for record in sorted(directory.glob("*.jsonl"))]
    found = [record for record in records if record.stem.startswith(wanted)]
    found = [record for record in found if record.stem == wanted] or found
    if not records:
        raise UserError(f"No run is recorded in {root}: make pipeline makes one.")
    if not found:
        raise UserError(f"No run's id begins with {wanted!r}: make runs lists them.")
    if wanted and len(found) > 1:
        some = ", ".join(record.stem for record in found[:3]) + (", …" if len(found) > 3 else "")
        raise UserError(f"{len(found)} runs' ids begin with {wanted!r} ({some}): give more of it.")
    return newest_first([read_run(record) for record in found])[0]


def read_run(record: Path) -> RecordedRun:
    """Reads one record; a line that was cut off is as good as not written."""
    # Asked before reading: a run that ends in between has written its last line by then.
    unended = RUNNING if is_running(record) else UNFINISHED
    now = _now(record) if unended == RUNNING else {}
    events = _events(record)
    opening = next((event for event in events if event.get("event") == "run_started"), {})
    closing = next((event for event in events if event.get("event") == "run_finished"), {})
    # A stage that was tried again has lines for each try: the last one counts.
    last = {_label(event): event for event in events if event.get("event") in ("stage_started", "stage")}
    told = {label: _told(event, unended, now) for label, event in last.items()}
    planned = {str(stage.get("stage")): stage for stage in opening.get("stages") or []}
    return RecordedRun(
        run=record.stem,
        dataset=record.parent.name,
        started=opening.get("at"),
        status=closing.get("status", unended),
        duration_s=closing.get("duration_s"),
        version=closing.get("version"),
        steps=tuple(_step(label, planned.get(label, {}), told.get(label, {})) for label in planned | told),
        settings=opening.get("settings") or {},
        changed=opening.get("changed") or {},
        as_of=opening.get("as_of"),
        compared=closing.get("compared"),
        not_promoted=closing.get("not_promoted"),
    )


def active_runs(directory: Path) -> list[str]:
    """The ids of the runs recorded in `data/runs/<dataset>` that go on."""
    return [record.stem for record in sorted(directory.glob("*.jsonl")) if is_running(record)]


def is_running(record: Path) -> bool:
    """Whether the run of that record goes on: its process holds a lock on it until it ends, in whatever way.

    Nobody is disturbed by the question: it never waits, and two who ask at once do not see each other.
    """
    try:
        with record.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it is gone, or its file system knows no locks
        return False
    return False


def _records(directory: Path) -> list[Path]:
    """The records by when they were last written to, the newest first."""
    return sorted(directory.glob("*.jsonl"), key=lambda record: record.stat().st_mtime, reverse=True)


def _now(record: Path) -> dict[str, Any]:
    """How far the run's stage is: `stage`, `progress` and `doing`; nothing where nothing is said yet."""
    try:
        return next(iter(_events(record.with_suffix(PROGRESS_SUFFIX))), {})
    except OSError:
        return {}


def _told(event: dict[str, Any], unended: str, now: dict[str, Any]) -> dict[str, Any]:
    """What the last line of a stage tells, and how far it is where it has only begun."""
    if event["event"] == "stage":
        return event
    mine = now if now.get("stage") == _label(event) else {}
    return mine | {"status": unended, "started": event.get("at")}


def _step(label: str, planned: dict[str, Any], told: dict[str, Any]) -> RecordedStage:
    """A stage from what the run planned for it, and from what its own last line tells."""
    unstarted = NOT_RUN if planned.get("to_do") else "skipped"
    return RecordedStage(
        label,
        status=str(told.get("status", unstarted)),
        requires=tuple(planned.get("requires") or told.get("requires") or ()),
        **{key: told.get(key) for key in _FACTS},
    )


def _label(event: dict[str, Any]) -> str:
    return f"{event.get('stage')} {event['model']}" if event.get("model") else str(event.get("stage"))


def _of(label: str) -> str:
    """A label as it reads in a sentence: Train als, Train of als."""
    return label.replace(" ", " of ", 1)


def _events(record: Path) -> list[dict[str, Any]]:
    events = []
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
