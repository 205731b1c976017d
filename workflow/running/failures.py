"""Failures of a stage: which are transient, the sentence for the user, and the time limit."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from common.errors import UserError
from common.full_disk import FREE_SPACE_HINT, describe_full_disk, is_disk_full

_WORKER_LOST = ("Python worker exited unexpectedly", "reading the port number from pyspark.daemon")
_LOST = ("Answer from Java side is empty", "ExecutorLostFailure", "SparkContext was shut down", *_WORKER_LOST)
_ALARM_INTERVAL_S = 5.0


def is_transient(error: BaseException) -> bool:
    """Whether a retry may help: the JVM, an executor or a worker was lost, or a disk was full."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"ConnectionError", "Py4JNetworkError"} or is_disk_full(error):
        return True
    return "Py4JError" in kinds and any(text in str(error) for text in _LOST)


def failure_message(error: BaseException, log: Path, place: Path | None = None) -> str:
    """One sentence for the error that ended a stage, or a run before its first stage.

    Args:
        log: the run's log, which has the traceback.
        place: where the stage writes its result.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted; the same command continues from here."
    if is_disk_full(error):
        return f"{describe_full_disk(error, place or log)}. {FREE_SPACE_HINT}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    if any(text in str(error) for text in _WORKER_LOST):
        return (
            "a Python worker of Spark was killed, probably because the machine ran out of memory: free some memory; "
            f"the same command continues from here (the traceback is in {log})."
        )
    lines = [*str(error).strip().splitlines(), "no message"]
    first = lines[1].removeprefix(": ") if lines[0].startswith("An error occurred while calling") else lines[0]
    return f"{type(error).__name__}: {first} (the traceback is in {log})"


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after a time, and kill the Spark session. Luigi's own timeout would fork the process.

    Args:
        seconds: 0 for no limit. Outside the main thread, which alone receives signals, the limit has no effect.

    Raises:
        UserError: the block took longer.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TimeLimitReached

    previous = signal.signal(signal.SIGALRM, interrupt)
    # The alarm repeats: Python drops an exception raised in some places, such as during a fork.
    signal.setitimer(signal.ITIMER_REAL, seconds, _ALARM_INTERVAL_S)
    try:
        yield
    except _TimeLimitReached:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if "pyspark" in sys.modules:
            from spark.runtime.session import kill_session

            kill_session()
        message = f"it took longer than [spark_session] stage_timeout = {seconds:g} seconds, and was stopped."
        raise UserError(message) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class _TimeLimitReached(BaseException):
    """Not an Exception, so that no `except Exception` catches it."""
