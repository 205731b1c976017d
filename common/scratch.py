"""Scratch directories, which belong to a process and are removed by a later one."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

_GRACE_PERIOD_S = 60.0
"""Age below which an unlocked scratch directory is kept: its process may not have locked it yet."""


def scratch_directory(root: Path) -> Path:
    """Create a scratch directory; this process holds its lock until it ends."""
    root.mkdir(parents=True, exist_ok=True)
    created = Path(mkdtemp(prefix="", dir=root))
    fcntl.flock(_open_lock_file(created), fcntl.LOCK_EX)  # stays open, and no child inherits it
    return created


def remove_stale_scratch(root: Path) -> None:
    """Remove the scratch directories of processes that have ended."""
    for directory in root.glob("*/"):
        with suppress(OSError):  # another process is removing it
            handle = _open_lock_file(directory)
            try:
                is_new = abs(time.time() - directory.stat().st_mtime) < _GRACE_PERIOD_S  # abs: clocks are set back
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not is_new:
                    shutil.rmtree(directory)
            finally:
                os.close(handle)


def _open_lock_file(directory: Path) -> int:
    """Open the lock file in a scratch directory. A lock on the directory itself is invisible to other machines."""
    return os.open(directory / "held", os.O_RDWR | os.O_CREAT, 0o600)
