"""Bad surroundings: whatever happens to a run from outside, it says one sentence, and the next one goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from support.datasets import write_description
from support.pipeline import Roots
from support.processes import eventually

from config.paths import PROJECT, Paths
from models.manifest import read_manifest
from spark.runtime.child_processes import defer_signals
from webapp import create_app
from workflow import Ingest, Split
from workflow.running.failures import failure_message, is_transient
from workflow.stage import RowCounts

TASK_FAILED, MISSING_DATA, SCHEDULING_ERROR = 30, 20, 35
END_S = 60
IGNORING = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
OTHER_SPLIT = "--split-seed=7"
"""What a finished run has not made: one stage of Spark's."""


def processes_of(run: subprocess.Popen[str], roots: Roots) -> dict[int, str]:
    """What lives of a run's session, and whatever names its directories, as the reader of its log does."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):  # it has just ended
            command = " ".join(process.cmdline())
            in_session = os.getsid(process.pid) == run.pid
            if process.status() != psutil.STATUS_ZOMBIE and (in_session or f"{roots.root}/" in command):
                found[process.pid] = command
    return found


def javas_of(run: subprocess.Popen[str], roots: Roots) -> list[int]:
    """Spark's Java of a run."""
    return [pid for pid, command in processes_of(run, roots).items() if "SparkSubmit" in command]


def java_starts(roots: Roots) -> bool:
    """Whether a run has come to where it starts Java."""
    return any(roots.data.glob("scratch/*"))


def spark_is_up(roots: Roots) -> bool:
    """Whether a run has come to where Spark begins its work."""
    return any(roots.data.glob("scratch/*/blockmgr-*"))


