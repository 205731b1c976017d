"""Run a command and list its steps that change the disk, or inject a fault at one of them.

python tests/faults/victim.py '{"root": …, "list": file}' COMMAND ARGUMENTS
python tests/faults/victim.py '{"root": …, "at": [stage, step], "fault": "kill" or "full"}' COMMAND ARGUMENTS

COMMAND is `luigi`, or `models` or `workflow` with one of their commands, which counts as a stage.

A step is an operation of the interpreter below `root`: opening a file for writing; creating, renaming, linking or
removing an entry; forcing it to the disk; or the start or end of a stage's work, most of which Java writes. The steps
are observed with the interpreter's audit hooks, so that the project's code does not depend on them.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from luigi.cmdline import luigi_run

import models.__main__
import workflow.__main__
from common import directories
from common.log_lines import NO_STAGE
from run_records import writer
from workflow import stage, tasks
from workflow.running import recording

COMMANDS = {"luigi": luigi_run, "models": models.__main__.main, "workflow": workflow.__main__.main}

NAMES = (
    (re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}"), "RUN"), (re.compile(r"[0-9a-f]{16}"), "FINGERPRINT"),
    (re.compile(r"part-\d+[^/]*"), "PART"), (re.compile(r"\bscratch/[^/]+"), "scratch/OWN"),
    (re.compile(r"\bscratch/OWN/.+"), "scratch/OWN/FILE"), (re.compile(r"\btmp\w{8}\b"), "TMP"),
    (re.compile(r"\d{3,}"), "N"),
)  # fmt: skip
"""Patterns of names that differ between runs, with their replacements."""

_CHANGING = {"os.rename": "rename", "os.mkdir": "make directory", "os.remove": "remove", "os.rmdir": "remove directory",
             "os.link": "link", "os.truncate": "truncate"}  # fmt: skip
_FREEING = ("remove", "remove directory", "truncate", "stage")
"""Prefixes of steps that succeed on a full disk."""


class Steps:
    """The steps below a directory, in order, and the fault to inject at one of them."""

    def __init__(self, plan: dict[str, Any], stage: str) -> None:
        self._root = str(Path(plan["root"]).resolve())
        self._at = tuple(plan["at"]) if "at" in plan else None
        self._fault, self._list = plan.get("fault"), plan.get("list")
        self._is_full = False
        self._seen: dict[tuple[str, str], None] = {}
        self.stage = stage

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if event in _CHANGING:
            self.take(_CHANGING[event], arguments[0])
        elif event == "open" and _is_writing(arguments[1], arguments[2]):
            self.take("append" if "a" in (arguments[1] or "") else "write", arguments[0])

    def take(self, what: str, path: Any) -> None:
        """Handle an operation on a path, if it is below the root."""
        if not isinstance(path, str | bytes | os.PathLike):
            return
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - Path.resolve would follow links
        if place.startswith(f"{self._root}/"):
            self.step(f"{what} {_general(what, place.removeprefix(self._root + '/'))}", place)

    def step(self, name: str, place: str | None = None) -> None:
        """Handle a step: list it, and inject the fault if it is the chosen one."""
        key = (self.stage, name)
        self._seen.setdefault(key)
        if key == self._at and self._fault == "kill":
            os.killpg(0, signal.SIGKILL)
        self._is_full |= key == self._at
        if self._is_full and not name.startswith(_FREEING):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)

    def write(self) -> None:
        """Write the list of steps."""
        if self._list:
            seen = list(self._seen)
            Path(self._list).write_text(json.dumps(seen), encoding="utf-8")


def _is_writing(mode: str | None, flags: int) -> bool:
    return any(char in (mode or "") for char in "wax+") or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _general(what: str, path: str) -> str:
    for pattern, name in NAMES:
        path = pattern.sub(name, path)
    if what == "force" and (inside := path.partition(".staging/"))[1]:
        path = f"{inside[0]}.staging/FILE"  # all files in a staging directory are equivalent
    if what == "link":
        path = f"{path.partition('/FINGERPRINT/')[0]}/FINGERPRINT/FILE"
    return path


def main() -> None:
    """Run the command, and write the list of steps however it ends."""
    plan, command, *arguments = sys.argv[1:]
    steps = Steps(json.loads(plan), "the beginning" if command == "luigi" else arguments[0])
    fsync, exchange, set_label = os.fsync, directories._exchange, recording.RunRecording._set_log_prefix

    def forced(handle: int) -> None:
        steps.take("force", Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    def exchanged(path: Path, other: Path) -> bool:
        steps.take("exchange", path)
        return exchange(path, other)

    def begun(this: recording.RunRecording, label: str) -> None:
        steps.stage = f"after {steps.stage}" if label == NO_STAGE else label
        set_label(this, label)

    def bracketed(make: Callable[..., stage.RowCounts]) -> Callable[..., stage.RowCounts]:
        @wraps(make)
        def made(*arguments: Any, **inputs: Any) -> stage.RowCounts:
            steps.step("stage begins its work")
            rows = make(*arguments, **inputs)
            steps.step("stage has done its work")
            return rows

        return made

    writer._MIN_INTERVAL_S = 0.0  # otherwise the steps would depend on the time
    os.fsync, directories._exchange, recording.RunRecording._set_log_prefix = forced, exchanged, begun  # type: ignore[method-assign]
    for kind in vars(tasks).values():
        if isinstance(kind, type) and issubclass(kind, stage.Stage) and "make" in vars(kind):
            kind.make = bracketed(kind.make)  # type: ignore[method-assign]
    sys.addaudithook(steps.audit)
    try:
        sys.exit(COMMANDS[command](arguments))
    finally:
        steps.write()


if __name__ == "__main__":
    main()
