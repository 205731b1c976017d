"""What can go wrong with a stage: what may pass, what to say of it, and an end for what hangs."""

from __future__ import annotations

import errno
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from config.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORKER_LOST = ("Python worker exited unexpectedly", "reading the port number from pyspark.daemon")
_LOST = ("Answer from Java side is empty", "ExecutorLostFailure", "SparkContext was shut down", *_WORKER_LOST)
_AGAIN_S = 5.0
_JAVA_S_FULL = "No space left on device"


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: Java, an executor or a worker was lost, or a disk full; nothing given is wrong."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"ConnectionError", "Py4JNetworkError"} or is_full(error):
        return True
    return "Py4JError" in kinds and any(sign in str(error) for sign in _LOST)


def is_full(error: BaseException) -> bool:
    """Whether a disk had no room, for Python, SQLite or Java."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return "Py4JError" in {kind.__name__ for kind in type(error).__mro__} and _JAVA_S_FULL in str(error)


def sentence(error: BaseException, log: Path) -> str:
    """One sentence for whatever ended a stage."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted; the same command goes on from here."
    if is_full(error):
        place = str(getattr(error, "filename", None) or log.parent)
        return (
            f"the disk of {place} is full: it needs more than the {_free(place):,} bytes that are free there. "
            "Free some; the same command goes on from here."
        )
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    if any(sign in str(error) for sign in _WORKER_LOST):
        return (
            "a Python process of Spark was ended from outside, as where memory runs out: free some; "
            f"the same command goes on from here (the traceback is in {log})."
        )
    lines = [*str(error).strip().splitlines(), "no message"]
    first = lines[1].removeprefix(": ") if lines[0].startswith("An error occurred while calling") else lines[0]
    return f"{type(error).__name__}: {first} (the traceback is in {log})"


def _free(place: str) -> int:
    """Bytes that are free where a path is, or would be."""
    path = Path(place)
    return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Ends what takes longer, its Java and all who work for it included. Luigi's own timeout would fork.

    Args:
        seconds: 0 is never. Outside of the main thread, which alone hears signals, it is never too.

    Raises:
        UserError: it took longer.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    # Again and again: Python drops what a signal raises in some places, such as beside a fork.
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    except _LateError:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if "pyspark" in sys.modules:
            from spark.session import kill_session

            kill_session()
        told = f"it took longer than [spark_session] stage_timeout = {seconds:g} seconds, and was ended."
        raise UserError(told) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _LateError(BaseException):
    """Not an Exception, so that nothing on the way takes it for a failure of its own."""
