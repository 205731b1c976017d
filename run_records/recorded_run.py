"""A recorded run and its stages, as they are read from a run record."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

RUNNING = "running"
"""Status of an active run, and of its current stage."""

UNFINISHED = "unfinished"
"""Status of a run whose process ended without closing the record, and of the stage that was running."""

NOT_RUN = "not run"
"""Status of a pending stage that did not start."""


@dataclass(frozen=True)
class RecordedStage:
    """A stage of a run and how it ended."""

    label: str
    """The stage with its candidate: `Train als`."""
    status: str
    """`done`, `failed`, `skipped` (its result existed), `running`, `unfinished` or `not run`."""
    requires: tuple[str, ...] = ()
    """The labels of the stages it requires."""
    started: str | None = None
    duration_s: float | None = None
    rows_in: int | None = None
    rows_out: int | None = None
    error: str | None = None
    fingerprint: str | None = None
    progress: float | None = None
    """While it runs: the share of its work that is done, from 0 to 1, if known."""
    doing: str | None = None
    """While it runs: its progress in words, such as "iteration 3 of 10, 12/40 Spark tasks"."""


@dataclass(frozen=True)
class RecordedRun:
    """A run of the pipeline."""

    id: str
    dataset: str
    started: str | None
    status: str
    """`done`, `failed`, `nothing_to_do`, `running` or `unfinished`."""
    duration_s: float | None
    version: str | None
    """The published version when the run ended."""
    stages: tuple[RecordedStage, ...]
    """Each after the stages it requires."""
    settings: dict[str, dict[str, Any]]
    """All sections of settings as the run used them; empty if the record has none."""
    changed_settings: dict[str, list[str]]
    """The keys of the settings that differ from the defaults, by section."""
    as_of: str | None = None
    """The date of a dated run; None if all interactions were used."""
    comparison: str | None = None
    """How the champion compares with popularity and the served version, if the promotion gate has run."""
    refusal: str | None = None
    """Why the version was not promoted; None if it was, or if the record does not say."""

    @property
    def status_counts(self) -> Counter[str]:
        """The number of stages in each status."""
        return Counter(stage.status for stage in self.stages)

    @property
    def succeeded(self) -> bool:
        """Whether the run ended without a failure."""
        return self.status in ("done", "nothing_to_do")

    @property
    def ended(self) -> datetime | None:
        """When the run ended; None if its record is not closed."""
        if self.started is None or self.duration_s is None:
            return None
        return datetime.fromisoformat(self.started) + timedelta(seconds=self.duration_s)

    @property
    def error(self) -> str | None:
        """The error of the first failed stage, as a sentence that names the stage."""
        failed = next((stage for stage in self.stages if stage.status == "failed"), None)
        if failed is None:
            return None
        return f"{failed.label.replace(' ', ' of ', 1)}: {failed.error or 'failed without an error message.'}"
