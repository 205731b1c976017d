"""Writing so that a crash at any moment loses nothing: fsync, rename, and locks that the system releases."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

STAGING = ".staging"
LOCK = ".lock"
REPLACED = ".replaced"
"""Suffix of a directory that another one is about to take the place of, where two cannot be exchanged in one step."""

_NEW_S = 60.0
"""So long, scratch is left alone whose maker may not have locked it yet."""


def utc_now() -> str:
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
    try:
        beside.write_text(text, encoding="utf-8")
        if forced:
            fsync(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if forced:
        fsync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON into a directory that is still being made; NaN is refused."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, record: dict[str, Any], *, forced: bool = True) -> None:
    """Appends one JSON line and forces it to the disk, unless it is worth nothing after a crash.

    A line that a crash has cut off stays apart.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            line = b"\n" + line
        file.write(line)
        if forced:
            file.flush()
            os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_checksums(root: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Bytes and sha256 of each file below a directory, or of those that are named, by its path there."""
    files = [root / name for name in names] if names else (file for file in root.rglob("*") if file.is_file())
    return {
        str(file.relative_to(root)): {"sha256": sha256(file), "bytes": file.stat().st_size} for file in sorted(files)
    }


def changed_files(
    root: Path, described: dict[str, Any], *, digests: bool = True
) -> Iterator[tuple[str, OSError | None]]:
    """The files that are not what `describe` said of them, each with why it could not be read, if that is the reason.

    Args:
        digests: whether files are read; otherwise their sizes alone are compared, which takes no time.
    """
    for name, said in described.items():
        file = root / name
        try:
            if file.stat().st_size != said["bytes"] or (digests and sha256(file) != said["sha256"]):
                yield name, None
        except OSError as error:
            yield name, error


@contextmanager
def exclusive_lock(path: Path, waiting_for: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
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
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {utc_now()}\n")
        file.flush()
        yield


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Holds the lock like `locked` if nobody else does, and yields whether that is so. Never waits."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def atomic_directory(final: Path) -> Iterator[Path]:
    """Yields an empty staging directory that becomes `final` in one step when the block ends well.

    The caller holds the lock on `final`. When the block raises, the staging directory is removed. What is in the place
    of `final`, which has been damaged, changes places with it.
    """
    staging = final.with_name(final.name + STAGING)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if final.exists():
            swap_directory(final, staging)
        else:
            fsync_tree(staging)
            staging.rename(final)
            fsync(final.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def lock_path(final: Path) -> Path:
    """The lock file that protects the making of `final`."""
    return final.with_name(final.name + LOCK)


def remove_directory(final: Path) -> None:
    """Removes a directory so that it is never there in part: what a crash leaves is staging, which is swept."""
    going = final.with_name(final.name + STAGING)
    shutil.rmtree(going, ignore_errors=True)
    final.rename(going)
    fsync(final.parent)
    shutil.rmtree(going, ignore_errors=True)  # a run that starts may sweep it at the same time


def remove_if_unlocked(final: Path, still: Callable[[], bool] = lambda: True) -> bool:
    """Removes an output for good, unless somebody holds its lock; returns whether it went.

    Args:
        still: asked under the lock; the output stays if it says no.
    """
    with try_lock(lock_path(final)) as free:
        if going := free and still():
            remove_directory(final)
        return going


def directory_size(root: Path) -> int:
    """Size of all files below a directory."""
    return sum((Path(directory) / name).stat().st_size for directory, _, names in os.walk(root) for name in names)


def swap_directory(final: Path, staging: Path) -> None:
    """Puts the whole directory `staging` in the place of `final`, and removes what was there.

    In one step where the system can exchange two names. Elsewhere there is a moment without `final`: what was there is
    then called `<name>.replaced`, and if the process dies in that moment, `sweep` gives it its name back. The caller
    holds the lock on `final`.
    """
    fsync_tree(staging)
    if not _exchanged(staging, final):
        aside = final.with_name(final.name + REPLACED)
        final.rename(aside)
        try:
            staging.rename(final)
        except BaseException:
            aside.rename(final)
            raise
        fsync(final.parent)
        aside.rename(staging)
    fsync(final.parent)
    shutil.rmtree(staging, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Lets two directories change names in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, from Linux's fcntl.h and fs.h
    if renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    if (code := ctypes.get_errno()) in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def remove_leftovers(root: Path, pattern: str) -> list[Path]:
    """Removes staging directories below `root` that match the glob and that no lock protects; returns them.

    A directory that was about to be replaced gets its name back: see `replace_whole`.
    """
    for aside in sorted(root.glob(pattern + REPLACED)):
        final = aside.with_name(aside.name.removesuffix(REPLACED))
        with try_lock(lock_path(final)) as free:
            if free and final.exists():
                shutil.rmtree(aside)
            elif free:
                aside.rename(final)
    swept = []
    for staging in sorted(path for path in root.glob(pattern + STAGING) if path.is_dir()):
        with try_lock(lock_path(staging.with_name(staging.name.removesuffix(STAGING)))) as free:
            if free:
                shutil.rmtree(staging)
                swept.append(staging)
    return swept


def scratch_directory(root: Path) -> Path:
    """A new directory for what is needed while this process lives: until then it holds the lock in it."""
    root.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix="", dir=root))
    fcntl.flock(_held(made), fcntl.LOCK_EX)  # which stays open, and no child inherits
    return made


def remove_stale_scratch(root: Path) -> None:
    """Removes what `scratch` has made for processes that are no more."""
    for left in root.glob("*/"):
        with suppress(OSError):  # somebody else sweeps
            handle = _held(left)
            try:
                is_new = abs(time.time() - left.stat().st_mtime) < _NEW_S  # either way: a clock may be set back
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not is_new:  # of which the lock may still be to come
                    shutil.rmtree(left)
            finally:
                os.close(handle)


def _held(made: Path) -> int:
    """Opens the file whose lock says that a scratch directory is needed. Other machines see no lock on a directory."""
    return os.open(made / "held", os.O_RDWR | os.O_CREAT, 0o600)
