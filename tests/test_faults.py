"""A sample of the cells of `make faults`: killed processes, full disks and damaged outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.matrix import FULL, KILLED, TRIALS, TUNE, VERSION_COMMANDS, Cell, World

import workflow
from config.paths import SUCCESS
from workflow.stage import Stage

pytestmark = pytest.mark.slow

WORK = "data/work/synthetic"
SAMPLE = (
    Cell("the beginning", "append data/runs/synthetic/RUN.jsonl", FULL),
    Cell("Split", f"rename {WORK}/Split/FINGERPRINT.staging", KILLED),
    Cell("Recommend", "stage has done its work", KILLED),
    Cell("Publish", "force models/synthetic/FINGERPRINT.staging/FILE", FULL),
    Cell("Publish", "force models/synthetic", KILLED),
    Cell("Promote", "rename models/synthetic/current.staging", KILLED),
    Cell("Evaluate als", SUCCESS, "truncate"),
    Cell("Publish", "serving.sqlite", "flip"),
    Cell(TUNE, TRIALS, "flip"),
    Cell("rollback", "rename models/synthetic/current.staging", KILLED),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two versions published without faults."""
    return World.make(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
def test_fault_loses_nothing(cell: Cell, world: World, tmp_path: Path) -> None:
    assert cell in set(world.cells())
    assert world.visit(cell, tmp_path / "root") == []


def test_the_matrix_has_every_stage_and_every_kind_of_fault(world: World) -> None:
    found = {(cell.stage, cell.fault) for cell in world.cells()}
    stages = {name for name in workflow.__all__ if issubclass(getattr(workflow, name), Stage)}
    assert {stage.split()[0] for stage in world.requires} == stages
    for stage in world.requires:
        assert {(stage, KILLED), (stage, FULL), (stage, "flip")} <= found
    for verb in VERSION_COMMANDS:
        assert {(verb, KILLED), (verb, FULL)} <= found
    cells = list(world.cells())
    assert len(cells) == len(set(cells)) > 600


def test_harmful_fault_is_reported(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "lists", dict.fromkeys(world.lists, world.lists[world.old]))
    found = world.visit(Cell("Promote", "current", "remove"), tmp_path / "root")
    assert "the next run made different recommendations" in found
