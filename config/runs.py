"""Reads run records: what the last runs did, as far as they came to say so."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError, did_you_mean, listed

UNFINISHED = "unfinished"
"""A run without a last line: it is still going, or was stopped before it could write one."""

NOT_RUN = "not run"
"""A stage that the run did not come to."""


@dataclass(frozen=True)
class StageRun:
    """What became of one stage of a run."""

    label: str
    """Its name, with the candidate that it is about: `Train als`."""
    status: str
    """`done`, `failed`, `skipped` (its result was there) or `not run`."""
    requires: tuple[str, ...] = ()
    """The labels of the stages before it."""
    started: str | None = None
    duration_s: float | None = None
    rows_in: int | None = None
    rows_out: int | None = None
    error: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Run:
    """One invocation of the pipeline."""

    run: str
    dataset: str
    started: str | None
    status: str
    duration_s: float | None
    version: str | None
    """The version that was there when it ended."""
    steps: tuple[StageRun, ...]
    """Its stages, each after those that it requires."""
    settings: dict[str, dict[str, Any]]
    """Every section of settings, as the run used it; empty where the record does not say."""
    changed: dict[str, list[str]]
    """The keys of those settings that were not the default, by section."""

    @property
    def stages(self) -> Counter[str]:
        """How many stages ended in each status."""
        return Counter(step.status for step in self.steps)

    @property
    def error(self) -> str | None:
        """The sentence of the stage that failed."""
        failed = next((step for step in self.steps if step.status == "failed"), None)
        return f"{_of(failed.label)}: {failed.error or 'failed without saying why.'}" if failed else None


def last_runs(directory: Path, limit: int | None = None) -> list[Run]:
    """The newest runs recorded in `data/runs/<dataset>`, newest first."""
    records = sorted(directory.glob("*.jsonl"), key=lambda record: record.stat().st_mtime, reverse=True)
    return newest_first([read_run(record) for record in records[:limit]])


def newest_first(runs: list[Run]) -> list[Run]:
    """The runs by when they began."""
    return sorted(runs, key=lambda run: (run.started or "", run.run), reverse=True)


def recorded(root: Path, dataset: str | None = None) -> list[Path]:
    """The directories of run records below `data/runs`: of one dataset, or of all.

    Raises:
        UserError: no run of that dataset is recorded.
    """
    directories = sorted(path for path in root.glob("*/") if any(path.glob("*.jsonl")))
    if dataset is None:
        return directories
    names = [path.name for path in directories]
    if dataset not in names:
        known = f"there are runs of {listed(names)}" if names else "there are none of any other"
        raise UserError(f"No run of {dataset!r} is recorded in {root}{did_you_mean(dataset, names)}; {known}.")
    return [root / dataset]


def find_run(root: Path, dataset: str | None = None, wanted: str = "") -> Run:
    """The run whose id is, or alone begins with, what is wanted; the last one where nothing is.

    Raises:
        UserError: there is no such run, or there are several.
    """
    records = [record for directory in recorded(root, dataset) for record in sorted(directory.glob("*.jsonl"))]
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


def read_run(record: Path) -> Run:
    """Reads one record; a line that was cut off is as good as not written."""
    events = _events(record)
    opening = next((event for event in events if event.get("event") == "run_started"), {})
    closing = next((event for event in events if event.get("event") == "run_finished"), {})
    # A stage that was tried again has a line for each try: the last one counts.
    ended = {_label(event): event for event in events if event.get("event") == "stage"}
    planned = {str(stage.get("stage")): stage for stage in opening.get("stages") or []}
    return Run(
        run=record.stem,
        dataset=record.parent.name,
        started=opening.get("at"),
        status=closing.get("status", UNFINISHED),
        duration_s=closing.get("duration_s"),
        version=closing.get("version"),
        steps=tuple(_step(label, planned.get(label, {}), ended.get(label, {})) for label in planned | ended),
        settings=opening.get("settings") or {},
        changed=opening.get("changed") or {},
    )


def _step(label: str, planned: dict[str, Any], ended: dict[str, Any]) -> StageRun:
    """A stage from what the run planned for it, and from its own closing line."""
    unstarted = NOT_RUN if planned.get("to_do") else "skipped"
    return StageRun(
        label,
        status=str(ended.get("status", unstarted)),
        requires=tuple(planned.get("requires") or ended.get("requires") or ()),
        **{
            key: ended.get(key)
            for key in ("started", "duration_s", "rows_in", "rows_out", "error", "fingerprint")
        },
    )  # fmt: skip


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
