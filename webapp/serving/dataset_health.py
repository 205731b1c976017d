"""Whether all is well with what is served: green, amber or red, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from run_records.recorded_run import RecordedRun
from webapp.serving.version_cache import ServedVersion

STALE_DAYS = 7
"""From so many days on, what is served is said to be old."""

Level = Literal["good", "watch", "bad"]
SIGNS: dict[Level, str] = {"good": "All is well", "watch": "Look at this", "bad": "Something is wrong"}


@dataclass(frozen=True)
class DatasetHealth:
    """How a dataset is doing."""

    level: Level
    reasons: list[str]
    """A sentence each, what matters most first."""

    @property
    def sign(self) -> str:
        """The level in words."""
        return SIGNS[self.level]


def dataset_health(here: ServedVersion, last: RecordedRun | None, *, pinned: bool, newest: str) -> DatasetHealth:
    """Judges what a dataset serves.

    Args:
        last: its last run that has ended, if one is recorded.
        pinned: whether a rollback keeps runs from promoting.
        newest: the version that was made last.
    """
    bad, watch = [], []
    if here.instead_of:
        bad.append(f"{here.instead_of} Version {here.manifest['sequence']} serves instead.")
    if last is not None and last.status in ("failed", "unfinished"):
        how = "failed" if last.status == "failed" else "was stopped before its end"
        watch.append(f"The last run {how}; what was published stays.")
    if pinned:
        watch.append("A rollback pinned this version: runs publish, and none is promoted until somebody promotes one.")
    elif newest != here.version and not here.instead_of and (last is None or last.version != here.version):
        why = last.refusal if last is not None and last.version == newest else None
        why = why or "it did not pass the gate, or was rolled back."
        watch.append(f"A newer version was published and is not served: {why}")
    if (age := _days_since(here.manifest.get("ingested_at") or here.manifest["created_at"])) >= STALE_DAYS:
        watch.append(f"What is served stands on data that were read {age} days ago.")
    if here.scoreboard.champion.is_baseline:
        watch.append("No candidate was better than popularity: everybody gets the same list.")
    elif here.lead is not None and here.lead["interval"][0] <= 0:
        watch.append("That the champion is better than popularity is not certain: the interval includes 0.")
    if bad or watch:
        return DatasetHealth("bad" if bad else "watch", bad + watch)
    return DatasetHealth("good", ["The promoted version serves, and the last run ended well."])


def _days_since(stamp: str) -> int:
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).days
