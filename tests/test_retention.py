"""Which stage outputs are kept, and that pruning never takes what somebody uses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.pipeline import Roots
from support.processes import held_by_another_process

from common.locks import lock_path
from config.paths import SUCCESS, Paths
from models.registry import VersionRegistry
from workflow.__main__ import main
from workflow.outputs import retention

DAY_S = 86_400
KB = 1_000


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "data", tmp_path / "models")


def output(paths: Paths, name: str, days: float, size: int = KB) -> Path:
    """A stage output that was last needed so many days ago."""
    directory = paths.work("songs") / name
    directory.mkdir(parents=True)
    (directory / "rows").write_bytes(b"x" * size)
    (directory / SUCCESS).touch()
    used(directory, days)
    return directory


def used(directory: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    os.utime(directory / SUCCESS, (then, then))


def unused(paths: Paths, keep_days: float = 30, keep_kb: float = 1_000) -> list[str]:
    return [each.label for each in retention.unused(paths.work("songs"), keep_days, keep_kb / 1e6)]


def test_old_outputs_are_unused_oldest_first(paths: Paths) -> None:
    for name, days in (("Split/a", 31), ("Train/b", 29), ("Train/c", 40), ("Train/d.staging", 90)):
        output(paths, name, days)
    assert unused(paths) == ["Train/c", "Split/a"]


def test_size_limit_spares_outputs_of_the_last_day(paths: Paths) -> None:
    for name, days in (("Split/a", 3), ("Train/b", 5), ("Train/c", 2), ("Train/d", 0.5)):
        output(paths, name, days)
    assert unused(paths, keep_kb=3.5) == ["Train/b"]
    assert unused(paths, keep_kb=2.0) == ["Train/b", "Split/a"]
    assert unused(paths, keep_kb=0) == ["Train/b", "Split/a", "Train/c"]


def test_prune_removes_unused_outputs(paths: Paths) -> None:
    old, young = output(paths, "Split/a", 31), output(paths, "Split/b", 1)
    assert [each.directory for each in retention.prune(paths, "songs", 30, 50)] == [old]
    assert (old.exists(), young.exists()) == (False, True)


def test_locked_output_is_kept(paths: Paths) -> None:
    old = output(paths, "Split/a", 31)
    with held_by_another_process(lock_path(old)):
        assert retention.prune(paths, "songs", 30, 50) == []
    assert (old / SUCCESS).exists()


def test_output_used_in_the_meantime_is_kept(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    old, looked_at = output(paths, "Split/a", 31), retention.unused

    def and_then_a_run_begins(*given: float) -> list[retention.StageOutput]:
        found = looked_at(paths.work("songs"), 30, 50)
        retention.touch(old)
        return found

    monkeypatch.setattr(retention, "unused", and_then_a_run_begins)
    assert retention.prune(paths, "songs", 30, 50) == []
    assert (old / SUCCESS).exists()


def test_nothing_is_removed_during_another_run(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    old, record = output(paths, "Split/a", 31), paths.runs("songs") / "r1.jsonl"
    record.parent.mkdir(parents=True)
    with held_by_another_process(record):
        assert retention.prune(paths, "songs", 30, 50) == []
        roots = [f"--data={paths.data_root}", f"--models={paths.models_root}"]
        assert main(["prune", "--dataset=songs", *roots]) == 0
        assert "Stage outputs are kept while run r1 is active." in capsys.readouterr().out
        assert old.exists()
        assert retention.prune(paths, "songs", 30, 50, own_run="r1")
    assert not old.exists()


def test_run_touches_its_outputs_but_no_version(pipeline: Roots) -> None:
    made = list((pipeline.data / "work").glob(f"*/*/*/{SUCCESS}"))
    version = pipeline.models / "synthetic" / pipeline.current()
    for marker in (*made, version / SUCCESS):
        used(marker.parent, 10)
    pipeline.run()
    assert len(made) > 10
    assert all(time.time() - marker.stat().st_mtime < DAY_S for marker in made)
    assert time.time() - (version / SUCCESS).stat().st_mtime > 9 * DAY_S


def test_promotion_prunes_and_keeps_the_previous_version(pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
    root, first = pipeline.models / "synthetic", pipeline.current()
    second, third = ({"recommend": {"k": k}, "publish": {"keep_versions": 1}} for k in (7, 8))
    pipeline.run(settings=second)
    assert "Removed" not in capfd.readouterr().out
    before = pipeline.current()
    orphan = next((pipeline.data / "work" / "synthetic" / "Evaluate").glob(f"*/{SUCCESS}")).parent
    orphan = orphan.rename(orphan.with_name("0123456789abcdef"))
    used(orphan, 31)
    pipeline.run(settings=third)
    assert VersionRegistry(root).versions() == [before, pipeline.current()]
    assert first not in (before, pipeline.current())
    assert not orphan.exists()
    assert "Removed 1 version and 1 stage output: see keep_… in [publish]." in capfd.readouterr().out
    assert VersionRegistry(root).audit()[-1]["via"] == "the pipeline, after promoting"
    assert pipeline.run(settings=third).statuses["Promote"] == "skipped"


class TestCommand:
    @pytest.fixture
    def pruned(self, pipeline: Roots, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], Path]:
        pipeline.run(settings={"recommend": {"k": 7}})
        old = next((pipeline.data / "work" / "synthetic" / "Evaluate").glob(f"*/{SUCCESS}")).parent
        used(old, 31)
        capsys.readouterr()
        return ["prune", f"--data={pipeline.data}", f"--models={pipeline.models}", "--keep=1"], old

    def test_dry_run_lists_and_removes_nothing(
        self, pruned: tuple[list[str], Path], pipeline: Roots, capsys: pytest.CaptureFixture[str]
    ) -> None:
        registry = VersionRegistry(pipeline.models / "synthetic")
        before, said = registry.versions(), []
        for dry in (["--dry-run"], []):
            assert registry.versions() == before
            assert pruned[1].exists()
            assert main([*pruned[0], *dry]) == 0
            said.append(capsys.readouterr().out)
        assert f"#1 {before[0][:12]}" in said[0]
        assert f"Evaluate/{pruned[1].name[:12]}" in said[0]
        assert "Would remove 1 version and 1 stage output of synthetic: " in said[0]
        assert said[1] == said[0].replace("Would remove", "Removed")
        assert registry.versions() == before[1:]
        assert not pruned[1].exists()

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ("--keep=0", "At least 1 version must be kept, not 0."),
            ("--keep=few", "Argument --keep: invalid int value: 'few'."),
            ("--dataset=nothing", "nothing has no versions in "),
        ],
    )
    def test_invalid_arguments_are_refused_with_one_sentence(
        self, pipeline: Roots, given: str, sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        try:
            code: object = main(["prune", f"--data={pipeline.data}", f"--models={pipeline.models}", given])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr().err
        assert (code, said.startswith(f"Error: {sentence}"), said.count("\n")) == (2, True, 1)
