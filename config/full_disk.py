"""A full disk: whether an error means one, and what to say of it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

FREE_SOME = "Free some; the same command goes on from here."

_OF_SPARK = {"Py4JError", "PySparkException"}
_SAID = "No space left on device"
"""What Java says, and Python where only the text comes through."""

_FEW_FILES = 1_000
"""Fewer names than this may be what is short, where a file system has room for a number of files only."""


def is_full(error: BaseException) -> bool:
    """Whether a disk had no room, for Python, SQLite or Spark."""
    if isinstance(error, shutil.Error):  # of a tree that is copied: it has the texts of the errors
        return _SAID in str(error)
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return bool({kind.__name__ for kind in type(error).__mro__} & _OF_SPARK) and _SAID in str(error)


def told(error: BaseException, place: Path, needed: int = 0) -> str:
    """Which disk is full, how many bytes are needed, and how many are free there; a sentence, without its end.

    Args:
        error: one that `is_full`; the file that it names counts, and not `place`.
        place: where something was to be written.
        needed: about how many bytes that has; at least a block of the disk, as even a name takes.
    """
    if isinstance(name := getattr(error, "filename", None), str):
        place = Path(name)
    disk = os.statvfs(next(each for each in (place, *place.parents) if each.exists()))
    needed, free = max(needed, disk.f_frsize), disk.f_bavail * disk.f_frsize
    if getattr(error, "errno", None) == errno.EDQUOT:
        return f"your quota of the disk of {place} is used up: about {needed:,} bytes more are needed there"
    if needed > free:
        return f"the disk of {place} is full: about {needed:,} bytes are needed, and {free:,} are free there"
    files = f" and {disk.f_favail:,} files" if disk.f_files and disk.f_favail < _FEW_FILES else ""
    return f"the disk of {place} is full: more is needed than the {free:,} bytes{files} that are free there"
