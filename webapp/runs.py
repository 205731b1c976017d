"""Reads run records: what the last runs did, as far as they came to say so."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNFINISHED = "unfinished"
"""A run without a last line: it is still going, or was stopped before it could write one."""


@dataclass(frozen=True)
class Run:
    """One invocation of the pipeline."""

    run: str
    dataset: str
    started: str | None
    status: str
    duration_s: float | None
    stages: Counter[str]
    """How many stages ended in each status."""
    error: str | None
    """The sentence of the stage that failed."""


def last_runs(directory: Path, limit: int) -> list[Run]:
    """The newest runs recorded in `data/runs/<dataset>`, newest first."""
    records = sorted(directory.glob("*.jsonl"), key=lambda record: record.stat().st_mtime, reverse=True)
    runs = [read_run(record) for record in records[:limit]]
    return sorted(runs, key=lambda run: run.started or "", reverse=True)


def read_run(record: Path) -> Run:
    """Reads one record; a line that was cut off is as good as not written."""
    events = _events(record)
    opening = next((event for event in events if event.get("event") == "run_started"), {})
    closing = next((event for event in events if event.get("event") == "run_finished"), {})
    # A stage that was tried again has a line for each try: the last one counts.
    stages = {(event.get("stage"), event.get("model")): event for event in events if event.get("event") == "stage"}
    failed = [event for event in stages.values() if event.get("status") == "failed"]
    return Run(
        run=record.stem,
        dataset=record.parent.name,
        started=opening.get("at"),
        status=closing.get("status", UNFINISHED),
        duration_s=closing.get("duration_s"),
        stages=Counter(str(event.get("status")) for event in stages.values()),
        error=_sentence(failed[0]) if failed else None,
    )


def _sentence(stage: dict[str, Any]) -> str:
    name = f"{stage.get('stage')} of {stage['model']}" if stage.get("model") else str(stage.get("stage"))
    return f"{name}: {stage.get('error') or 'failed without saying why.'}"


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
