"""The commands as a user types them: exit codes, messages, and no lost output."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support.datasets import write_csv, write_description
from support.pipeline import Ran, Roots
from support.processes import PATIENCE_S, eventually

from common.locks import exclusive_lock
from config.paths import PROJECT, SUCCESS
from run_records.reader import find_run
from spark.runtime.session import active_tasks
from workflow import Generate, Ingest

MISSING_DATA, TASK_FAILED, SCHEDULING_ERROR = 20, 30, 35


def test_run_with_nothing_to_do_starts_no_java(pipeline: Roots) -> None:
    ran = pipeline.call(JAVA_HOME="/nowhere")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"Nothing to do: version {pipeline.current()} of synthetic is up to date.\n"


BAD_SETTINGS = {
    "--als-rank=0": "[als] rank: '0' is not a whole number from 1 to 1,000.",
    "--als-rank=many": "[als] rank: 'many' is not a whole number from 1 to 1,000.",
    "--recommend-k=0": "[recommend] k: '0' is not a whole number from 1 to 1,000.",
    "--split-test-fraction=1.2": "[split] test_fraction: '1.2' is not a number from 0.01 to 0.9.",
    "--split-strategy=alphabetical": "[split] strategy: 'alphabetical' is not one of random, temporal, leave_last_n.",
    "--split-validation-fraction=0.8": "[split] test_fraction = 0.2 and validation_fraction = 0.8 leave nothing",
    "--selection-candidates=[]": "[selection] candidates: '[]' is not a list",
    '--selection-candidates=["als", "genius"]': "is not a list such as",
    "--selection-select-by=auc": "[selection] select_by: 'auc' is not one of ndcg@10",
    "--spark-session-master=foo": "[spark_session] master: 'foo' is not local[*], local[4], or the address",
    "--spark-session-driver-memory=100m": "[spark_session] driver_memory: '100m' is not an amount of memory",
    "--spark-session-driver-memory=lots": "[spark_session] driver_memory: 'lots' is not an amount of memory",
    "--synthetic-num-interactions=10": "[synthetic] num_interactions = 10 is less than num_users = 60",
    "--dataset=synthtic": "There is no dataset 'synthtic' (did you mean 'synthetic'?)",
    "--raw-dir=/tmp": "The dataset synthetic is generated",
    "--als-engine=mllib": "[als] engine = mllib requires reg_exponent = 1: MLlib always scales λ by",
    "--als-explicit-engine=mllib --als-explicit-biases=true": "[als_explicit] engine = mllib requires biases = false",
    "--als-explicit-engine=mllib --tune-trials=3": "[tune] trials requires [als_explicit] engine = encore",
    "--als-explicit-biases=maybe": "[als_explicit] biases: cannot interpret 'maybe' as boolean.",
    "--workers=2": "More than one worker",
    "--as-of=2026-02-30": "--as-of: '2026-02-30' is not a date such as 2026-03-01.",
    "--as-of=20260301": "--as-of: '20260301' is not a date such as 2026-03-01.",
    "--dataset=lastfm-2k --as-of=2026-03-01": "The dataset lastfm-2k has no timestamps, which --as-of and [ingest]",
    "--dataset=lastfm-2k --ingest-window-days=7": "The dataset lastfm-2k has no timestamps, which --as-of and [ingest]",
    "--run-id=../mine": "--run-id: '../mine' is not a time and four hex digits, such as 2",
    "--run-id=20261125T101500-AB12": "is not a time and four hex digits",
}


@pytest.mark.parametrize("argument", BAD_SETTINGS)
def test_invalid_setting_is_refused_with_one_sentence(
    argument: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = Roots(tmp_path).exit_code(*argument.replace(" --", "\n--").splitlines())
    out, err = capfd.readouterr()
    assert (code, out) == (SCHEDULING_ERROR, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert BAD_SETTINGS[argument] in err


def test_exit_code_is_luigis(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argument, *_ = BAD_SETTINGS
    ran = Roots(tmp_path).call(argument)
    code = Roots(tmp_path).exit_code(argument)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, *capfd.readouterr())


def test_unknown_candidate_is_refused_with_one_sentence(tmp_path: Path) -> None:
    command = Roots(tmp_path).command("--local-scheduler", "--model=eases")
    command[3] = "Evaluate"
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (SCHEDULING_ERROR, "")
    assert ran.stderr.startswith(
        "Error: --model: there is no candidate 'eases' (did you mean 'ease'?); the candidates are als, "
    )
    assert ran.stderr.count("\n") == 1


def test_run_id_can_be_used_once(tmp_path: Path) -> None:
    roots, run_id = Roots(tmp_path), "20261125T101500-ab12"
    command = [*roots.command()[:3], "Generate", "--local-scheduler", f"--run-id={run_id}"]
    command += [f"--paths-data-root={roots.data}", f"--paths-models-root={roots.models}"]
    first, second = (subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False) for _ in "12")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith(f"Run {run_id} of synthetic: 1 stage to do.\n")
    assert find_run(roots.data / "runs").id == run_id
    assert second.returncode == SCHEDULING_ERROR
    assert second.stderr == (
        f"Error: Run {run_id} of synthetic is already recorded: leave --run-id out, or give another id.\n"
    )
    assert find_run(roots.data / "runs").status == "done"


def test_unknown_key_in_luigi_cfg_is_named(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text((PROJECT / "luigi.cfg").read_text() + "\n[als]\nrang = 5\n")
    ran = Roots(tmp_path).call(LUIGI_CONFIG_PATH=str(tmp_path / "luigi.cfg"))
    assert ran.returncode == SCHEDULING_ERROR
    assert "[als] has no key 'rang' (did you mean 'rank'?)" in ran.stderr


def test_unknown_section_in_luigi_cfg_is_named(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text((PROJECT / "luigi.cfg").read_text() + "\n[alss]\nrank = 5\n")
    ran = Roots(tmp_path).call(LUIGI_CONFIG_PATH=str(tmp_path / "luigi.cfg"))
    assert ran.returncode == SCHEDULING_ERROR
    assert "luigi.cfg has an unknown section [alss] (did you mean 'als'?)" in ran.stderr


def test_missing_raw_files_are_named(tmp_path: Path) -> None:
    ran = Roots(tmp_path).call("--dataset=lastfm-2k", f"--raw-dir={tmp_path}")
    assert ran.returncode == MISSING_DATA
    assert ran.stderr.startswith(f"Error: There is no user_artists.dat in {tmp_path}. Put the raw files there")


def test_missing_block_list_is_named(tmp_path: Path) -> None:
    ran = Roots(tmp_path).call("--recommend-blocked=/none.csv")
    assert ran.returncode == MISSING_DATA
    assert ran.stderr == "Error: [recommend] blocked = /none.csv cannot be read (No such file or directory).\n"


def test_unwritable_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file is in the way")
    ran = Roots(tmp_path).call()
    assert ran.returncode == SCHEDULING_ERROR
    assert ran.stderr.startswith(f"Error: {tmp_path / 'models' / 'synthetic'} cannot be written (Not a directory)")


class TestFailedStage:
    """A failed stage leaves the serving version unchanged."""

    def assert_refused(
        self, ran: subprocess.CompletedProcess[str], sentence: str, pipeline: Roots, served: str
    ) -> None:
        assert ran.returncode == TASK_FAILED
        assert sentence in ran.stderr
        assert "Traceback" not in ran.stdout + ran.stderr
        assert "Finished stages are kept" in ran.stderr.splitlines()[-1]
        assert pipeline.current() == served
        assert not list(pipeline.root.rglob("*.staging"))

    def test_broken_java_home(self, pipeline: Roots) -> None:
        served = pipeline.current()
        ran = pipeline.call("--split-seed=7", JAVA_HOME="/nowhere")
        self.assert_refused(ran, "Error: Split failed: JAVA_HOME is /nowhere, which has no bin/java", pipeline, served)

    def test_java_fails_to_start(self, pipeline: Roots, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "java").write_text("#!/bin/sh\necho no >&2\nexit 1\n")
        (tmp_path / "bin" / "java").chmod(0o755)
        served = pipeline.current()
        ran = pipeline.call("--split-seed=7", JAVA_HOME=str(tmp_path))
        self.assert_refused(ran, f"Spark's Java did not start (JAVA_HOME={tmp_path})", pipeline, served)

    def test_missing_column(self, pipeline: Roots, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        keys = {"user": "who", "track": "whta", "value": "plays", "feedback": "plays"}
        dataset = write_description(tmp_path / "synthetic.toml", **keys)
        write_csv(tmp_path, plays="who,what,plays\na,x,1\n")
        served = pipeline.current()
        ran = pipeline.run(Ingest, dataset=dataset, raw_dir=str(tmp_path))
        assert not ran.succeeded
        error = "plays.csv has no column 'whta' ([interactions] track) (did you mean 'what'?); it has plays, what, who."
        assert ran.record[-2]["error"] == error
        assert f"Error: Ingest failed: {error}" in capfd.readouterr().err
        assert pipeline.current() == served


@pytest.mark.slow
def test_killed_run_continues_from_the_last_complete_output(finished: tuple[Roots, Ran], tmp_path: Path) -> None:
    roots = Roots(tmp_path)
    work = roots.data / "work" / "synthetic"
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            roots.command("--local-scheduler"), cwd=PROJECT, stdout=output, stderr=output, start_new_session=True
        )
        eventually(lambda: list(work.glob("Split/*/" + SUCCESS)))
        eventually(lambda: list(work.glob("Train/*.staging")))
        running = find_run(roots.data / "runs")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    killed = find_run(roots.data / "runs")
    assert (running.status, killed.status) == ("running", "unfinished")
    assert running.status_counts["running"] == killed.status_counts["unfinished"] == 1
    assert not (roots.models / "synthetic" / "current").exists()
    before = {path: path.stat().st_ino for path in work.glob("*/*/" + SUCCESS)}
    ran = roots.run()
    assert ran.succeeded
    assert not {"Generate", "Ingest", "Split"} & ran.made
    assert {path: path.stat().st_ino for path in before} == before
    assert roots.current() == finished[0].current()
    assert roots.metrics() == finished[0].metrics()
    assert not list(roots.root.rglob("*.staging"))
    assert not list(roots.root.rglob("*.now*"))


@pytest.mark.slow
def test_sigterm_ends_in_order_and_names_the_next_step(tmp_path: Path) -> None:
    roots = Roots(tmp_path)
    process = subprocess.Popen(
        roots.command("--local-scheduler"), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: list((roots.data / "work" / "synthetic").glob("Ingest/*.staging")))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert "the same command continues from here" in err
    assert "Traceback" not in out + err
    assert not list(roots.root.rglob("*.staging"))


@pytest.mark.slow
def test_concurrent_promotions_of_one_version_agree(pipeline: Roots) -> None:
    version = pipeline.current()
    assert pipeline.run(settings={"recommend": {"k": 7}}).succeeded
    command = pipeline.command("--local-scheduler")
    with exclusive_lock(pipeline.models / "synthetic" / "promoting.lock"):
        both = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for process in both:
            assert process.stdout is not None
            assert "1 stage to do" in process.stdout.readline()
            assert f"Promote waits for process {os.getpid()}" in process.stdout.readline()
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("up to date" in text for text in outputs) == 1
    assert pipeline.current() == version


class TestScheduler:
    def test_run_registers_with_luigid(self, luigid: int, tmp_path: Path) -> None:
        roots = Roots(tmp_path)
        ran = subprocess.run(
            [*roots.command()[:3], "Generate", f"--scheduler-port={luigid}",
             f"--paths-data-root={roots.data}", f"--paths-models-root={roots.models}"],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0
        assert f"The task graph is at http://127.0.0.1:{luigid}/" in ran.stdout
        with urllib.request.urlopen(
            f"http://127.0.0.1:{luigid}/api/task_list?data=%7B%22status%22:%22DONE%22%7D"
        ) as answer:
            tasks = json.load(answer)["response"]
        assert [task["name"] for task in tasks.values()] == [Generate.__name__]

    def test_run_is_local_without_luigid(self, finished: tuple[Roots, Ran]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            ran = subprocess.run(
                finished[0].command(f"--scheduler-port={port}"),
                cwd=PROJECT,
                capture_output=True,
                text=True,
                check=False,
            )
        assert ran.returncode == 0
        assert f"No luigid answers at 127.0.0.1:{port}; scheduling locally." in ran.stdout


def test_terminal_shows_a_progress_bar(tmp_path: Path) -> None:
    roots = Roots(tmp_path)
    reader, writer = pty.openpty()
    command = [*roots.command()[:3], "Generate", "--local-scheduler", f"--paths-data-root={roots.data}"]
    ran = subprocess.run([*command, f"--paths-models-root={roots.models}"], cwd=PROJECT, stdout=writer, check=True)
    os.close(writer)
    shown = os.read(reader, 10_000).decode()
    os.close(reader)
    assert ran.returncode == 0
    assert "0/1 stages" in shown
    assert re.search(r"\n  Generate +\d+\.\d s +0 → 5,000 rows", shown.replace("\r", "\n"))


def test_run_continues_after_its_output_is_closed(tmp_path: Path) -> None:
    roots = Roots(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    command = [*roots.command()[:3], "Generate", "--local-scheduler", f"--paths-data-root={roots.data}"]
    command.append(f"--paths-models-root={roots.models}")
    ran = subprocess.run(command, cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(roots.data.glob("work/synthetic/Generate/*/" + SUCCESS))


def test_bar_counts_no_tasks_while_a_session_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyspark.SparkContext._active_spark_context", object())
    assert active_tasks() == (0, 0)
