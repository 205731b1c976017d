"""Whether what an earlier run made is still what it wrote: nothing that is damaged is read on.

Every result says of each of its files how many bytes it has, and their sha256. To hash them all in every run would
cost more than a run with nothing to do may take, so a result that was found whole is remembered, in a file beside it,
by what changes when a file is written or replaced: size, times and inode.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.durable import changed_files, read_json, write_atomically
from config.paths import SUCCESS
from workflow import fingerprint

CHECKED = ".checked"
FILES = "files"


def expected_checksums(result: Path) -> dict[str, Any]:
    """What `durable.describe` said when the result was made.

    Raises:
        OSError, ValueError, KeyError: its marker is damaged.
    """
    files: dict[str, Any] = read_json(result / SUCCESS)[FILES]
    return files


def find_corruption(result: Path, files: dict[str, Any], memory: Path) -> str | None:
    """What is wrong with a result, in a sentence; None where every file is what it has to be."""
    stamp = _stamp(result, files)
    with suppress(OSError):
        if memory.read_text(encoding="utf-8") == stamp:
            return None
    for name, error in changed_files(result, files):
        return f"{result / name} " + (f"cannot be read ({error.strerror})." if error else "is not what was written.")
    remember_verified(result, files, memory)
    return None


def remember_verified(result: Path, files: dict[str, Any], memory: Path) -> None:
    """Notes that a result is whole; where it cannot be noted, it is checked again."""
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, _stamp(result, files), forced=False)


def _stamp(result: Path, files: dict[str, Any]) -> str:
    """Changes whenever one of the files is written or replaced, or promises something else.

    The marker is read anyway, and a run that uses the result gives it another time.
    """
    seen = []
    for name in files:
        with suppress(OSError):
            status = os.stat(f"{result}/{name}")  # noqa: PTH116 - of all files in every run
            seen.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    return fingerprint.of(seen, files)
