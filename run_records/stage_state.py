"""The progress of the current stage of a run."""

from __future__ import annotations

from dataclasses import dataclass

from common.formatting import format_estimate


@dataclass(frozen=True)
class StageProgress:
    """The progress of a stage at one moment."""

    tasks_done: int = 0
    tasks: int = 0
    """Tasks of Spark's active stages."""
    note: str = ""
    """What the stage reports: iteration 3 of 10."""
    fraction: float | None = None
    """The share of its work that is done, from 0 to 1, if the stage reports it."""
    remaining_s: float | None = None
    """Estimated seconds until the end, if known."""

    @property
    def words(self) -> str:
        """The progress in one line: iteration 3 of 10, 12/40 Spark tasks, 25 s left."""
        tasks = f"{self.tasks_done}/{self.tasks} Spark tasks" if self.tasks else ""
        remaining = "" if self.remaining_s is None else f"{format_estimate(self.remaining_s)} left"
        return ", ".join(part for part in (self.note, tasks, remaining) if part)

    @property
    def share(self) -> float | None:
        """The reported fraction, or else the share of Spark's tasks, from 0 to 1; None if neither is known."""
        share = self.fraction if self.fraction is not None else self.tasks_done / self.tasks if self.tasks else None
        return None if share is None else min(max(share, 0.0), 1.0)

    @property
    def percentage(self) -> int | None:
        """The share in percent."""
        return None if self.share is None else round(100 * self.share)
