"""The critical path of a run: the chain of required stages that took longest."""

from __future__ import annotations

from run_records.recorded_run import RecordedRun, RecordedStage


def critical_path(run: RecordedRun) -> list[str]:
    """The labels of the stages on the critical path, in order; empty if the run has completed no stage.

    A skipped stage took no time, so the path neither starts nor ends with one.
    """
    if not run.status_counts["done"]:
        return []
    longest: dict[str, tuple[float, list[str]]] = {}
    for stage in run.stages:  # each after those it requires
        paths = (longest[label] for label in stage.requires if label in longest)
        seconds, path = max(paths, key=lambda candidate: candidate[0], default=(0.0, []))
        seconds += stage_seconds(stage)
        longest[stage.label] = (seconds, [*path, stage.label] if seconds else [])
    return max(longest.values(), key=lambda candidate: candidate[0])[1]


def stage_seconds(stage: RecordedStage) -> float:
    """The seconds that a stage ran; 0 if it was skipped or has not ended."""
    return stage.duration_s or 0.0 if stage.status in ("done", "failed") else 0.0
