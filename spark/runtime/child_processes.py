"""Kill the processes that pyspark leaves behind, and protect signal handlers from it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants."""
    kill((*descendants(pid), pid))


def kill(pids: Iterable[int]) -> None:
    """Kill processes; those that have ended are skipped."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes that descend from a process, parents before their children."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:  # it has ended, and its children have another parent now
        return []


@contextmanager
def keep_interrupt_handler() -> Iterator[None]:
    """Restore the handler of Ctrl-C after the block: pyspark's handler calls Java first, which may hang."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        # The default action means that a first interrupt is already ending the process.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_DFL:
            signal.signal(signal.SIGINT, before)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Delay signals that would end the process until the block is done.

    Masking them would not suffice, because another thread would receive them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.signal(number, lambda number, frame: received.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received_number in received:
            signal.raise_signal(received_number)
