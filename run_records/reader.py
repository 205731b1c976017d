"""Find and read run records, including those of active and interrupted runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.errors import UserError, did_you_mean, join_sorted
from run_records.record_files import PROGRESS_SUFFIX, is_running
from run_records.recorded_run import NOT_RUN, RUNNING, UNFINISHED, RecordedRun, RecordedStage

_STAGE_KEYS = ("started", "duration_s", "rows_in", "rows_out", "error", "fingerprint", "progress", "doing")


def last_runs(directory: Path, limit: int | None = None) -> list[RecordedRun]:
    """The newest runs recorded in `data/runs/<dataset>`, newest first."""
    return newest_first([read_run(record) for record in _records(directory)[:limit]])


def page_of_runs(directory: Path, page: int, size: int) -> tuple[list[RecordedRun], int]:
    """One page of the recorded runs, with the newest on page 1, and the number of all runs."""
    records, first = _records(directory), size * (page - 1)
    return newest_first([read_run(record) for record in records[first : first + size]]), len(records)


def last_success(directory: Path) -> RecordedRun | None:
    """The newest recorded run that succeeded; older records are not read."""
    return next((run for record in _records(directory) if (run := read_run(record)).succeeded), None)


def newest_first(runs: list[RecordedRun]) -> list[RecordedRun]:
    """The runs sorted by their start."""
    return sorted(runs, key=lambda run: (run.started or "", run.id), reverse=True)


def run_directories(root: Path, dataset: str | None = None) -> list[Path]:
    """The directories with run records below `data/runs`: of one dataset, or of all.

    Raises:
        UserError: no run of the dataset is recorded.
    """
    directories = sorted(path for path in root.glob("*/") if any(path.glob("*.jsonl")))
    if dataset is None:
        return directories
    names = [path.name for path in directories]
    if dataset not in names:
        known = f"there are runs of {join_sorted(names)}" if names else "there are no runs of other datasets either"
        raise UserError(f"No run of {dataset!r} is recorded in {root}{did_you_mean(dataset, names)}; {known}.")
    return [root / dataset]


def find_run(root: Path, dataset: str | None = None, id_prefix: str = "") -> RecordedRun:
    """The run with an id, or the only one whose id starts with the prefix; the last run for an empty prefix.

    Raises:
        UserError: no run matches, or several do.
    """
    records = [record for directory in run_directories(root, dataset) for record in sorted(directory.glob("*.jsonl"))]
    matches = [record for record in records if record.stem.startswith(id_prefix)]
    matches = [record for record in matches if record.stem == id_prefix] or matches
    if not records:
        raise UserError(f"No run is recorded in {root}: start one with make pipeline.")
    if not matches:
        raise UserError(f"No run has an id that starts with {id_prefix!r}: list them with make runs.")
    if id_prefix and len(matches) > 1:
        examples = ", ".join(record.stem for record in matches[:3]) + (", …" if len(matches) > 3 else "")
        raise UserError(
            f"{len(matches)} runs have an id that starts with {id_prefix!r} ({examples}): give more characters."
        )
    return newest_first([read_run(record) for record in matches])[0]


def read_run(record: Path) -> RecordedRun:
    """Read a run record; an incomplete line is ignored."""
    # The lock is checked before reading: a run that ends in between has already written its last line.
    open_status = RUNNING if is_running(record) else UNFINISHED
    progress = _read_progress(record) if open_status == RUNNING else {}
    events = _read_events(record)
    started = next((event for event in events if event.get("event") == "run_started"), {})
    finished = next((event for event in events if event.get("event") == "run_finished"), {})
    # A retried stage has lines for each attempt: the last one counts.
    last_events = {_label(event): event for event in events if event.get("event") in ("stage_started", "stage")}
    outcomes = {label: _outcome(event, open_status, progress) for label, event in last_events.items()}
    planned = {str(stage.get("stage")): stage for stage in started.get("stages") or []}
    labels = planned | outcomes
    return RecordedRun(
        id=record.stem,
        dataset=record.parent.name,
        started=started.get("at"),
        status=finished.get("status", open_status),
        duration_s=finished.get("duration_s"),
        version=finished.get("version"),
        stages=tuple(_stage(label, planned.get(label, {}), outcomes.get(label, {})) for label in labels),
        settings=started.get("settings") or {},
        changed_settings=started.get("changed") or {},
        as_of=started.get("as_of"),
        comparison=finished.get("comparison"),
        refusal=finished.get("refusal"),
    )


def _records(directory: Path) -> list[Path]:
    """The records in a directory, the last modified first."""
    return sorted(directory.glob("*.jsonl"), key=lambda record: record.stat().st_mtime, reverse=True)


def _read_progress(record: Path) -> dict[str, Any]:
    """The `stage`, `progress` and `doing` of the current stage; empty if nothing is written yet."""
    try:
        return next(iter(_read_events(record.with_suffix(PROGRESS_SUFFIX))), {})
    except OSError:
        return {}


def _outcome(event: dict[str, Any], open_status: str, progress: dict[str, Any]) -> dict[str, Any]:
    """The facts in the closing line of a stage; for a stage without one, its status and progress."""
    if event["event"] == "stage":
        return event
    own_progress = progress if progress.get("stage") == _label(event) else {}
    return own_progress | {"status": open_status, "started": event.get("at")}


def _stage(label: str, planned: dict[str, Any], outcome: dict[str, Any]) -> RecordedStage:
    """A stage from its entry in the plan and its outcome, either of which may be empty."""
    status_without_outcome = NOT_RUN if planned.get("to_do") else "skipped"
    return RecordedStage(
        label,
        status=str(outcome.get("status", status_without_outcome)),
        requires=tuple(planned.get("requires") or outcome.get("requires") or ()),
        **{key: outcome.get(key) for key in _STAGE_KEYS},
    )


def _label(event: dict[str, Any]) -> str:
    return f"{event.get('stage')} {event['model']}" if event.get("model") else str(event.get("stage"))


def _read_events(record: Path) -> list[dict[str, Any]]:
    """The lines of a file that are JSON objects."""
    events = []
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
