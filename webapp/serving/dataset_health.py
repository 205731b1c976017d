"""A dataset's health: ok, warning or error, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from run_records.recorded_run import RecordedRun
from webapp.serving.served_version import ServedVersion

STALE_DAYS = 7
"""Age from which the served data causes a warning."""

Level = Literal["ok", "warning", "error"]
LABELS: dict[Level, str] = {"ok": "Healthy", "warning": "Needs attention", "error": "Error"}


@dataclass(frozen=True)
class DatasetHealth:
    """A dataset's health."""

    level: Level
    reasons: list[str]
    """Sentences, the most important first."""

    @property
    def label(self) -> str:
        """The level in words."""
        return LABELS[self.level]


def dataset_health(
    served: ServedVersion, last_run: RecordedRun | None, *, pinned: bool, newest_version: str
) -> DatasetHealth:
    """Assess a dataset.

    Args:
        last_run: the last finished run, if one is recorded.
        pinned: whether a rollback prevents runs from promoting.
        newest_version: the last published version.
    """
    warnings = [*_run_warnings(last_run), *_promotion_warnings(served, last_run, pinned, newest_version)]
    if (age := _days_since(served.manifest.get("ingested_at") or served.manifest["created_at"])) >= STALE_DAYS:
        warnings.append(f"The served data was ingested {age} days ago.")
    warnings += _quality_warnings(served)
    if served.fallback_reason:
        sequence = served.manifest["sequence"]
        return DatasetHealth("error", [f"{served.fallback_reason} Version {sequence} is served instead.", *warnings])
    if warnings:
        return DatasetHealth("warning", warnings)
    return DatasetHealth("ok", ["The promoted version is served, and the last run succeeded."])


def _run_warnings(last_run: RecordedRun | None) -> list[str]:
    if last_run is None or last_run.status not in ("failed", "unfinished"):
        return []
    outcome = "failed" if last_run.status == "failed" else "was interrupted"
    return [f"The last run {outcome}. The published versions are unchanged."]


def _promotion_warnings(
    served: ServedVersion, last_run: RecordedRun | None, pinned: bool, newest_version: str
) -> list[str]:
    if pinned:
        return ["A rollback pinned this version: runs publish but do not promote. Promote a version to end the pin."]
    if newest_version == served.version or served.fallback_reason:
        return []
    if last_run is not None and last_run.version == served.version:  # the run chose a version that existed already
        return []
    reason = last_run.refusal if last_run is not None and last_run.version == newest_version else None
    return [f"A newer version is published but not served: {reason or 'it did not pass the gate or was rolled back.'}"]


def _quality_warnings(served: ServedVersion) -> list[str]:
    if served.scoreboard.champion.is_baseline:
        return ["No candidate beat popularity: all users get the same list."]
    if served.lead is not None and served.lead["interval"][0] <= 0:
        return ["The champion may be no better than popularity: the 95 % interval of their difference includes 0."]
    return []


def _days_since(timestamp: str) -> int:
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).days
