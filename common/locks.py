"""File locks between processes (`flock`), which the system releases when the process ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.dates import utc_now

LOCK = ".lock"
"""Suffix of the lock file of a directory."""


def lock_path(final: Path) -> Path:
    """The lock file that a process holds while it writes `final`."""
    return final.with_name(final.name + LOCK)


@contextmanager
def exclusive_lock(path: Path, waiting_for: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold an exclusive lock on a file. The file stays afterwards, because unlinking a lock file would race.

    Args:
        waiting_for: called once with the pid, host and start of the holder if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting_for(file.read().strip() or "another process")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {utc_now()}\n")
        file.flush()
        yield


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock if no other process does, without waiting; yield whether it is held."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
