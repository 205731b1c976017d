"""Runs as text: a table of runs, and the details of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.formatting import MISSING, format_duration, format_timestamp
from common.terminal import text_table
from run_records.recorded_run import RUNNING, RecordedRun, RecordedStage


def table_of_runs(runs: Sequence[RecordedRun]) -> str:
    """A table with a line per run: id, dataset, start, duration, finished stages and outcome."""
    rows = [("run", "dataset", "started (UTC)", "duration", "finished", "outcome")]
    for run in runs:
        done = run.status_counts["done"]
        finished = f"{done} of {len(run.stages)} stages" if done else MISSING
        started, duration = format_timestamp(run.started), format_duration(run.duration_s)
        rows.append((run.id, _title(run), started, duration, finished, _outcome(run)))
    return text_table(rows, numbers={3})


def show_run(run: RecordedRun, root: Path) -> str:
    """The stages of a run with durations and rows, its changed settings and errors.

    Args:
        root: the directory `data/runs`.
    """
    after = f" after {format_duration(run.duration_s)}" if run.duration_s is not None else ""
    errors = [f"Error: {stage.label}: {stage.error}" for stage in run.stages if stage.error]
    lines = [
        f"Run {run.id} of {_title(run)}, started {format_timestamp(run.started)} UTC: {_outcome(run)}{after}.",
        *([f"Version {run.version}."] if run.version else []),
        "",
        text_table([("stage", "duration", "rows in", "rows out", ""), *map(_row, run.stages)], numbers={1, 2, 3}),
        "",
        *_settings(run),
        "",
        *([*errors, ""] if errors else []),
        f"The log of Luigi and Spark is {root / run.dataset / run.id}.log",
    ]
    return "\n".join(lines)


def _title(run: RecordedRun) -> str:
    return f"{run.dataset} as of {run.as_of}" if run.as_of else run.dataset


def _row(stage: RecordedStage) -> tuple[str, ...]:
    rows = [MISSING if count is None else f"{count:,}" for count in (stage.rows_in, stage.rows_out)]
    duration = format_duration(stage.duration_s) if stage.status in ("done", "failed") else MISSING
    status = {"done": "", "skipped": "up to date"}.get(stage.status, stage.status)
    percentage = "" if stage.progress is None else f" {stage.progress:.0%}"
    note = ", ".join(part for part in (f"{status}{percentage}", stage.doing) if part)
    return (stage.label, duration, *rows, note)


def _outcome(run: RecordedRun) -> str:
    """The status of a run, with its failed stages or the current one."""
    status = RUNNING if run.status == RUNNING else "failed"
    labels = [stage.label for stage in run.stages if stage.status == status]
    return run.status.replace("_", " ") + (f" ({', '.join(labels)})" if labels else "")


def _settings(run: RecordedRun) -> list[str]:
    if not run.settings:
        return ["The record does not contain the settings."]
    changed = [
        f"  [{section}] {key} = {_format_value(run.settings[section][key])}"
        for section, keys in run.changed_settings.items()
        for key in keys
        if key in run.settings.get(section, {})
    ]
    return ["Changed settings:", *changed] if changed else ["All settings had their default values."]


def _format_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
