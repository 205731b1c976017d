"""Walk the task graph: the stages of a run, in the order of their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast


class GraphTask(Protocol):
    """A Luigi task of a run, as far as the graph walk needs it."""

    is_stage: ClassVar[bool]

    def deps(self) -> Any:
        """Luigi's flat list of the tasks that this one requires."""


class PlannedStage(Protocol):
    """A stage, as far as a run needs it for its plan and its record."""

    is_damaged: bool

    @property
    def name(self) -> str:
        """The class name of the stage."""

    @property
    def candidate(self) -> str | None:
        """The candidate of the stage; None if the stage is not about one."""

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

    def check(self) -> str | None:
        """What is wrong with an existing result; None if nothing is."""


def dependencies_first(
    top: GraphTask | PlannedStage, wanted: Callable[[PlannedStage], bool] = lambda stage: True
) -> list[PlannedStage]:
    """The wanted stages at and below a task, each after the stages it requires; an unwanted stage hides those below."""
    visited: dict[Any, None] = {}

    def visit(task: Any) -> None:
        if task in visited or (task.is_stage and not wanted(cast("PlannedStage", task))):
            return
        for dependency in task.deps():
            visit(dependency)
        visited[task] = None

    visit(top)
    return [task for task in visited if task.is_stage]
