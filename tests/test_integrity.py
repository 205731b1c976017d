"""What an earlier run left is read on only while it is what it wrote; and what is said of a stage that fails."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from faults.matrix import damage
from support.pipeline import Roots

from common.checksums import file_checksums
from common.directories import atomic_directory
from common.errors import UserError
from common.files import append_line
from common.full_disk import describe_full_disk, is_disk_full
from config.paths import SUCCESS
from models.manifest import verify_version
from workflow import Split, Train
from workflow.outputs import integrity
from workflow.running.failures import failure_message, is_transient, time_limit
from workflow.stage import RowCounts

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/else")


def made(result: Path) -> dict[str, dict[str, object]]:
    """A result with two files; what is said of them."""
    (result / "in").mkdir(parents=True)
    (result / "a").write_text("first")
    (result / "in" / "b").write_text("second")
    (result / SUCCESS).write_text("{}")
    return file_checksums(result)


class TestFindCorruption:
    def test_unchanged_result_passes(self, tmp_path: Path) -> None:
        files = made(tmp_path / "result")
        assert set(files) == {"a", "in/b", SUCCESS}
        assert integrity.find_corruption(tmp_path / "result", files, tmp_path / "memory") is None

    @pytest.mark.parametrize("remembered", [False, True])
    @pytest.mark.parametrize("how", ["truncate", "flip", "remove"])
    def test_changed_file_is_found(self, how: str, remembered: bool, tmp_path: Path) -> None:
        result, memory = tmp_path / "result", tmp_path / "memory"
        files = made(result)
        if remembered:
            integrity.remember_verified(result, files, memory)
        damage(result / "in" / "b", how)
        found = integrity.find_corruption(result, files, memory)
        assert found is not None
        assert str(result / "in" / "b") in found

    def test_verified_result_is_not_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        result, memory = tmp_path / "result", tmp_path / "memory"
        files = made(result)
        assert integrity.find_corruption(result, files, memory) is None
        monkeypatch.setattr("common.checksums.sha256", lambda file: pytest.fail(f"{file} was read"))
        assert integrity.find_corruption(result, files, memory) is None

    def test_copy_with_other_times_is_verified_again(self, tmp_path: Path) -> None:
        result, memory = tmp_path / "result", tmp_path / "memory"
        files = made(result)
        integrity.remember_verified(result, files, memory)
        os.utime(result / "a", (1, 1))
        assert integrity.find_corruption(result, files, memory) is None


class TestDamagedOutput:
    """Of a pipeline that has run; what comes from it is made anew, as another setting asks for it."""

    ANEW = {"als": {"rank": 5}}

    @pytest.mark.parametrize("how", ["truncate", "flip", "remove"])
    def test_runs_again(self, how: str, pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
        file = next((pipeline.data / "work" / "synthetic" / "Split").glob("*/parts/part=train/*.parquet"))
        damage(file, how)
        ran = pipeline.run(Train, settings=self.ANEW, model="als")
        assert ran.succeeded
        assert ran.made == {"Split", "Train als"}
        assert f"Split runs again: {file}" in capfd.readouterr().out

    @pytest.mark.parametrize("how", ["truncate", "flip", "remove"])
    def test_damaged_marker_runs_again(self, how: str, pipeline: Roots) -> None:
        damage(next((pipeline.data / "work" / "synthetic" / "Split").glob(f"*/{SUCCESS}")), how)
        assert pipeline.run(Train, settings=self.ANEW, model="als").made == {"Split", "Train als"}

    def test_is_kept_while_no_stage_reads_it(self, pipeline: Roots) -> None:
        damage(next((pipeline.data / "work" / "synthetic" / "Split").glob("*/sizes.json")), "flip")
        ran = pipeline.run()
        assert ran.succeeded
        assert not ran.made

    @pytest.mark.parametrize("name", ["serving.sqlite", "metrics.json", "manifest.json"])
    def test_version_is_published_again_in_place(self, name: str, pipeline: Roots) -> None:
        version = pipeline.models / "synthetic" / pipeline.current()
        damage(version / name, "flip")
        ran = pipeline.run()
        assert ran.succeeded
        assert ran.made == {"Publish"}
        assert ran.statuses["Promote"] == "skipped"
        assert [line["event"] for line in ran.record].count("run_finished") == 1
        assert verify_version(version) == []
        assert pipeline.current() == version.name


class TestFullDisk:
    def test_message_has_the_free_space(self, tmp_path: Path) -> None:
        assert is_disk_full(FULL)
        assert is_transient(FULL)
        said = failure_message(FULL, tmp_path / "run.log")
        assert re.match(r"the disk of /somewhere/else is full: only [\d.]+ [kMGT]?B free\. Free some space; ", said)

    def test_is_recognised_in_java_errors(self) -> None:
        class Py4JError(Exception):
            """As py4j names it."""

        full = Py4JError("java.io.IOException: No space left on device")
        assert is_disk_full(full)
        assert is_transient(full)
        assert not is_disk_full(ValueError("No space left on device"))

    def test_of_a_copy_is_the_disk_of_the_target(self, tmp_path: Path) -> None:
        assert describe_full_disk(OSError(errno.ENOSPC, "full", "/from", None, "/to"), tmp_path).startswith(
            "the disk of /to is full: "
        )

    def test_quota_is_recognised(self, tmp_path: Path) -> None:
        used_up = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/somewhere/else")
        assert is_disk_full(used_up)
        assert is_disk_full(shutil.Error([("from", "to", str(used_up))]))
        assert describe_full_disk(used_up, tmp_path) == "your quota on the disk of /somewhere/else is exhausted"

    def test_is_recognised_in_copied_trees(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "file").touch()
        monkeypatch.setattr("shutil.copyfile", lambda *paths, **how: (_ for _ in ()).throw(FULL))
        with pytest.raises(shutil.Error) as caught:
            shutil.copytree(tmp_path / "tree", tmp_path / "copy")
        assert is_disk_full(caught.value)

    def test_freed_space_lets_the_retry_succeed(self, pipeline: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = []

        def full_once(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
            attempts.append(into)
            if len(attempts) == 1:
                raise FULL
            return RowCounts(1, 1)

        monkeypatch.setattr(Split, "make", full_once)
        assert pipeline.run(Split).succeeded
        assert len(attempts) == 2

    def test_of_the_record_is_reported_once_and_does_not_stop_the_run(
        self, pipeline: Roots, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def make(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
            def full(*arguments: object, **named: object) -> None:
                raise FULL

            monkeypatch.setattr("run_records.writer.append_line", full)
            return RowCounts(1, 1)

        monkeypatch.setattr(Split, "make", make)
        assert pipeline.run(Split).succeeded
        assert capfd.readouterr().err.count("The run record is incomplete") == 1


class TestHungStage:
    def test_is_stopped_with_one_sentence_and_not_retried(
        self, pipeline: Roots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempts = []

        def hung(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
            attempts.append(into)
            time.sleep(60)
            return RowCounts(1, 1)

        monkeypatch.setattr("spark.runtime.session.kill_session", lambda: attempts.append("killed"))
        monkeypatch.setattr(Split, "make", hung)
        ran = pipeline.run(Split, settings={"spark_session": {"stage_timeout": 0.2}})
        assert not ran.succeeded
        assert attempts[1:] == ["killed"]
        assert ran.record[-2]["error"] == (
            "it took longer than [spark_session] stage_timeout = 0.2 seconds, and was stopped."
        )

    def test_time_limit_affects_only_late_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spark.runtime.session.kill_session", lambda: None)
        with time_limit(30):
            pass
        with pytest.raises(UserError, match="took longer"), time_limit(0.01):
            time.sleep(5)


def test_full_disk_is_recognised_in_sqlite_errors(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.sqlite")) as db:
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as caught:
            db.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000));")
    assert is_disk_full(caught.value)
    assert is_transient(caught.value)
    assert " is full: only " in failure_message(caught.value, tmp_path / "run.log")


def test_damaged_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "final" / "damaged").mkdir(parents=True)
    with atomic_directory(tmp_path / "final") as staging:
        (staging / "whole").touch()
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_append_starts_a_new_line_after_an_incomplete_one(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    append_line(file, {"a": 1})
    damage(file, "truncate")
    append_line(file, {"b": "ü"})
    lines = file.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1]) == {"b": "ü"}
