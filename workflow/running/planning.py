"""The plan of a run: its stages in order of dependency, the damaged results and the pending stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast


class GraphTask(Protocol):
    """The interface of a Luigi task that the graph traversal uses."""

    is_stage: ClassVar[bool]

    def deps(self) -> Any:
        """Luigi's flat list of the tasks that this one requires."""


class PlannedStage(Protocol):
    """The interface of a stage that the plan and the record of a run use."""

    @property
    def name(self) -> str:
        """The class name of the stage."""

    @property
    def candidate(self) -> str | None:
        """The candidate of the stage; None for stages without one."""

    @property
    def label(self) -> str:
        """The name with the candidate."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over everything that determines the result."""

    @property
    def code_fingerprint(self) -> str:
        """Sixteen hex digits over the stage's source files."""

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The sections of settings that the result depends on, by name."""

    @property
    def directory(self) -> Path:
        """The directory of the result."""

    def deps(self) -> Any:
        """Luigi's flat list of the tasks that this one requires."""

    def requires(self) -> Mapping[str, PlannedStage]:
        """The stages that this one requires, by input name."""

    def complete(self) -> bool:
        """Whether the result exists and is undamaged."""

    def check_result(self) -> str | None:
        """Compare an existing result with its checksums; return a sentence about the damage, if any."""


class RunPlan:
    """The stages of a run, and those that are still pending."""

    def __init__(self, top: GraphTask, stages: list[PlannedStage]) -> None:
        """Check the existing results, and find the stages that have to run.

        Args:
            stages: all stages at and below `top`, in order of dependency.
        """
        self.stages = stages
        self.damaged = {stage: damage for stage in stages if (damage := stage.check_result())}
        """The damage of each damaged result, in a sentence."""
        self.pending = dependencies_first(top, lambda stage: not stage.complete())
        self.total = len(self.pending)
        """The number of pending stages when the run started."""

    @property
    def done(self) -> int:
        """The number of stages that have ended or cannot run any more."""
        return self.total - len(self.pending)

    def end_stage(self, stage: PlannedStage, *, failed: bool) -> None:
        """Remove a stage from the pending ones; if it failed, also those that depend on it."""
        # Luigi does not start a stage whose result another run has created in the meantime.
        self.pending = [other for other in self.pending if other is not stage and not other.complete()]
        if failed:
            self.pending = [other for other in self.pending if stage not in dependencies_first(other)]

    def stage_entries(self) -> list[dict[str, Any]]:
        """The stages for the first line of the run record."""
        return [
            {"stage": stage.label, "requires": required_labels(stage), "to_do": stage in self.pending}
            | ({"damaged": self.damaged[stage]} if stage in self.damaged else {})
            for stage in self.stages
        ]

    def published_version(self) -> str | None:
        """The version that the run has published; None if it has not published one."""
        publish = next((stage for stage in self.stages if stage.name == "Publish"), None)
        return publish.fingerprint if publish is not None and publish.complete() else None


def dependencies_first(
    top: GraphTask | PlannedStage, wanted: Callable[[PlannedStage], bool] = lambda stage: True
) -> list[PlannedStage]:
    """The wanted stages at and below a task in dependency order; the traversal stops at unwanted stages."""
    visited: dict[Any, None] = {}

    def visit(task: Any) -> None:
        if task in visited or (task.is_stage and not wanted(cast("PlannedStage", task))):
            return
        for dependency in task.deps():
            visit(dependency)
        visited[task] = None

    visit(top)
    return [task for task in visited if task.is_stage]


def required_labels(stage: PlannedStage) -> list[str]:
    """The labels of the stages that a stage requires."""
    return [required.label for required in stage.requires().values()]
