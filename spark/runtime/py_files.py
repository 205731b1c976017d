"""The project's code for workers on other machines, in a directory that all of them see."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from common.directories import atomic_directory
from common.locks import exclusive_lock, lock_path
from config.paths import PROJECT

PACKAGES = ("common", "config", "spark")
"""The packages that Spark's tasks import. `models` is not one of them: its folder also holds published versions."""


def build_py_files(root: Path) -> Path:
    """Copy the packages that Spark's tasks import; return the directory for their PYTHONPATH.

    The directory's name is a digest of its contents, so that numba finds the machine code that it has cached for it.
    An archive would not work: Spark unpacks it into a new directory for each run.
    """
    sources = sorted(file for package in PACKAGES for file in (PROJECT / package).rglob("*.py"))
    digest = hashlib.sha256()
    for file in sources:
        digest.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes() + b"\0")
    directory = root / digest.hexdigest()[:16]
    with exclusive_lock(lock_path(directory)):
        if not directory.is_dir():
            with atomic_directory(directory) as staging:
                for file in sources:
                    copy = staging / file.relative_to(PROJECT)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
    return directory
