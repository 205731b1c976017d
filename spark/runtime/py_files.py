"""The project's code for workers on other machines, in a directory that all of them see."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from common.directories import atomic_directory
from common.locks import exclusive_lock, lock_path
from config.paths import PROJECT

_PACKAGES = ("common", "config", "spark")


def build_py_files(root: Path) -> Path:
    """Copies the packages that Spark's tasks import; returns the directory that their PYTHONPATH names.

    Its own name is the digest of what is in it. So machine code that numba has compiled from it is found again, which
    would be lost with an archive that Spark unpacks into a new directory for each run.
    """
    sources = sorted(file for package in _PACKAGES for file in (PROJECT / package).rglob("*.py"))
    digest = hashlib.sha256()
    for file in sources:
        digest.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes() + b"\0")
    shipped = root / digest.hexdigest()[:16]
    with exclusive_lock(lock_path(shipped)):
        if not shipped.is_dir():
            with atomic_directory(shipped) as staging:
                for file in sources:
                    copy = staging / file.relative_to(PROJECT)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
    return shipped
