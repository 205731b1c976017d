"""A run that one can watch: what luigid shows of it, and that it needs nobody who watches."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from luigi import rpc
from support.pipeline import Roots, unreadable
from support.processes import PATIENCE_S, eventually

from config.paths import PROJECT, SUCCESS
from run_records.stage_state import StageProgress
from workflow import Split
from workflow.__main__ import main
from workflow.reporting.stage_progress import Progress
from workflow.scheduler.failover_scheduler import FailoverScheduler
from workflow.scheduler.luigid import StatusReporter
from workflow.stage import RowCounts

SECRET = "correct-horse"


def ask(port: int, method: str, **arguments: Any) -> Any:
    """One answer of luigid's API."""
    query = urllib.parse.urlencode({"data": json.dumps(arguments)})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{method}?{query}", timeout=10) as answer:
        return json.load(answer)["response"]


def page(port: int, path: str) -> str:
    """One of luigid's pages."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        return str(answer.read().decode())


def begin(roots: Roots, port: int, *arguments: str) -> subprocess.Popen[str]:
    """Starts a run that registers with luigid."""
    command = roots.command(f"--scheduler-port={port}", *arguments)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=PROJECT, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
def test_luigid_shows_graph_progress_and_history(luigid: int, tmp_path: Path) -> None:
    run = begin(Roots(tmp_path), luigid)
    seen: dict[str, list[dict[str, Any]]] = {}
    jobs = ""
    while run.poll() is None:
        for task in ask(luigid, "task_list", status="RUNNING").values():
            seen.setdefault(task["name"], []).append(task)
            if task["tracking_url"] and not jobs:
                with suppress(OSError), urllib.request.urlopen(f"{task['tracking_url']}/jobs/", timeout=10) as answer:
                    jobs = answer.read().decode()
        time.sleep(0.1)
    out, err = run.communicate()
    assert (run.returncode, err) == (0, "")
    assert f"The task graph is at http://127.0.0.1:{luigid}/" in out

    watched = [task for tasks in seen.values() for task in tasks]
    said = {task["status_message"] for task in watched if task["status_message"]}
    assert any("Spark tasks" in text for text in said), said
    assert any("reads Generate (900 rows)" in text for text in said), said
    assert any(task["progress_percentage"] is not None for task in watched)
    assert "Spark Jobs" in jobs

    done = ask(luigid, "task_list", status="DONE")
    assert len(done) == 26
    (top,) = [task_id for task_id, task in done.items() if task["name"] == "RecommendAll"]
    graph = ask(luigid, "dep_graph", task_id=top)
    assert {graph[task_id]["name"] for task_id in graph[top]["deps"]} == {"Promote"}
    assert len(graph) == 26
    (split,) = [task for task in done.values() if task["name"] == "Split"]
    assert split["status_message"].startswith("Split: done after ")
    assert "rows in" in split["status_message"]
    assert split["progress_percentage"] == 100
    assert not split["tracking_url"]

    counted = page(luigid, "metrics").splitlines()
    assert 'luigi_task_started_total{family="Split"} 1.0' in counted
    assert 'luigi_task_done_total{family="RecommendAll"} 1.0' in counted
    assert any(line.startswith('luigi_task_execution_time_seconds{family="Ingest"} ') for line in counted)
    assert "Recommend" in page(luigid, "history")
    assert "DONE" in page(luigid, "history/by_name/Ingest")
    assert page(luigid, "history/by_id/1")
    with sqlite3.connect(tmp_path / "luigid" / "history.sqlite") as history:
        assert history.execute("SELECT count(*) FROM tasks").fetchone() == (26,)
    history.close()


def test_port_in_use_is_reported(luigid: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["luigid", "--port", str(luigid), "--data", str(tmp_path)]) == 2
    said = f"Error: luigid cannot listen on 127.0.0.1, port {luigid}: Address already in use.\n"
    assert capsys.readouterr().err == said


@pytest.mark.slow
def test_run_continues_when_luigid_stops(luigid: int, luigid_process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    roots = Roots(tmp_path / "own")
    run = begin(roots, luigid)
    eventually(lambda: list(roots.data.glob("work/synthetic/Generate/*/" + SUCCESS)))
    luigid_process.kill()
    out, err = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, err) == (0, "")
    assert out.count("luigid does not answer any more; the run continues without it.") == 1
    assert roots.current()


def test_secrets_are_redacted_everywhere(luigid: int, tmp_path: Path) -> None:
    """Not from the path of the raw files, not from a traceback of Java's that names it."""
    roots = Roots(tmp_path / "own")
    arguments = [*unreadable(tmp_path, tmp_path / SECRET), f"--scheduler-port={luigid}"]
    ran = subprocess.run(
        roots.command(*arguments),
        cwd=PROJECT,
        env=os.environ | {"STORAGE_PASSWORD": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 30
    assert "Ingest failed: " in ran.stderr
    failed = ask(luigid, "task_list", status="FAILED")
    (task_id,) = failed
    shown = [
        json.dumps(ask(luigid, "fetch_error", task_id=task_id)),
        json.dumps(ask(luigid, "dep_graph", task_id=task_id)),
    ]
    shown += [page(luigid, "history"), page(luigid, "history/by_name/Ingest"), ran.stdout, ran.stderr]
    written = [file for file in tmp_path.rglob("*") if file.is_file() and {"runs", "luigid"} & {*file.parts}]
    assert {file.suffix for file in written} >= {".jsonl", ".log", ".sqlite"}
    shown += [file.read_text(errors="replace") for file in written]
    assert [text for text in shown if SECRET in text] == []
    assert "/***" in shown[1]
    log = next(file for file in written if file.suffix == ".log")
    assert all(line.split(" ")[0] == log.stem for line in log.read_text().splitlines())
    assert {"-", "Ingest"} <= {line.split(" ")[1] for line in log.read_text().splitlines()}


def test_stage_report_reaches_watchers(pipeline: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int | None]] = []

    def make(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
        self.report("iteration 3 of 10", 0.3)
        eventually(lambda: any("iteration" in text for text, _ in told))
        return RowCounts(1, 1)

    monkeypatch.setattr(Split, "make", make)
    monkeypatch.setattr(StatusReporter, "_report", lambda self, text, percentage: told.append((text, percentage)))
    monkeypatch.setattr("workflow.running.run.choose_scheduler", lambda inform: True)
    assert pipeline.run(Split).succeeded
    assert ("Split: iteration 3 of 10", 30) in told
    assert told[-1][0].startswith("Split: done after ")


class _Listener:
    """Stands for a task: remembers what luigid was told."""

    def __init__(self, fails: bool = False) -> None:
        self.said: list[str] = []
        self.filled: list[int] = []
        self._fails = fails

    def set_status_message(self, text: str) -> None:
        if self._fails:
            raise rpc.RPCError("gone")
        self.said.append(text)

    def set_tracking_url(self, link: str) -> None:
        assert link == ""

    def set_progress_percentage(self, percentage: int) -> None:
        self.filled.append(percentage)


class TestStatusReporter:
    def test_reports_changes_at_a_limited_rate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [100.0]
        monkeypatch.setattr("workflow.scheduler.luigid.time.monotonic", lambda: clock[0])
        listener = _Listener()
        reporter = StatusReporter(listener, "Train als", "reads Split (5 rows)")  # type: ignore[arg-type]
        for tasks_done in (1, 1, 2):
            reporter.show(StageProgress(tasks_done, 4))
            clock[0] += 0.4
        clock[0] += 1.0
        reporter.show(StageProgress(2, 4))
        clock[0] += 1.1
        reporter.show(StageProgress(2, 4))
        assert listener.said == [f"Train als: {done}/4 Spark tasks\nreads Split (5 rows)" for done in (1, 2)]
        assert listener.filled == [25, 50]

    def test_escapes_html(self) -> None:
        listener = _Listener()
        StatusReporter(listener, "Train", "").show(StageProgress(note="<b>half</b>"))  # type: ignore[arg-type]
        assert listener.said == ["Train: &lt;b&gt;half&lt;/b&gt;"]

    def test_ignores_an_unreachable_luigid(self) -> None:
        reporter = StatusReporter(_Listener(fails=True), "Train", "")  # type: ignore[arg-type]
        reporter.show(StageProgress(1, 2))
        reporter.end("done", 100)


class TestFailoverScheduler:
    class _Remote:
        def __init__(self) -> None:
            self.gone = False

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any, **named: Any) -> Any:
                if self.gone:
                    raise rpc.RPCError("gone")

            return call

    def test_local_scheduler_receives_the_earlier_calls(self) -> None:
        remote, said = self._Remote(), list[str]()
        lasting = FailoverScheduler(remote, said.append)
        lasting.add_worker("w", {})
        for name, after in (("A", []), ("B", ["A"])):
            lasting.add_task(worker="w", task_id=name, status="PENDING", deps=after, family=name, runnable=True)
        lasting.add_task(worker="w", task_id="A", status="RUNNING", tracking_url="http://127.0.0.1:4040")
        remote.gone = True
        lasting.set_task_status_message("A", "almost")
        lasting.add_task(worker="w", task_id="A", status="DONE", family="A", runnable=True)
        assert lasting.get_work(worker="w", host="h")["task_id"] == "B"
        assert said == ["luigid does not answer any more; the run continues without it."]

    def test_error_of_the_local_scheduler_is_raised(self) -> None:
        remote = self._Remote()
        remote.gone = True
        lasting = FailoverScheduler(remote, lambda sentence: None)
        with pytest.raises(AssertionError):
            lasting.add_task(worker=None)


class TestProgress:
    def test_reported_fraction_overrides_spark_tasks(self) -> None:
        states = [StageProgress(), StageProgress(1, 3), StageProgress(1, 3, fraction=0.5), StageProgress(fraction=7)]
        assert [state.percentage for state in states] == [None, 33, 50, 100]
        assert StageProgress(1, 3, "iteration 3 of 10").words == "iteration 3 of 10, 1/3 Spark tasks"
        assert [StageProgress(remaining_s=seconds).words for seconds in (0, 42, 400)] == [
            "5 s left",
            "40 s left",
            "7 min left",
        ]

    def test_all_watchers_share_one_poll(self, monkeypatch: pytest.MonkeyPatch) -> None:
        polls: list[int] = []
        monkeypatch.setattr(
            "workflow.reporting.stage_progress._spark_tasks", lambda: (polls.append(1) or len(polls), 9)
        )
        one, other, progress = list[StageProgress](), list[StageProgress](), Progress()
        with progress.shown_to([one.append, other.append]):
            progress.report("here")
            eventually(lambda: len(other) >= 2)
        assert one == other
        assert len(one) == len(polls)
        assert {state.note for state in one} == {"here"}
        with progress.shown_to([one.append]):
            eventually(lambda: not one[-1].note)

    def test_error_of_a_watcher_does_not_fail_the_stage(self) -> None:
        calls: list[StageProgress] = []

        def broken(state: StageProgress) -> None:
            calls.append(state)
            raise OSError("gone")

        with Progress().shown_to([broken]):
            eventually(lambda: len(calls) >= 2)
