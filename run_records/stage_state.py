"""How far the current stage of a run is."""

from __future__ import annotations

from dataclasses import dataclass

from common.formatting import format_estimate


@dataclass(frozen=True)
class StageProgress:
    """What is known at a moment of the stage that is being made."""

    tasks_done: int = 0
    tasks: int = 0
    """Spark's tasks, of the jobs that it works on now."""
    note: str = ""
    """What the stage says itself: iteration 3 of 10."""
    fraction: float | None = None
    """How much of its work is done, from 0 to 1, where the stage says so."""

    remaining_s: float | None = None
    """How long the rest will take at this pace, where that can be told."""

    @property
    def words(self) -> str:
        """In a line: iteration 3 of 10, 12/40 Spark tasks, 25 s left."""
        tasks = f"{self.tasks_done}/{self.tasks} Spark tasks" if self.tasks else ""
        left = "" if self.remaining_s is None else f"{format_estimate(self.remaining_s)} left"
        return ", ".join(part for part in (self.note, tasks, left) if part)

    @property
    def share(self) -> float | None:
        """Of the work, where the stage says it; otherwise of Spark's tasks; None where there is nothing to go by."""
        share = self.fraction if self.fraction is not None else self.tasks_done / self.tasks if self.tasks else None
        return None if share is None else min(max(share, 0.0), 1.0)

    @property
    def percentage(self) -> int | None:
        """The share in hundredths."""
        return None if self.share is None else round(100 * self.share)
