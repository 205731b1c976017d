"""Runs a command, and lists each step by which it changes the disk; or dies, or finds the disk full, at one.

python tests/faults/victim.py '{"root": …, "list": file}' COMMAND ARGUMENTS
python tests/faults/victim.py '{"root": …, "at": [stage, step], "fault": "kill" or "full"}' COMMAND ARGUMENTS

COMMAND is `luigi`, or `models` or `workflow` with one of their verbs, which counts as a stage.

A step is what the interpreter is about to do below `root`: to open a file for writing, to make, rename, link or remove
something, to force it to the disk; or to begin or end the work of a stage, of which Java writes the most. Nothing in
the project knows of this: the interpreter's audit hooks tell it.
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
from workflow import recording, stage, tasks

COMMANDS = {"luigi": luigi_run, "models": models.__main__.main, "workflow": workflow.__main__.main}

NAMES = (
    (re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}"), "RUN"), (re.compile(r"[0-9a-f]{16}"), "FINGERPRINT"),
    (re.compile(r"part-\d+[^/]*"), "PART"), (re.compile(r"\bscratch/[^/]+"), "scratch/OWN"),
    (re.compile(r"\bscratch/OWN/.+"), "scratch/OWN/FILE"), (re.compile(r"\btmp\w{8}\b"), "TMP"),
    (re.compile(r"\d{3,}"), "N"),
)  # fmt: skip
"""What is another name each time, and what it is called instead."""

_CHANGING = {"os.rename": "rename", "os.mkdir": "make directory", "os.remove": "remove", "os.rmdir": "remove directory",
             "os.link": "link", "os.truncate": "truncate"}  # fmt: skip
_FREEING = ("remove", "remove directory", "truncate", "stage")
"""Begins steps for which a full disk has room."""


class Steps:
    """What happens below a directory, in its order; and what is to happen at one of them."""

    def __init__(self, plan: dict[str, Any], stage: str) -> None:
        self._root = str(Path(plan["root"]).resolve())
        self._at = tuple(plan["at"]) if "at" in plan else None
        self._fault, self._list = plan.get("fault"), plan.get("list")
        self._is_full = False
        self._seen: dict[tuple[str, str], None] = {}
        self.stage = stage

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The interpreter's hook."""
        if event in _CHANGING:
            self.take(_CHANGING[event], arguments[0])
        elif event == "open" and _is_writing(arguments[1], arguments[2]):
            self.take("append" if "a" in (arguments[1] or "") else "write", arguments[0])

    def take(self, what: str, path: Any) -> None:
        """A step is about to be taken."""
        if not isinstance(path, str | bytes | os.PathLike):
            return
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - Path.resolve would follow links
        if place.startswith(f"{self._root}/"):
            self.step(f"{what} {_general(what, place.removeprefix(self._root + '/'))}", place)

    def step(self, name: str, place: str | None = None) -> None:
        """The same, by its name."""
        key = (self.stage, name)
        self._seen.setdefault(key)
        if key == self._at and self._fault == "kill":
            os.killpg(0, signal.SIGKILL)
        self._is_full |= key == self._at
        if self._is_full and not name.startswith(_FREEING):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)

    def write(self) -> None:
        """Writes the list, once, as what is seen now."""
        if self._list:
            seen = list(self._seen)
            Path(self._list).write_text(json.dumps(seen), encoding="utf-8")


def _is_writing(mode: str | None, flags: int) -> bool:
    return any(each in (mode or "") for each in "wax+") or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _general(what: str, path: str) -> str:
    for pattern, name in NAMES:
        path = pattern.sub(name, path)
    if what == "force" and (inside := path.partition(".staging/"))[1]:
        path = f"{inside[0]}.staging/FILE"  # one is like the other
    if what == "link":
        path = f"{path.partition('/FINGERPRINT/')[0]}/FINGERPRINT/FILE"
    return path


def main() -> None:
    """Runs the command to its end, whichever that is."""
    plan, command, *arguments = sys.argv[1:]
    steps = Steps(json.loads(plan), "the beginning" if command == "luigi" else arguments[0])
    fsync, exchange, at = os.fsync, directories._exchange, recording.RunRecording._set_log_prefix

    def forced(handle: int) -> None:
        steps.take("force", Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    def exchanged(one: Path, other: Path) -> bool:
        steps.take("exchange", one)
        return exchange(one, other)

    def begun(this: recording.RunRecording, label: str) -> None:
        steps.stage = f"after {steps.stage}" if label == NO_STAGE else label
        at(this, label)

    def bracketed(make: Callable[..., stage.RowCounts]) -> Callable[..., stage.RowCounts]:
        @wraps(make)
        def made(*arguments: Any, **inputs: Any) -> stage.RowCounts:
            steps.step("stage begins its work")
            rows = make(*arguments, **inputs)
            steps.step("stage has done its work")
            return rows

        return made

    writer._MIN_INTERVAL_S = 0.0  # so that it hangs on no clock which steps there are
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
