"""What Java and Spark print: into the run's log, each line with its prefix, and without secrets.

A process of its own reads the pipe. So Java never waits for a busy Python, its last words are kept when the run ends
before it does, and a run that is killed leaves nothing behind: the reader ends when nobody is left who could write.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common import redaction


@dataclass
class _Output:
    """A pipe and its reader."""

    reader: subprocess.Popen[bytes]
    pipe: int
    """Our end of it, through which the reader is told the prefix."""


_outputs: list[_Output] = []
"""The one that is in use, if any."""


@contextmanager
def redirect_output(log: Path | None, prefix: str, scratch: Path | None = None) -> Iterator[None]:
    """Points the process's standard output and error at a log while Java starts, which inherits them.

    Args:
        scratch: a directory of that Java's own, which is removed when it has ended, in whatever way.
    """
    if log is None:
        yield
        return
    pipe = _start_reader(log, prefix, scratch)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    try:
        yield
    finally:
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)


def set_line_prefix(prefix: str, log: Path | None = None) -> None:
    """From here on, what Java prints gets this prefix; and goes into this log, where one is given."""
    told = prefix.encode() + (redaction.NEW_PREFIX + os.fsencode(log) if log is not None else b"")
    for output in _outputs:
        with suppress(OSError):  # without a reader
            if select.select([], [output.pipe], [], 0)[1]:  # a prefix is not worth waiting for
                os.write(output.pipe, redaction.NEW_PREFIX + told + b"\n")


def finish_output() -> None:
    """Waits until everything that was printed by a Java which has ended is in the log."""
    while _outputs:
        output = _outputs.pop()
        os.close(output.pipe)
        try:
            output.reader.wait(timeout=10)
        except subprocess.TimeoutExpired:  # somebody outlived Java and has the pipe open
            output.reader.kill()
            output.reader.wait()


def _start_reader(log: Path, prefix: str, scratch: Path | None) -> int:
    """Starts the reader, after that of a Java which has died; returns the end of the pipe to write to."""
    finish_output()
    source, pipe = os.pipe()
    # Isolated and without packages it starts in a fiftieth of a second; in a session of its own, Ctrl-C misses it.
    command = [sys.executable, "-I", "-S", redaction.__file__, str(log), prefix, *([str(scratch)] if scratch else [])]
    reader = subprocess.Popen(
        command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    os.close(source)
    _outputs.append(_Output(reader, pipe))
    return pipe
