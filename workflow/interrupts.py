"""Ctrl-C and SIGTERM: they end a run in order, and a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from common.redaction import redact

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_SOON_S = 0.1
"""After so long, an interrupt that Python dropped comes once more."""


def end_in_order() -> None:
    """From now on, both raise KeyboardInterrupt, wherever the process is. Only a process's main thread hears them."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        _unless_ignored(number, _interrupt)
    sys.excepthook = _say_accidents
    if getattr(sys.unraisablehook, "func", None) is not _interrupt_again:
        sys.unraisablehook = partial(_interrupt_again, os.getpid(), sys.unraisablehook)


def _interrupt(signal_number: int, frame: FrameType | None) -> NoReturn:
    """The next one ends the process at once; Java notices, and ends as well."""
    for number in _SIGNALS:
        _unless_ignored(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _unless_ignored(number: int, handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Sets what a signal does, unless whoever started the process wants it ignored, as in a script's background."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def _interrupt_again(process: int, otherwise: Callable[[UnraisableHookArgs], Any], dropped: UnraisableHookArgs) -> None:
    """Python drops what is raised in some places, such as beside a fork: there, an interrupt comes once more."""
    if dropped.exc_type is not KeyboardInterrupt:
        otherwise(dropped)
    elif os.getpid() == process:  # and no child that is about to become something else
        signal.signal(signal.SIGINT, _interrupt)
        threading.Timer(_SOON_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()


def _say_accidents(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What was asked for is no accident: it gets no traceback."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
