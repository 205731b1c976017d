"""luigid, the scheduler with a web page: start it, find it, and report the progress of a stage to it."""

from __future__ import annotations

import argparse
import html
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import luigi
from luigi import interface
from luigi.configuration import get_config

from common.errors import UserError
from run_records.stage_state import StageProgress

_MIN_INTERVAL_S = 1.0
"""Minimum seconds between two progress messages."""


def run(options: argparse.Namespace) -> str:
    """The command `luigid`: run luigid until it is interrupted.

    Raises:
        UserError: the address cannot be listened on.
    """
    try:
        socket.create_server((options.address, options.port)).close()
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UserError(f"luigid cannot listen on {options.address}, port {options.port}: {reason}.") from error
    page = f"http://{options.address}:{options.port}/"
    print(f"luigid shows the task graph of runs with SCHEDULER=luigid at {page}", flush=True)
    print(f"and finished tasks at {page}history (stop it with Ctrl-C).", flush=True)
    _serve(options.address, options.port, options.data / "luigid")
    return ""


def _serve(address: str, port: int, directory: Path) -> None:
    """Run luigid until it is interrupted. It keeps its state and the task history in the directory.

    Its page `/metrics` counts tasks for Prometheus.
    """
    from luigi.cmdline import luigid

    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    history = f"sqlite:///{directory / 'history.sqlite'}"
    get_config().set("scheduler", "record_task_history", "true")
    # Not in luigi.cfg, because the scheduler of each local run would load it.
    get_config().set("scheduler", "metrics_collector", "prometheus")
    get_config().set("task_history", "db_connection", history.replace("%", "%%"))
    state = str(directory / "state.pickle").replace("%", "%%")
    luigid(["--address", address, "--port", str(port), "--state-path", state])


def luigid_url() -> str:
    """The URL of luigid, from luigi.cfg or the command line."""
    options = interface.core()
    return options.scheduler_url or f"http://{options.scheduler_host}:{options.scheduler_port}"


def is_listening(url: str) -> bool:
    """Whether a server accepts connections at the URL within a second."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "localhost", parts.port or 8082), timeout=1).close()
    except OSError:
        return False
    return True


class StatusReporter:
    """Reports one stage to luigid: at most once a second, only changes, and ignoring errors."""

    def __init__(self, stage: luigi.Task, label: str, inputs: str) -> None:
        """`label` and `inputs`, a description of the stage's inputs, are in each message."""
        self._set_message: Callable[[str], None] | None = stage.set_status_message
        self._set_percentage: Callable[[int], None] | None = stage.set_progress_percentage
        self._set_link: Callable[[str], None] | None = stage.set_tracking_url
        self._label, self._inputs = label, inputs
        self._last: tuple[str, int | None] = ("", None)
        self._next_report = 0.0

    def show(self, state: StageProgress) -> None:
        """Report the state, unless the last report was less than a second ago."""
        if time.monotonic() >= self._next_report:
            self._report(": ".join(part for part in (self._label, state.words) if part), state.percentage)

    def end(self, result: str, percentage: int | None) -> None:
        """Report the result, and remove the link to Spark's page, which ends with the run."""
        self._report(f"{self._label}: {result}", percentage)
        if self._set_link is not None:
            with suppress(Exception):
                self._set_link("")

    def _report(self, message: str, percentage: int | None) -> None:
        text = html.escape("\n".join(part for part in (message, self._inputs) if part))
        last, self._last = self._last, (text, percentage)
        if last == self._last or self._set_message is None or self._set_percentage is None:
            return
        self._next_report = time.monotonic() + _MIN_INTERVAL_S
        with suppress(Exception):  # an unreachable luigid must not fail the stage
            if text != last[0]:
                self._set_message(text)
            if percentage is not None and percentage != last[1]:
                self._set_percentage(percentage)
