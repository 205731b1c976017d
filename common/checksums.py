"""Checksums of files, and the files that no longer match them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_checksums(root: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """The size and SHA-256 of files: {path below root: {"sha256": …, "bytes": …}}.

    Args:
        names: the paths of the files below `root`; all files if None.
    """
    files = [root / name for name in names] if names else (file for file in root.rglob("*") if file.is_file())
    return {
        str(file.relative_to(root)): {"sha256": sha256(file), "bytes": file.stat().st_size} for file in sorted(files)
    }


def changed_files(
    root: Path, checksums: dict[str, Any], *, digests: bool = True
) -> Iterator[tuple[str, OSError | None]]:
    """The files that do not match their checksums, each with the error if it could not be read.

    Args:
        checksums: the result of `file_checksums`.
        digests: whether to compare the SHA-256; otherwise only the size, which takes no time.
    """
    for name, expected in checksums.items():
        file = root / name
        try:
            if file.stat().st_size != expected["bytes"] or (digests and sha256(file) != expected["sha256"]):
                yield name, None
        except OSError as error:
            yield name, error
