"""Mails about failures, as a server gets them: one each, that says what failed and where the log is, and no secret."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest
from support.pipeline import Roots, Sections, unreadable
from support.processes import unused_port

from common.errors import UserError
from workflow import Generate, RecommendAll
from workflow.stage import RowCounts

SECRET = "correct-horse"
RECEIVER = "data-team@example.org"

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
"""Luigi leaves closing its connection to the garbage collector."""


class _Talk(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to get rid of its mails."""

    def handle(self) -> None:
        self._say("220 a sink")
        while line := self.rfile.readline():
            if line[:4].upper() != b"DATA":
                self._say("250 well")
                continue
            self._say("354 go on")
            lines = list(iter(self.rfile.readline, b".\r\n"))
            cast("Server", self.server).mails.append(
                cast("EmailMessage", message_from_bytes(b"".join(lines), policy=policy.default))
            )
            self._say("250 kept")

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


class Server(socketserver.ThreadingTCPServer):
    """A mail server on loopback that keeps what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.mails: list[EmailMessage] = []

    @property
    def settings(self) -> Sections:
        """What makes Luigi send mails there, also from a terminal."""
        port = self.server_address[1]
        return {"email": {"receiver": RECEIVER, "force_send": "true"}, "smtp": {"host": "127.0.0.1", "port": port}}

    @property
    def flags(self) -> list[str]:
        """The same for the command line, whose output is no terminal."""
        return [f"--email-receiver={RECEIVER}", "--smtp-host=127.0.0.1", f"--smtp-port={self.server_address[1]}"]


@pytest.fixture
def server() -> Iterator[Server]:
    """A mail server that runs while the test does."""
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()


def text_of(mail: EmailMessage) -> str:
    """Everything that a reader sees, and its headers."""
    (part,) = [part for part in mail.walk() if not part.is_multipart()]
    return f"{mail}\n{part.get_content()}"


def test_failed_run_sends_one_mail_without_secrets(server: Server, tmp_path: Path) -> None:
    """The secret is in a parameter, on the command line, and in Java's traceback, all of which Luigi would send."""
    roots, where = Roots(tmp_path / "own"), unreadable(tmp_path, tmp_path / SECRET)
    ran = roots.call(*where, *server.flags, STORAGE_PASSWORD=SECRET)
    assert ran.returncode == 30
    assert "Warning" not in ran.stderr
    (mail,) = server.mails
    assert (mail["Subject"], mail["To"]) == ("Encore: Ingest of mine failed", RECEIVER)
    text = text_of(mail)
    (log,) = roots.data.glob("runs/mine/*.log")
    (sentence,) = [line for line in ran.stderr.splitlines() if "Ingest failed: " in line]
    assert sentence.removeprefix("Error: ") in text.splitlines()
    assert f"Log:     {log}" in text.splitlines()
    assert log.stem in text
    assert SECRET not in text
    assert "Traceback" not in text
    assert "--smtp-host" not in text


def test_user_error_is_quoted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(self: Generate, *, into: Path, **inputs: Path) -> RowCounts:
        raise UserError("The moon is full: wait.")

    monkeypatch.setattr(Generate, "make", make)
    assert not Roots(tmp_path).run(settings=server.settings).succeeded
    (mail,) = server.mails
    assert mail["Subject"] == "Encore: Generate of synthetic failed"
    assert "\nGenerate failed: The moon is full: wait.\n" in text_of(mail)


def test_run_that_cannot_start_sends_a_mail(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        Roots(tmp_path).run(settings=server.settings, dataset="synthetic", raw_dir=str(tmp_path))
    assert ended.value.code == 35
    (mail,) = server.mails
    assert mail["Subject"] == "Encore: the run of synthetic could not start"
    assert "synthetic is generated" in text_of(mail)


def test_no_mail_without_a_receiver(server: Server, tmp_path: Path) -> None:
    settings = server.settings | {"email": {"force_send": "true"}}
    with pytest.raises(SystemExit):
        Roots(tmp_path).run(settings=settings, dataset="synthetic", raw_dir=str(tmp_path))
    assert not server.mails


def test_unreachable_mail_server_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(self: Generate, *, into: Path, **inputs: Path) -> RowCounts:
        raise UserError("The moon is full: wait.")

    monkeypatch.setattr(Generate, "make", make)
    gone = {"email": {"receiver": RECEIVER, "force_send": "true"}, "smtp": {"host": "127.0.0.1", "port": unused_port()}}
    ran = Roots(tmp_path).run(RecommendAll, settings=gone)
    assert ran.statuses == {"Generate": "failed"}
    assert ran.record[-1]["event"] == "run_finished"