@contextmanager
def splitting(roots: Roots, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run that splits, in a session of its own; what it says is in `root/said`, and what it leaves is ended after."""
    command = roots.command("--local-scheduler", OTHER_SPLIT, *arguments)
    command[3] = "Split"
    with (roots.root / "said").open("w") as said:
        run = subprocess.Popen(command, cwd=PROJECT, stdout=said, stderr=said, text=True, start_new_session=True)
    try:
        yield run
    finally:
        for pid in processes_of(run, roots):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
class TestInterruptedRun:
    @pytest.mark.parametrize(
        ("at", "number"),
        [(java_starts, signal.SIGINT), (spark_is_up, signal.SIGTERM)],
        ids=["Ctrl-C while Java starts", "SIGTERM"],
    )
    def test_ends_all_its_processes_and_names_the_next_step(
        self, at: Callable[[Roots], bool], number: signal.Signals, pipeline: Roots, spark: SparkSession
    ) -> None:
        served, said = pipeline.current(), pipeline.root / "said"
        with splitting(pipeline) as run:
            eventually(lambda: at(pipeline))
            os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
            assert run.wait(END_S) != 0
            eventually(lambda: not processes_of(run, pipeline))
        assert "Split failed: it was interrupted; the same command continues from here." in said.read_text()
        assert "Traceback" not in said.read_text()
        assert pipeline.current() == served
        assert pipeline.run(Split, settings={"split": {"seed": 7}}).made == {"Split"}
        assert not list(pipeline.root.rglob("*.staging"))

    @pytest.mark.parametrize(("ignored", "ends"), [("", -signal.SIGINT), (IGNORING, 0)], ids=["twice", "ignored"])
    def test_second_signal_ends_it_at_once_and_an_ignored_one_does_not(self, ignored: str, ends: int) -> None:
        code = f"""
import signal
from workflow.running.interrupts import install_handlers
{ignored}
install_handlers()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    signal.raise_signal(signal.SIGINT)
"""
        assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == ends

    def test_deferred_signal_arrives_after_the_block(self) -> None:
        done = []
        with pytest.raises(KeyboardInterrupt), defer_signals():
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            threading.Event().wait(0.2)
            done.append(True)
        assert done


def test_interrupt_dropped_by_python_is_repeated(pipeline: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def interrupted(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
        Dropping()
        threading.Event().wait(END_S)
        return RowCounts(1, 1)

    monkeypatch.setattr(Split, "make", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(Split, settings={"split": {"seed": 7}})
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
class TestLostProcess:
    def test_killed_java_is_restarted(self, pipeline: Roots) -> None:
        with splitting(pipeline) as run:
            eventually(lambda: spark_is_up(pipeline))
            (java,) = javas_of(run, pipeline)
            os.kill(java, signal.SIGKILL)
            assert run.wait(END_S) == 0
            eventually(lambda: not processes_of(run, pipeline))
        assert "  Split is retried after " in (pipeline.root / "said").read_text()

    def test_killed_python_worker_is_retried(self, spark: SparkSession, tmp_path: Path) -> None:
        def dies(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            os.kill(os.getpid(), signal.SIGKILL)
            yield from batches

        with pytest.raises(Exception, match="exited unexpectedly") as caught:
            spark.range(2).mapInArrow(dies, "id long").collect()
        assert is_transient(caught.value)
        assert failure_message(caught.value, tmp_path).startswith("a Python worker of Spark was killed")

    def test_time_limit_kills_a_starting_java(self, pipeline: Roots) -> None:
        with splitting(pipeline, "--spark-session-stage-timeout=1") as run:
            assert run.wait(END_S) == TASK_FAILED
            eventually(lambda: not processes_of(run, pipeline))
        told = "Error: Split failed: it took longer than [spark_session] stage_timeout = 1 seconds, and was stopped."
        assert told in (pipeline.root / "said").read_text()
        assert "tried again" not in (pipeline.root / "said").read_text()


def test_clock_set_back_stops_neither_runs_nor_page(pipeline: Roots, spark: SparkSession) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    stamp = f"{tomorrow:%Y-%m-%dT%H:%M:%S.000Z}"
    for record in (pipeline.data / "runs" / "synthetic").glob("*.jsonl"):
        record.write_text(re.sub(r'"(at|started)": "[^"]+"', rf'"\1": "{stamp}"', record.read_text()))
    for path in pipeline.root.rglob("*"):
        os.utime(path, (tomorrow.timestamp(), tomorrow.timestamp()))
    first = pipeline.current()
    assert pipeline.run().made == set()
    ran = pipeline.run(settings={"recommend": {"k": 7}})
    assert ran.succeeded
    assert all(line["duration_s"] >= 0 for line in ran.record if "duration_s" in line)
    assert pipeline.current() != first
    assert (pipeline.models / "synthetic" / first).is_dir()
    client = create_app(pipeline.models, pipeline.data, {"TESTING": True}).test_client()
    for page in ("/", "/runs", "/versions", "/readyz", "/metrics", "/api/v1/runs"):
        assert client.get(page).status_code == 200


@pytest.mark.slow
def test_results_do_not_depend_on_place_and_time(spark: SparkSession, tmp_path: Path) -> None:
    # The times include half past two on 8 March, which there is not in New York: clocks go forward.
    here = tmp_path / "Ümläute und Leerzeichen"
    raw = here / "die rohen Dateien"
    raw.mkdir(parents=True)
    times = [
        (user, k, f"2026-03-{1 + (user + k) % 9:02d} {(user * 5 + k * 3 + 1) % 24:02d}:30:00")
        for user in range(12)
        for k in range(6)
    ]
    rows = [f"u{user},t{(user * 7 + k * k) % 13},{time}" for user, k, time in times]
    (raw / "Hörer 1.csv").write_text("\n".join(["user,track,at", *rows, ""]), encoding="utf-8")
    (here / "hörer.toml").write_text(
        'title = "Hörer"\n[interactions]\npath = "Hörer *.csv"\nuser = "user"\ntrack = "track"\ntime = "at"\n'
        'time_format = "iso8601"\nfeedback = "events"\nduplicates = "sum"\n',
        encoding="utf-8",
    )
    asked = {"dataset": str(here / "hörer.toml"), "raw_dir": str(raw), "as_of": "2026-03-09"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    candidates = '["popularity"]'
    away = Roots(here)
    ran = away.call(
        *flags, "--split-strategy=temporal", f"--selection-candidates={candidates}",
        TZ="America/New_York", HOME="/nonexistent",
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    at_home = Roots(tmp_path / "home")
    settings = {"split": {"strategy": "temporal"}, "selection": {"candidates": candidates}}
    assert at_home.run(**asked, settings=settings).succeeded
    ours, theirs = (read_manifest(roots.models / "hörer" / roots.current("hörer")) for roots in (at_home, away))
    assert ours["version"] == theirs["version"]
    lists = [name for name in ours["files"] if name.startswith("recommendations/")]
    assert lists
    assert [ours["files"][name] for name in lists] == [theirs["files"][name] for name in lists]


class TestObstructedPath:
    @pytest.mark.parametrize("of", ["data", "models"])
    def test_root_is_named(self, of: str, tmp_path: Path) -> None:
        ran = Roots(tmp_path).call(f"--paths-{of}-root=/proc/nowhere")
        assert ran.returncode == SCHEDULING_ERROR
        assert ran.stderr.startswith("Error: /proc/nowhere cannot be written (No such file or directory): see [paths]")
        assert ran.stderr.count("\n") == 1

    def test_work_directory_is_named(self, pipeline: Roots) -> None:
        work, served = pipeline.data / "work" / "synthetic", pipeline.current()
        work.rename(pipeline.root / "aside")
        work.touch()
        ran = pipeline.call()
        assert (ran.returncode, ran.stdout) == (SCHEDULING_ERROR, "")
        assert ran.stderr.startswith(f"Error: {work} cannot be written (File exists): see [paths]")
        assert pipeline.current() == served
        work.unlink()
        (pipeline.root / "aside").rename(work)
        assert pipeline.call().stdout.startswith("Nothing to do")

    @pytest.mark.parametrize("other", [[], ["--recommend-k=7"]], ids=["nothing to do", "a new version"])
    def test_current_is_named(self, other: list[str], pipeline: Roots) -> None:
        current = pipeline.models / "synthetic" / "current"
        current.unlink()
        current.mkdir()
        ran = pipeline.call(*other)
        assert (ran.returncode, ran.stdout) == (SCHEDULING_ERROR, "")
        assert ran.stderr == (
            f"Error: {current} cannot be read (Is a directory): move it away, and promote a version again.\n"
        )
        current.rmdir()
        assert pipeline.run().succeeded
        assert pipeline.current()


class TestRawFile:
    @pytest.fixture
    def asked(self, tmp_path: Path) -> dict[str, str]:
        dataset = write_description(tmp_path / "mine.toml", user="user", track="track", feedback="events")
        return {"dataset": dataset, "raw_dir": str(tmp_path)}

    def refused(self, roots: Roots, asked: dict[str, str], capfd: pytest.CaptureFixture[str]) -> str:
        with pytest.raises(SystemExit) as caught:
            roots.run(Ingest, **asked)
        assert caught.value.code == MISSING_DATA
        return capfd.readouterr().err

    def test_link_to_itself_is_named(
        self, asked: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "plays.csv").symlink_to(tmp_path / "plays.csv")
        told = f"Error: {tmp_path / 'plays.csv'} is a broken symbolic link: "
        assert told in self.refused(Roots(tmp_path), asked, capfd)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_unreadable_file_is_named(
        self, asked: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "plays.csv").write_text("user,track\nu,t\n")
        (tmp_path / "plays.csv").chmod(0)
        told = f"Error: {tmp_path / 'plays.csv'} cannot be read (Permission denied)."
        assert told in self.refused(Roots(tmp_path), asked, capfd)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become a user without a name"
)
@pytest.mark.slow
def test_user_without_name_and_home_can_run(pipeline: Roots) -> None:
    nobody = 54321
    shutil.copytree(Paths().compiled, pipeline.data / "numba", dirs_exist_ok=True)
    for path in [pipeline.root, *pipeline.root.rglob("*")]:
        os.chown(path, nobody, nobody)
    # May read all that root may, or the interpreter of a root's home could not be used; and write nothing but its own.
    become = f"setpriv --reuid={nobody} --regid={nobody} --clear-groups".split()
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    command = pipeline.command("--local-scheduler", OTHER_SPLIT)
    command[3] = "Split"
    known = {name: value for name, value in os.environ.items() if name not in {"HOME", "USER", "LOGNAME"}}
    known.pop("NUMBA_CACHE_DIR", None)
    ran = subprocess.run([*become, *command], cwd=PROJECT, env=known, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
