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
from pathlib import Path
from typing import Any

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
    """The PSS of a process and all its descendants, from /proc."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += parents.get(pid, [])
        with suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
    return total


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns: text to the left, figures to the right."""
    return text_table([heading, *rows], numbers=range(1, len(heading)))
