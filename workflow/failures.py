"""What can go wrong with a stage: what may pass, what to say of it, and an end for what hangs."""

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
_AGAIN_S = 5.0


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: Java, an executor or a worker was lost, or a disk full; nothing given is wrong."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"ConnectionError", "Py4JNetworkError"} or is_disk_full(error):
        return True
    return "Py4JError" in kinds and any(sign in str(error) for sign in _LOST)


def failure_message(error: BaseException, log: Path, place: Path | None = None) -> str:
    """One sentence for the error that ended a stage, or a run before its first stage.

    Args:
        log: the run's log, where the traceback is.
        place: where the stage writes its result.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted; the same command goes on from here."
    if is_disk_full(error):
        return f"{describe_full_disk(error, place or log)}. {FREE_SPACE_HINT}"
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


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
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
            from spark.runtime.session import kill_session

            kill_session()
        told = f"it took longer than [spark_session] stage_timeout = {seconds:g} seconds, and was ended."
        raise UserError(told) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _LateError(BaseException):
    """Not an Exception, so that nothing on the way takes it for a failure of its own."""
