"""Durable files: atomic replacement, forced to the disk, and JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

STAGING = ".staging"
"""Suffix of a file or directory that is still being written."""


def fsync(path: Path) -> None:
    """Force a file's bytes, or a directory's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(root: Path) -> None:
    """Force a directory and everything below it to the disk."""
    for directory, _, files in os.walk(root):
        for name in files:
            fsync(Path(directory) / name)
        fsync(Path(directory))


def write_atomically(path: Path, text: str, *, forced: bool = True) -> None:
    """Replace a file in one step: readers see the complete old or new text.

    Args:
        forced: whether to force the file to the disk. Omit it for files that are worthless after a crash.
    """
    staging = path.with_name(path.name + STAGING)
    try:
        staging.write_text(text, encoding="utf-8")
        if forced:
            fsync(staging)
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    if forced:
        fsync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, not atomically: for a directory that is still being written.

    Raises:
        ValueError: the value contains NaN or an infinity.
    """
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, record: dict[str, Any], *, forced: bool = True) -> None:
    """Append a JSON line to a file. It starts on a new line even if a crash has truncated the last one.

    Args:
        forced: whether to force the line to the disk.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            line = b"\n" + line
        file.write(line)
        if forced:
            file.flush()
            os.fsync(file.fileno())
