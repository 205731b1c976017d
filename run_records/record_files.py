"""The files of a run record: `<run id>.jsonl`, locked while the run is active, and its progress file."""

from __future__ import annotations

import fcntl
import secrets
from datetime import UTC, datetime
from pathlib import Path

PROGRESS_SUFFIX = ".now"
"""Suffix of the file with the progress of the current stage, beside the record of an active run."""


def new_run_id() -> str:
    """A unique run id: the time in UTC and four hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def is_running(record: Path) -> bool:
    """Whether the run of a record is active: its process holds a lock on the record until it ends.

    The check does not wait, and does not disturb the run or other checks.
    """
    try:
        with record.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file is gone, or its file system has no locks
        return False
    return False


def active_runs(directory: Path) -> list[str]:
    """The ids of the active runs recorded in `data/runs/<dataset>`."""
    return [record.stem for record in sorted(directory.glob("*.jsonl")) if is_running(record)]
