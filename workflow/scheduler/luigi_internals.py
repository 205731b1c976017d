"""The private parts of Luigi that this project uses, tested with Luigi 3.8.1 (tests/test_luigi_internals.py).

The `luigi` command does not accept a scheduler. The only public way, `luigi.build(worker_scheduler_factory=…)`, would
require a separate command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luigi import interface, rpc

TESTED_VERSION = "3.8.1"

_RETRY_WAIT_S = 1
"""Seconds between the three attempts to reach luigid: enough for a restart. Luigi's default is 30."""


def remote_scheduler(url: str) -> Any:
    """Luigi's client of luigid, with short waits between its attempts.

    The option `[core] rpc-retry-wait` would do the same, but Luigi warns that no parameter consumes it.
    """
    remote = rpc.RemoteScheduler(url)
    remote._rpc_retry_wait = _RETRY_WAIT_S
    return remote


def replace_remote_scheduler(create: Callable[[str], Any | None]) -> None:
    """Let the `luigi` command use the scheduler that `create` returns for luigid's URL; for None, a local one."""

    def create_remote_scheduler(factory: Any, url: str) -> Any:
        scheduler = create(url)
        return factory.create_local_scheduler() if scheduler is None else scheduler

    interface._WorkerSchedulerFactory.create_remote_scheduler = create_remote_scheduler  # type: ignore[method-assign]
