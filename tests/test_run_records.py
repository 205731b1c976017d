"""The run records, read and shown."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.pipeline import Ran, Roots

from common.errors import UserError
from common.formatting import format_duration
from config.paths import PROJECT
from run_records.reader import find_run, last_runs, read_run, run_directories
from run_records.record_files import is_running
from run_records.stage_state import StageProgress
from run_records.writer import RunRecorder, StageRecord
from workflow.__main__ import main


def write(root: Path, run: str, *events: dict[str, Any] | str, dataset: str = "tiny") -> Path:
    """Writes a record; a string stands for a line as it is."""
    (root / dataset).mkdir(parents=True, exist_ok=True)
    file = root / dataset / f"{run}.jsonl"
    file.write_text("\n".join(event if isinstance(event, str) else json.dumps(event) for event in events))
    return file


def begun(at: str, **facts: Any) -> dict[str, Any]:
    return {"event": "run_started", "at": at, **facts}


def ended(stage: str, status: str, **facts: Any) -> dict[str, Any]:
    return {"event": "stage", "stage": stage, "model": None, "status": status, **facts}


PLAN = [
    {"stage": "Ingest", "requires": [], "to_do": False},
    {"stage": "Split", "requires": ["Ingest"], "to_do": True},
    {"stage": "Train als", "requires": ["Ingest", "Split"], "to_do": True},
]
STARTED = begun(
    "2026-01-02T03:04:05Z",
    stages=PLAN,
    settings={"als": {"rank": 64, "alpha": 10.0}, "split": {"seed": 42}},
    changed={"als": ["rank"]},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Run records of two datasets."""
    root = tmp_path / "runs"
    write(root, "20260101-aa", begun("2026-01-01T00:00:00Z"), {"event": "run_finished", "status": "nothing_to_do"})
    failed = ended("Train", "failed", model="als", error="It is broken.", duration_s=1.0)
    done = ended("Split", "done", duration_s=75.4, rows_in=1200, rows_out=1100)
    write(root, "20260102-ab", STARTED, done, failed, {"event": "run_finished", "status": "failed", "duration_s": 76.0})
    write(root, "20260103-ac", begun("2026-01-03T00:00:00Z", stages=PLAN), '{"event": "stage", "sta', dataset="other")
    return root


class TestReading:
    def test_stage_statuses(self, root: Path) -> None:
        run = read_run(root / "tiny" / "20260102-ab.jsonl")
        assert [(step.label, step.status) for step in run.stages] == [
            ("Ingest", "skipped"), ("Split", "done"), ("Train als", "failed"),
        ]  # fmt: skip
        assert run.stages[2].requires == ("Ingest", "Split")
        assert run.error == "Train of als: It is broken."
        assert (run.settings["als"]["rank"], run.changed_settings) == (64, {"als": ["rank"]})

    def test_incomplete_line_is_ignored(self, root: Path) -> None:
        run = read_run(root / "other" / "20260103-ac.jsonl")
        assert run.status == "unfinished"
        assert [step.status for step in run.stages] == ["skipped", "not run", "not run"]

    def test_record_without_a_plan_can_be_read(self, tmp_path: Path) -> None:
        run = read_run(write(tmp_path, "r", begun("2026"), ended("Split", "done"), ended("Split", "failed")))
        assert [(step.label, step.status) for step in run.stages] == [("Split", "failed")]
        assert (run.settings, run.changed_settings) == ({}, {})

    def test_newest_run_is_first(self, root: Path) -> None:
        assert [run.id for run in last_runs(root / "tiny")] == ["20260102-ab", "20260101-aa"]

    def test_record_of_a_pipeline_run_is_complete(self, finished: tuple[Roots, Ran]) -> None:
        run = find_run(finished[0].data / "runs", "synthetic", finished[1].record[0]["run"])
        assert run.status_counts == {"done": 25}
        assert all(step.requires for step in run.stages[1:])
        assert run.settings["synthetic"]["num_users"] == 60
        assert run.changed_settings["als"] == ["rank", "max_iter"]
        assert "split" not in run.changed_settings
        closing = [line for line in finished[1].record if line["event"] == "stage"]
        assert {line["stage"]: line["requires"] for line in closing}["Split"] == ["Ingest"]


