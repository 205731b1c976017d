"""Runs as text: a table of them, and one in detail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.formatting import format_duration, format_timestamp
from common.terminal import text_table
from run_records.reader import RUNNING, RecordedRun, RecordedStage

_OUTCOMES = {"nothing_to_do": "nothing to do"}


def table_of_runs(runs: Sequence[RecordedRun]) -> str:
    """When, how long, of which dataset, what was made, and how it ended."""
    rows = [("run", "dataset", "started (UTC)", "took", "made", "outcome")]
    for run in runs:
        made = f"{run.stages['done']} of {len(run.steps)} stages" if run.stages["done"] else "–"
        rows.append(
            (run.run, _what(run), format_timestamp(run.started), format_duration(run.duration_s), made, _outcome(run))
        )
    return text_table(rows, numbers={3})


def show_run(run: RecordedRun, root: Path) -> str:
    """The stages of a run with times and rows, the settings that were not the default, and what went wrong."""
    after = f" after {format_duration(run.duration_s)}" if run.duration_s is not None else ""
    told = [
        f"Run {run.run} of {_what(run)}, begun {format_timestamp(run.started)} UTC: {_outcome(run)}{after}.",
        *([f"Version {run.version}."] if run.version else []),
        "",
        text_table([("stage", "took", "rows in", "rows out", ""), *map(_row, run.steps)], numbers={1, 2, 3}),
        "",
        *_settings(run),
        "",
    ]
    errors = [f"{step.label}: {step.error}" for step in run.steps if step.error]
    told += [*(f"Error: {error}" for error in errors), *([""] if errors else [])]
    return "\n".join([*told, f"What Luigi and Spark said is in {root / run.dataset / run.run}.log"])


def _what(run: RecordedRun) -> str:
    return f"{run.dataset} as of {run.as_of}" if run.as_of else run.dataset


def _row(step: RecordedStage) -> tuple[str, ...]:
    rows = ["–" if count is None else f"{count:,}" for count in (step.rows_in, step.rows_out)]
    status = {"done": "", "skipped": "up to date"}.get(step.status, step.status)
    share = "" if step.progress is None else f" {step.progress:.0%}"
    how = ", ".join(part for part in (f"{status}{share}", step.doing) if part)
    return (step.label, format_duration(step.duration_s) if step.status in ("done", "failed") else "–", *rows, how)


def _outcome(run: RecordedRun) -> str:
    """How it ended, with the stages that failed; or the stage that it is making."""
    told = RUNNING if run.status == RUNNING else "failed"
    named = [step.label for step in run.steps if step.status == told]
    return _OUTCOMES.get(run.status, run.status) + (f" ({', '.join(named)})" if named else "")


def _settings(run: RecordedRun) -> list[str]:
    if not run.settings:
        return ["The record does not say which settings it used."]
    changed = [
        f"  [{section}] {key} = {_written(run.settings[section][key])}"
        for section, keys in run.changed.items()
        for key in keys
        if key in run.settings.get(section, {})
    ]
    return ["Settings other than the defaults:", *changed] if changed else ["Every setting had its default."]


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
