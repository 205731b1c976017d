"""Choose the scheduler of a run, and replace luigid by a local scheduler if it stops answering."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from luigi import interface, rpc, scheduler
from luigi.configuration import get_config
from luigi.scheduler import RPC_METHODS
from luigi.task_status import RUNNING

from workflow.reporting.next_steps import task_graph_address
from workflow.scheduler.luigi_internals import remote_scheduler, replace_remote_scheduler
from workflow.scheduler.luigid import is_listening, luigid_url

_REPLAYED = ("add_worker", "add_task")
"""The calls that transfer the complete state of a run to a scheduler."""


def choose_scheduler(inform: Callable[[str], None]) -> bool:
    """Use luigid if it answers and the local scheduler otherwise; return whether luigid is used.

    Luigi alone would retry for a minute and a half and then fail.

    Args:
        inform: prints a line.
    """
    if interface.core().local_scheduler:
        return False
    if not is_listening(luigid_url()):
        _schedule_locally(inform)
        return False
    enable_failover(inform)
    inform(f"The task graph is at {task_graph_address(luigid_url())}")
    return True


def enable_failover(inform: Callable[[str], None]) -> None:
    """Make this process continue with a local scheduler if luigid does not answer, now or later."""

    def create(url: str) -> FailoverScheduler | None:
        if not is_listening(url):
            _schedule_locally(inform)
            return None
        return FailoverScheduler(remote_scheduler(url), inform)

    replace_remote_scheduler(create)


def _schedule_locally(inform: Callable[[str], None]) -> None:
    get_config().set("core", "local_scheduler", "true")
    inform(f"No luigid answers at {luigid_url().removeprefix('http://')}; scheduling locally.")


class FailoverScheduler:
    """Relay calls to luigid while it answers, then to a local scheduler that has received the same calls.

    Without it, a run fails when luigid is stopped.
    """

    def __init__(self, remote: Any, inform: Callable[[str], None]) -> None:
        """`inform` prints a line when luigid stops answering."""
        self._scheduler, self._inform = remote, inform
        self._is_local = False
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """A method of the current scheduler."""
        return self._relay(name) if name in RPC_METHODS else getattr(self._scheduler, name)

    def _relay(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            current = self._scheduler
            try:
                result = getattr(current, name)(*args, **kwargs)
            except (rpc.RPCError, OSError, HTTPException, ValueError) as error:
                if self._is_local and current is self._scheduler:
                    raise
                self._fail_over(error)
                result = getattr(self._scheduler, name)(*args, **kwargs)
            if name in _REPLAYED and kwargs.get("status") != RUNNING:  # RUNNING only adds the tracking URL
                self._calls.append((name, args, kwargs))
            return result

        return call

    def _fail_over(self, error: Exception) -> None:
        with self._lock:
            if self._is_local:
                return
            logging.getLogger(__name__).warning("luigid does not answer any more", exc_info=error)
            local = scheduler.Scheduler(prune_on_get_work=True, record_task_history=False)
            for name, args, kwargs in self._calls:
                getattr(local, name)(*args, **kwargs)
            self._scheduler, self._is_local = local, True
        self._inform("luigid does not answer any more; the run continues without it.")
