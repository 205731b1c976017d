"""Recognise a full disk in an error of Python, SQLite or Spark, and describe it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

from common.formatting import format_bytes

FREE_SPACE_HINT = "Free some space; the same command continues from there."

_SPARK_ERRORS = {"Py4JError", "PySparkException"}
_CODES = (errno.ENOSPC, errno.EDQUOT)

_FEW_FILES = 1_000
"""Below this number of free inodes, the message names them: they may be what ran out."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of Python, SQLite or Spark means that a disk is full or a quota exhausted."""
    if isinstance(error, shutil.Error):  # from copying a tree: only the texts of the errors are left
        return _mentions_full_disk(error)
    if isinstance(error, OSError):
        return error.errno in _CODES
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return bool({kind.__name__ for kind in type(error).__mro__} & _SPARK_ERRORS) and _mentions_full_disk(error)


def _mentions_full_disk(error: BaseException) -> bool:
    return any(os.strerror(code) in str(error) for code in _CODES)


def describe_full_disk(error: BaseException, place: Path) -> str:
    """Describe the full disk and its free space, in a sentence without a full stop.

    Args:
        error: one that `is_disk_full` recognises. The file it names (of a copy, the target) replaces `place`.
        place: where the write was attempted.
    """
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        place = Path(name) if isinstance(name, str) else place
    if getattr(error, "errno", None) == errno.EDQUOT:
        return f"your quota on the disk of {place} is exhausted"
    disk = os.statvfs(next(path for path in (place, *place.parents) if path.exists()))
    files = f" and {disk.f_favail:,} files" if disk.f_files and disk.f_favail < _FEW_FILES else ""
    return f"the disk of {place} is full: only {format_bytes(disk.f_bavail * disk.f_frsize)}{files} free"


def os_error_message(error: OSError, place: Path) -> str:
    """Message for a command that failed with an OSError while it worked below `place`."""
    if is_disk_full(error):
        return f"{describe_full_disk(error, place)}. {FREE_SPACE_HINT}"
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
