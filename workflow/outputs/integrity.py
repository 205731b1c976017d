"""Find damaged results, so that no stage reads a file that has changed since it was written.

The marker of each result holds the size and SHA-256 of its files. Hashing all files would dominate a run with nothing
to do, so a file beside each verified result stores a stamp that changes when one of its files is written or replaced.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.checksums import changed_files
from common.files import read_json, write_atomically
from config.paths import SUCCESS
from workflow.outputs.fingerprint import compute_fingerprint

VERIFIED_SUFFIX = ".checked"
FILES = "files"
"""The key of the checksums in a marker."""


def expected_checksums(result: Path) -> dict[str, Any]:
    """The size and SHA-256 of each file, from the marker of the result.

    Raises:
        OSError, ValueError, KeyError: the marker is damaged.
    """
    files: dict[str, Any] = read_json(result / SUCCESS)[FILES]
    return files


def find_corruption(result: Path, files: dict[str, Any], verified: Path) -> str | None:
    """Return a sentence about the first damaged file of a result; None if all files match.

    Args:
        files: the expected checksums.
        verified: the file that holds the stamp of the result when it was last verified.
    """
    stamp = _stamp(result, files)
    with suppress(OSError):
        if verified.read_text(encoding="utf-8") == stamp:
            return None
    for name, error in changed_files(result, files):
        if error:
            return f"{result / name} cannot be read ({error.strerror})."
        return f"{result / name} has changed since it was written."
    remember_verified(result, files, verified)
    return None


def remember_verified(result: Path, files: dict[str, Any], verified: Path) -> None:
    """Write the stamp of a verified result; if that fails, the next run verifies it again."""
    with suppress(OSError):
        verified.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(verified, _stamp(result, files), forced=False)


def _stamp(result: Path, files: dict[str, Any]) -> str:
    """A digest that changes when a file is written or replaced, or when its expected checksum changes.

    It excludes the marker, whose modification time changes when a run uses the result.
    """
    stamps = []
    for name in files:
        with suppress(OSError):
            status = os.stat(f"{result}/{name}")  # noqa: PTH116 - called for every file in every run
            stamps.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    return compute_fingerprint(stamps, files)
