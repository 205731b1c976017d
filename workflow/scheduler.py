"""The scheduler with a page: starting it, telling it how far a stage is, and doing without it when it goes away."""

from __future__ import annotations

import html
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi
from luigi import interface, rpc, scheduler
from luigi.configuration import get_config
from luigi.scheduler import RPC_METHODS
from luigi.task_status import RUNNING

from run_records.stage_state import StageProgress

_EVERY_S = 1.0
"""luigid is told at most so often."""

_REMEMBERED = ("add_worker", "add_task")
"""The calls that make up what a scheduler knows of a run."""

_WAIT_S = 1
"""Seconds between two of the three tries to reach luigid: enough for one that is started again."""


def serve(address: str, port: int, directory: Path) -> None:
    """Runs luigid until it is interrupted; its state and the history of tasks are kept in the directory.

    Its page /metrics counts tasks for Prometheus.
    """
    from luigi.cmdline import luigid

    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    history = f"sqlite:///{directory / 'history.sqlite'}"
    get_config().set("scheduler", "record_task_history", "true")
    # Not in luigi.cfg: the scheduler of each local run would load it, too, for nobody.
    get_config().set("scheduler", "metrics_collector", "prometheus")
    get_config().set("task_history", "db_connection", history.replace("%", "%%"))
    state = str(directory / "state.pickle").replace("%", "%%")
    luigid(["--address", address, "--port", str(port), "--state-path", state])


class Reporter:
    """Tells luigid of one stage: now and then, only what has changed, and whether it listens or not."""

    def __init__(self, stage: luigi.Task, label: str, reads: str) -> None:
        """`label` and `reads`, what it works on, are said in each message."""
        self._say: Callable[[str], None] | None = stage.set_status_message
        self._fill: Callable[[int], None] | None = stage.set_progress_percentage
        self._link: Callable[[str], None] | None = stage.set_tracking_url
        self._label, self._reads = label, reads
        self._told: tuple[str, int | None] = ("", None)
        self._next = 0.0

    def show(self, state: StageProgress) -> None:
        """Passes the state on, unless that was done a moment ago."""
        if time.monotonic() >= self._next:
            self._tell(": ".join(part for part in (self._label, state.words) if part), state.percentage)

    def ended(self, result: str, percentage: int | None) -> None:
        """The last message. The link leads nowhere when Spark has gone, which it does with the run."""
        self._tell(f"{self._label}: {result}", percentage)
        if self._link is not None:
            with suppress(Exception):
                self._link("")

    def _tell(self, message: str, percentage: int | None) -> None:
        text = html.escape("\n".join(part for part in (message, self._reads) if part))
        told, self._told = self._told, (text, percentage)
        if told == self._told or self._say is None or self._fill is None:
            return
        self._next = time.monotonic() + _EVERY_S
        with suppress(Exception):  # a page that cannot be told is no reason to fail
            if text != told[0]:
                self._say(text)
            if percentage is not None and percentage != told[1]:
                self._fill(percentage)


class FailoverScheduler:
    """A luigid as long as it answers, and after that a scheduler of our own that knows what luigid was told.

    Without it a run would fail when somebody closes the page that it is watched on.
    """

    def __init__(self, remote: Any, say: Callable[[str], None]) -> None:
        """`say` is given the sentence when luigid has gone."""
        self._scheduler, self._say = remote, say
        self._lasting = False
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """A scheduler's method, by its name."""
        return self._relay(name) if name in RPC_METHODS else getattr(self._scheduler, name)

    def _relay(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            asked = self._scheduler
            try:
                answer = getattr(asked, name)(*arguments, **named)
            except (rpc.RPCError, OSError, HTTPException, ValueError) as error:
                if self._lasting and asked is self._scheduler:
                    raise
                self._go_on_alone(error)
                answer = getattr(self._scheduler, name)(*arguments, **named)
            if name in _REMEMBERED and named.get("status") != RUNNING:  # that one only brings a link
                self._calls.append((name, arguments, named))
            return answer

        return call

    def _go_on_alone(self, error: Exception) -> None:
        with self._lock:
            if self._lasting:
                return
            logging.getLogger(__name__).warning("luigid does not answer any more", exc_info=error)
            own = scheduler.Scheduler(prune_on_get_work=True, record_task_history=False)
            for name, arguments, named in self._calls:
                getattr(own, name)(*arguments, **named)
            self._scheduler, self._lasting = own, True
        self._say("luigid does not answer any more; the run goes on without it.")


def answers(url: str) -> bool:
    """Whether a luigid does, within a second. Without one Luigi tries for a minute and a half, and fails."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "localhost", parts.port or 8082), timeout=1).close()
    except OSError:
        return False
    return True


def url_of_luigid() -> str:
    """Where luigi.cfg or the command line says that it is."""
    options = interface.core()
    return options.scheduler_url or f"http://{options.scheduler_host}:{options.scheduler_port}"


def schedule_alone(say: Callable[[str], None]) -> None:
    """Says that no luigid answers, and has Luigi use a scheduler in this process."""
    get_config().set("core", "local_scheduler", "true")
    say(f"No luigid answers at {url_of_luigid().removeprefix('http://')}; scheduling locally.")


def enable_failover(say: Callable[[str], None]) -> None:
    """Makes what this process runs go on when luigid goes away, or is not there. Luigi offers no other place for it."""

    def create(factory: Any, url: str) -> Any:
        if not answers(url):
            schedule_alone(say)
            return factory.create_local_scheduler()
        remote = rpc.RemoteScheduler(url)
        remote._rpc_retry_wait = _WAIT_S
        return FailoverScheduler(remote, say)

    interface._WorkerSchedulerFactory.create_remote_scheduler = create  # type: ignore[method-assign]
