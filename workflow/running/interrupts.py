"""Ctrl-C and SIGTERM: the first signal shuts a run down cleanly, the second kills it at once."""

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

_REPEAT_DELAY_S = 0.1
"""Delay before a dropped interrupt is sent again."""


def install_handlers() -> None:
    """Make both signals raise KeyboardInterrupt in the main thread, which alone receives signals."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        _handle_unless_ignored(number, _interrupt)
    sys.excepthook = _print_exception
    if getattr(sys.unraisablehook, "func", None) is not _repeat_interrupt:
        sys.unraisablehook = partial(_repeat_interrupt, os.getpid(), sys.unraisablehook)


def _interrupt(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt. The next signal ends the process at once; its Java notices that and ends as well."""
    for number in _SIGNALS:
        _handle_unless_ignored(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _handle_unless_ignored(number: int, handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Set a signal handler, unless the parent process has the signal ignored, as for a background job."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def _repeat_interrupt(
    process: int, default_hook: Callable[[UnraisableHookArgs], Any], dropped: UnraisableHookArgs
) -> None:
    """Resend an interrupt that Python has dropped, as it drops exceptions raised during a fork."""
    if dropped.exc_type is not KeyboardInterrupt:
        default_hook(dropped)
    elif os.getpid() == process:  # not in a child that is about to exec
        signal.signal(signal.SIGINT, _interrupt)
        main_thread = threading.main_thread().ident
        threading.Timer(_REPEAT_DELAY_S, signal.pthread_kill, (main_thread, signal.SIGINT)).start()


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an uncaught exception without secrets; none for an interrupt."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
