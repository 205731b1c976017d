"""Shared by the benchmarks: processes with their duration and peak memory, and a table of results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from common.terminal import text_table
from config.paths import PROJECT

_SAMPLE_S = 0.5


@dataclass(frozen=True)
class Measured:
    """The measurements of a process."""

    seconds: float
    """Wall-clock time of the whole process."""
    peak_bytes: int
    """Peak of the summed proportional set sizes (PSS) of the process and its descendants, sampled twice a second."""
    said: dict[str, Any]
    """The JSON object in the last line of its output; empty if the line is not JSON."""


def measured(command: Sequence[str], **environment: str) -> Measured:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(_SAMPLE_S):
            peak = max(peak, tree_bytes(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    ended.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output}")
    said = {}
    with suppress(ValueError, IndexError):
        said = json.loads(output.strip().splitlines()[-1])
    return Measured(seconds, peak, said if isinstance(said, dict) else {})


def tree_bytes(root: int) -> int:
    """Return the summed PSS of a process and all its descendants."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended, or belongs to another user
                total += member.memory_full_info().pss
    return total


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns: text to the left, figures to the right."""
    return text_table([heading, *rows], numbers=range(1, len(heading)))
