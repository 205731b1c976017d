"""Writing so that a crash at any moment loses nothing: fsync, rename, and locks that the system releases."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STAGING = ".staging"
LOCK = ".lock"


def now() -> str:
    """The present moment, UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fsync(path: Path) -> None:
    """Forces a file's bytes, or a directory's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(root: Path) -> None:
    """Forces everything below `root`, and `root` itself, to the disk."""
    for directory, _, files in os.walk(root):
        for name in files:
            fsync(Path(directory) / name)
        fsync(Path(directory))


def write_atomically(path: Path, text: str, *, forced: bool = True) -> None:
    """Replaces the file in one step: readers see the old text or the new one, whole.

    Forced to the disk, unless it is worth nothing after a crash.
    """
    beside = path.with_name(path.name + STAGING)
    beside.write_text(text, encoding="utf-8")
    if forced:
        fsync(beside)
    beside.replace(path)
    if forced:
        fsync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON into a directory that is still being made; NaN is refused."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, record: dict[str, Any], *, forced: bool = True) -> None:
    """Appends one JSON line and forces it to the disk, unless it is worth nothing after a crash."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        if forced:
            file.flush()
            os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, waiting_for: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Holds an exclusive `flock` on `path`, which stays afterwards (unlinking a lock file would race).

    While another process holds it, `waiting_for` is told once who does: pid, host and since when.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting_for(file.read().strip() or "another process")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now()}\n")
        file.flush()
        yield


@contextmanager
def made_whole(final: Path) -> Iterator[Path]:
    """Yields an empty staging directory that becomes `final` in one step when the block ends well.

    The caller holds the lock on `final`. When the block raises, the staging directory is removed.
    """
    staging = final.with_name(final.name + STAGING)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        fsync_tree(staging)
        staging.rename(final)
        fsync(final.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def lock_of(final: Path) -> Path:
    """The lock file that protects the making of `final`."""
    return final.with_name(final.name + LOCK)


def sweep(root: Path, pattern: str) -> list[Path]:
    """Removes staging directories below `root` that match the glob and that no lock protects; returns them."""
    swept = []
    for staging in sorted(path for path in root.glob(pattern + STAGING) if path.is_dir()):
        lock = lock_of(staging.with_name(staging.name.removesuffix(STAGING)))
        with lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(staging)
            swept.append(staging)
    return swept
