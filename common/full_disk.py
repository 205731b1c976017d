"""A full disk: whether an error means one, and what to say of it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

FREE_SPACE_HINT = "Free some; the same command goes on from here."

_OF_SPARK = {"Py4JError", "PySparkException"}
_CODES = (errno.ENOSPC, errno.EDQUOT)

_FEW_FILES = 1_000
"""Fewer names than this may be what is short, where a file system has room for a number of files only."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk had no room, for Python, SQLite or Spark."""
    if isinstance(error, shutil.Error):  # of a tree that is copied: it has the texts of the errors
        return _is_said(error)
    if isinstance(error, OSError):
        return error.errno in _CODES
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return bool({kind.__name__ for kind in type(error).__mro__} & _OF_SPARK) and _is_said(error)


def _is_said(error: BaseException) -> bool:
    return any(os.strerror(code) in str(error) for code in _CODES)


def describe_full_disk(error: BaseException, place: Path, needed: int = 0) -> str:
    """Which disk is full, how many bytes are needed, and how many are free there; a sentence, without its end.

    Args:
        error: one that `is_full`; the file that it names, of two the second, counts, and not `place`.
        place: where something was to be written.
        needed: about how many bytes that has; at least a block of the disk, as even a name takes.
    """
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        place = Path(name) if isinstance(name, str) else place
    disk = os.statvfs(next(each for each in (place, *place.parents) if each.exists()))
    needed, free = max(needed, disk.f_frsize), disk.f_bavail * disk.f_frsize
    if getattr(error, "errno", None) == errno.EDQUOT:
        return f"your quota of the disk of {place} is used up: about {needed:,} bytes more are needed there"
    if needed > free:
        return f"the disk of {place} is full: about {needed:,} bytes are needed, and {free:,} are free there"
    files = f" and {disk.f_favail:,} files" if disk.f_files and disk.f_favail < _FEW_FILES else ""
    return f"the disk of {place} is full: more is needed than the {free:,} bytes{files} that are free there"


def os_error_message(error: OSError, place: Path) -> str:
    """What to say of a verb that the system has not let work, below `place`."""
    if is_disk_full(error):
        return f"{describe_full_disk(error, place)}. {FREE_SPACE_HINT}"
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
