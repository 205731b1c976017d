"""Redirect the output of Java and Spark to the run's log, with a prefix on each line and without secrets.

A separate process reads the pipe. Java therefore never waits for a busy Python, and its output after the end of the run
is kept. The reader ends when the last writer closes the pipe, so a killed run leaves no process behind.
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
    """A pipe and the process that reads it."""

    reader: subprocess.Popen[bytes]
    pipe: int
    """The end to write to; also carries changes of the prefix."""


_outputs: list[_Output] = []
"""The output that is in use, if any."""


@contextmanager
def redirect_output(log: Path | None, prefix: str, scratch: Path | None = None) -> Iterator[None]:
    """Redirect this process's standard output and error to a log while Java starts and inherits them.

    Args:
        scratch: a directory that the reader removes after Java has ended.
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
    """Change the prefix of Java's further output, and the log if one is given."""
    message = prefix.encode() + (redaction.NEW_PREFIX + os.fsencode(log) if log is not None else b"")
    for output in _outputs:
        with suppress(OSError):  # the reader has ended
            if select.select([], [output.pipe], [], 0)[1]:  # do not wait for a full pipe
                os.write(output.pipe, redaction.NEW_PREFIX + message + b"\n")


def finish_output() -> None:
    """Wait until all output of a Java that has ended is in the log."""
    while _outputs:
        output = _outputs.pop()
        os.close(output.pipe)
        try:
            output.reader.wait(timeout=10)
        except subprocess.TimeoutExpired:  # another process still has the pipe open
            output.reader.kill()
            output.reader.wait()


def _start_reader(log: Path, prefix: str, scratch: Path | None) -> int:
    """Start the reader and return the end of the pipe to write to."""
    finish_output()
    source, pipe = os.pipe()
    # Isolated and without site packages it starts in 20 ms; in a new session, Ctrl-C does not reach it.
    command = [sys.executable, "-I", "-S", redaction.__file__, str(log), prefix, *([str(scratch)] if scratch else [])]
    reader = subprocess.Popen(
        command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    os.close(source)
    _outputs.append(_Output(reader, pipe))
    return pipe