class TestActiveRun:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Where the run is recorded."""
        file = tmp_path / "runs" / "tiny" / "r.jsonl"
        file.parent.mkdir(parents=True)
        return file

    @pytest.fixture
    def record(self, file: Path) -> RunRecorder:
        """A run that makes Split, when Ingest is up to date."""
        record = RunRecorder(file, "r", "tiny", stages=PLAN)
        record.start_stage(StageRecord("r", "Split", None, "f", "done", "2026-01-02T03:04:06Z"))
        return record

    def test_has_current_stage_and_progress(self, file: Path, record: RunRecorder) -> None:
        run = read_run(file)
        assert (run.status, [step.status for step in run.stages]) == ("running", ["skipped", "running", "not run"])
        split = run.stages[1]
        assert (split.started, split.duration_s) == ("2026-01-02T03:04:06Z", None)
        assert (split.progress, split.doing) == (None, None)
        record.write_progress("Split", StageProgress(3, 8, "deals"))
        record.write_progress("Split", StageProgress(8, 8, "deals"))  # too soon after the other
        split = read_run(file).stages[1]
        assert (split.progress, split.doing) == (0.375, "deals, 3/8 Spark tasks")

    def test_progress_of_another_stage_is_ignored(self, file: Path, record: RunRecorder) -> None:
        record.write_progress("Ingest", StageProgress(3, 8))
        assert read_run(file).stages[1].progress is None

    def test_finish_removes_the_progress_file(self, file: Path, record: RunRecorder) -> None:
        record.write_progress("Split", StageProgress(3, 8))
        record.end_stage(StageRecord("r", "Split", None, "f", "done", "2026", 1.5))
        assert [step.status for step in read_run(file).stages] == ["skipped", "done", "not run"]
        record.finish("done", None)
        assert read_run(file).status == "done"
        assert list(file.parent.iterdir()) == [file]

    def test_retried_stage_is_running(self, file: Path, record: RunRecorder) -> None:
        line = StageRecord("r", "Split", None, "f", "failed", "2026")
        record.end_stage(line)
        record.start_stage(line)
        assert read_run(file).stages[1].status == "running"

    def test_is_unfinished_after_its_process_ends_though_a_child_lives(self, tmp_path: Path) -> None:
        script = (
            "import os, pathlib, signal, subprocess, sys, run_records.writer as log\n"
            "import run_records.stage_state as progress\n"
            "record = log.RunRecorder(pathlib.Path(sys.argv[1]), 'r', 'tiny')\n"
            "record.start_stage(log.StageRecord('r', 'Split', None, 'f', 'done', '2026'))\n"
            "record.write_progress('Split', progress.StageProgress(1, 2))\n"
            "quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
            "child = subprocess.Popen(['sleep', '60'], close_fds=False, **quiet)\n"
            "print(child.pid, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        file = tmp_path / "r.jsonl"
        killed = subprocess.run(
            [sys.executable, "-c", script, str(file)], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        os.kill(int(killed.stdout), signal.SIGTERM)  # raises unless it was still there
        run = read_run(file)
        assert (run.status, run.stages[0].status, run.stages[0].progress) == ("unfinished", "unfinished", None)
        assert file.with_suffix(".now").exists()
        RunRecorder(tmp_path / "next.jsonl", "next", "tiny")
        assert not file.with_suffix(".now").exists()

    def test_next_run_keeps_the_progress_file(self, file: Path, record: RunRecorder) -> None:
        record.write_progress("Split", StageProgress(3, 8))
        RunRecorder(file.with_name("next.jsonl"), "next", "tiny").finish("done", None)
        assert read_run(file).stages[1].progress == 0.375

    def test_concurrent_checks_do_not_disturb_each_other(self, root: Path) -> None:
        record = root / "tiny" / "20260101-aa.jsonl"
        with record.open() as other:
            fcntl.flock(other, fcntl.LOCK_SH)
            assert not is_running(record)
        assert not is_running(root / "tiny" / "none.jsonl")

    def test_commands_show_its_progress(
        self, file: Path, record: RunRecorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        record.write_progress("Split", StageProgress(3, 8, "deals"))
        asked = ["--data", str(file.parents[2]), "--dataset", "tiny"]
        assert main(["runs", *asked]) == 0
        assert capsys.readouterr().out.endswith("running (Split)\n")
        assert main(["run", *asked]) == 0
        assert "running 38%, deals, 3/8 Spark tasks\n" in capsys.readouterr().out
        assert main(["graph", *asked]) == 0
        assert "▶ running 38%" in file.with_suffix(".svg").read_text()


class TestFindRun:
    def test_by_prefix_of_its_id(self, root: Path) -> None:
        assert find_run(root, None, "20260103").id == "20260103-ac"
        assert find_run(root, "tiny").id == "20260102-ab"
        assert find_run(root).id == "20260103-ac"

    def test_complete_id_wins_over_longer_ids(self, root: Path) -> None:
        write(root, "20260102-abc", begun("2026"))
        assert find_run(root, None, "20260102-ab").id == "20260102-ab"

    @pytest.mark.parametrize(
        ("dataset", "wanted", "sentence"),
        [
            (None, "2027", "No run has an id that starts with '2027'"),
            (None, "2026", r"3 runs have an id that starts with '2026' \(20260103-ac, 20260101-aa, 20260102-ab\)"),
            (None, "../tiny/20260101-aa", "No run has an id that starts with"),
            ("tniy", "", r"No run of 'tniy' .* \(did you mean 'tiny'\?\); there are runs of other, tiny"),
            ("..", "", r"No run of '\.\.'"),
        ],
    )
    def test_no_or_several_matches_are_refused(
        self, root: Path, dataset: str | None, wanted: str, sentence: str
    ) -> None:
        with pytest.raises(UserError, match=sentence):
            find_run(root, dataset, wanted)

    def test_no_recorded_run_is_refused(self, tmp_path: Path) -> None:
        assert run_directories(tmp_path / "nowhere") == []
        with pytest.raises(UserError, match=r"No run is recorded in .*: start one with make pipeline"):
            find_run(tmp_path / "nowhere")


class TestCommands:
    def test_runs_lists_runs(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["runs", "--data", str(root.parent)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["run", "20260103-ac", "20260102-ab", "20260101-aa"]
        assert lines[1].endswith("unfinished")
        assert "2026-01-02 03:04:05" in lines[2]
        assert lines[2].endswith("1 min 16 s  1 of 3 stages  failed (Train als)")
        assert lines[3].endswith("nothing to do")
        assert main(["runs", "--data", str(root.parent), "--dataset", "other"]) == 0
        assert "tiny" not in capsys.readouterr().out

    def test_run_shows_details(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "--data", str(root.parent), "--", "20260102"]) == 0
        shown = capsys.readouterr().out
        assert "Split      1 min 15 s    1,200     1,100\n" in shown
        assert "Ingest              –        –         –  up to date\n" in shown
        assert "Changed settings:\n  [als] rank = 64\n" in shown
        assert "alpha" not in shown
        assert "\nError: Train als: It is broken.\n" in shown
        assert shown.endswith(f"{root}/tiny/20260102-ab.log\n")

    def test_graph_writes_a_file_and_prints_its_path(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["graph", "--data", str(root.parent), "--dataset", "tiny"]) == 0
        drawn = root / "tiny" / "20260102-ab.svg"
        assert capsys.readouterr().out == f"{drawn}\n"
        assert drawn.read_text().startswith("<svg")

    @pytest.mark.parametrize("verb", ["run", "graph"])
    def test_unknown_id_is_refused_with_one_sentence(
        self, verb: str, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([verb, "--data", str(root.parent), "--", "-x"]) == 2
        assert capsys.readouterr().err == "Error: No run has an id that starts with '-x': list them with make runs.\n"

    def test_make_passes_id_and_dataset(self, root: Path) -> None:
        def make(*words: str) -> subprocess.CompletedProcess[str]:
            called = ["make", "--no-print-directory", "-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}"]
            return subprocess.run(
                [*called, *words, f"DATA={root.parent}"], cwd=PROJECT, capture_output=True, text=True, check=False
            )

        assert "20260103-ac" in make("runs").stdout
        assert "20260103-ac" not in make("runs", "DATASET=tiny").stdout
        assert make("run").stdout.startswith("Run 20260103-ac of other")
        assert make("run", "ID=20260101").stdout.startswith("Run 20260101-aa of tiny")
        refused = make("run", "ID='; x")
        assert refused.returncode == 2
        assert refused.stderr.startswith("Error: No run has an id that starts with")

    def test_commands_do_not_import_spark(self) -> None:
        script = "import sys, workflow.__main__; print({'pyspark', 'pandas', 'numpy', 'sqlalchemy'} & set(sys.modules))"
        ran = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert ran.stdout == "set()\n"


def test_format_duration() -> None:
    assert [format_duration(seconds) for seconds in (None, 0.04, 9.94, 42.4, 59.6, 3599, 3700.0)] == [
        "–", "0.0 s", "9.9 s", "42 s", "1 min 0 s", "59 min 59 s", "1 h 1 min",
    ]  # fmt: skip
