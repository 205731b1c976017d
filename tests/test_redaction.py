"""No secret of the environment is written, printed or shown."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flask.logging import default_handler

from common import redaction
from common.errors import StoreError
from common.log_lines import LineFormatter, LinePrefix
from common.redaction import copy, redact, redact_values, secrets_of
from run_records.stage_state import StageProgress
from run_records.writer import RunRecorder, StageRecord
from spark.runtime.process_output import finish_output, redirect_output, set_line_prefix
from webapp import create_app
from workflow.reporting.console import Console

SECRET = 'p4ss"wörd/\\'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", SECRET)


@pytest.mark.parametrize(
    "name", "DB_PASSWORD MYSQL_PASSWD my_secret GITHUB_TOKEN API_KEY AWS_ACCESS_KEY_ID PRIVATE_KEY CREDENTIALS".split()
)
def test_a_name_may_suggest_a_secret(name: str) -> None:
    assert secrets_of({name: "123456", "HOME": "/home/me", "KEYBOARD": "qwertz"}) == ("123456",)


def test_short_values_are_left_alone() -> None:
    assert secrets_of({"TOKEN": "12345", "EMPTY_TOKEN": ""}) == ()


def test_the_longest_comes_first_and_each_line_counts() -> None:
    assert secrets_of({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefgh", "PRIVATE_KEY": "first line\nsecond line\n"})[-1] == (
        "abcdef"
    )
    assert "second line" in secrets_of({"PRIVATE_KEY": "first line\nsecond line\n"})


def test_a_secret_is_found_however_it_is_escaped() -> None:
    for form in (SECRET, json.dumps(SECRET), repr(SECRET), json.dumps(SECRET, ensure_ascii=False)):
        assert SECRET[:5] not in redact(f"The file /x/{form} is gone.")
    assert redact("http://me:p4ss%22w%C3%B6rd%2F%5C@host") == "http://me:***@host"


def test_without_secrets_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_PASSWORD")
    for name in [name for name in os.environ if secrets_of({name: "123456"})]:
        monkeypatch.delenv(name)
    assert redact(SECRET) == SECRET


def test_of_what_json_can_hold_every_text_is_redacted() -> None:
    value = {SECRET: [SECRET, 1, None, True, {"x": (f"a {SECRET} b",)}]}
    assert redact_values(value) == {"***": ["***", 1, None, True, {"x": ["a *** b"]}]}


def test_a_run_record_holds_none(tmp_path: Path) -> None:
    record = RunRecorder(tmp_path / "r.jsonl", "r", "d", settings={"paths": {"data_root": f"/{SECRET}"}})
    line = StageRecord("r", "Split", None, "f", "failed", "now", error=f"{SECRET} is wrong.")
    record.write_progress("Split", StageProgress(note=f"reads {SECRET}"))
    assert json.loads((tmp_path / "r.now").read_text())["doing"] == "reads ***"
    record.end_stage(line)
    record.finish("failed", None)
    first, stage, _ = (json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines())
    assert first["settings"] == {"paths": {"data_root": "/***"}}
    assert stage["error"] == "*** is wrong."


def test_the_terminal_shows_none(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.info(f"in /{SECRET}")
    console.error(f"{SECRET} is wrong.")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("in /***\n", "Error: *** is wrong.\n")


def test_every_line_of_a_log_has_its_run_and_stage_and_no_secret() -> None:
    prefix = LinePrefix("run-1")
    prefix.stage = "Train als"
    formatter = LineFormatter("%(levelname)s: %(message)s", prefix)
    try:
        raise ValueError(SECRET)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "over\ntwo lines", (), sys.exc_info())
    lines = formatter.format(record).splitlines()
    assert lines[0] == "run-1 Train:als ERROR: over"
    assert lines[-1] == "run-1 Train:als ValueError: ***"
    assert all(line.startswith("run-1 Train:als ") for line in lines)
    prefix.stage = "-"
    assert formatter.format(record).startswith("run-1 - ERROR")


def test_what_is_copied_gets_the_prefix_of_the_moment(tmp_path: Path) -> None:
    source = io.BytesIO(f"one {SECRET}\n".encode() + redaction.NEW_PREFIX + b"run Split \ntwo\nnot ended \xff".strip())
    copy(source, tmp_path / "log", "run - ")
    assert (tmp_path / "log").read_text() == "run - one ***\nrun Split two\nrun Split not ended \ufffd\n"


def test_what_is_copied_goes_into_the_log_of_the_moment(tmp_path: Path) -> None:
    mark_of_next = redaction.NEW_PREFIX.join([b"", b"two - ", os.fsencode(tmp_path / "next")])
    copy(
        io.BytesIO(b"1\n" + mark_of_next + b"\n2\n" + redaction.NEW_PREFIX + b"two Split \n3\n"),
        tmp_path / "log",
        "one - ",
    )
    assert (tmp_path / "log").read_text() == "one - 1\n"
    assert (tmp_path / "next").read_text() == "two - 2\ntwo Split 3\n"


def test_the_page_and_its_log_show_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    (models / "d").mkdir(parents=True)
    app = create_app(models, tmp_path, {"TOKEN": "for these tests only"})

    @app.get("/broken")
    def broken() -> str:
        raise StoreError(f"{SECRET} cannot be read.")

    @app.get("/bug")
    def bug() -> str:
        raise KeyError(SECRET)

    monkeypatch.setattr(app.logger, "handlers", [default_handler])
    owner = {"Authorization": "Bearer for these tests only"}  # routes that nobody knows are the owner's
    assert "*** cannot be read." in app.test_client().get("/broken", headers=owner).text
    assert app.test_client().get("/bug", headers=owner).status_code == 500
    said = capfd.readouterr().err
    assert "KeyError: " in said
    assert SECRET not in said
    assert json.dumps(SECRET)[1:-1] not in said


class TestWhatJavaPrints:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leaves the output of the tests' own session alone."""
        monkeypatch.setattr("spark.runtime.process_output._outputs", [])

    def test_is_all_in_the_log_in_the_end(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        script = f"for i in $(seq 20000); do echo line $i {SECRET!r}; done; echo last >&2"
        with redirect_output(tmp_path / "log", "run Split "):
            process = subprocess.Popen(["sh", "-c", script])
        print("back on the terminal")
        assert process.wait() == 0
        set_line_prefix("run - ")
        finish_output()
        lines = (tmp_path / "log").read_text().splitlines()
        assert lines[0] == "run Split line 1 ***"
        assert lines[-1] == "run Split last"
        assert len(lines) == 20_001
        assert capfd.readouterr().out == "back on the terminal\n"

    def test_ends_nobody_when_the_reader_is_gone(self, tmp_path: Path) -> None:
        from spark.runtime import process_output

        with redirect_output(tmp_path / "log", ""):
            process = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(1)\nfor i in range(9999): print('x' * 99)"],
                stderr=subprocess.DEVNULL,
            )
        (opened,) = process_output._outputs
        opened.reader.kill()
        opened.reader.wait()
        set_line_prefix("run - ")
        process.wait(timeout=30)  # the write fails, which Java takes calmly; it does not wait for ever
        finish_output()
