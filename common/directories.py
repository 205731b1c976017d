"""Directories that appear, change and disappear in one step, even if the process crashes."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.files import STAGING, fsync, fsync_tree
from common.locks import lock_path, try_lock

REPLACED = ".replaced"
"""Suffix of a directory that is being replaced, on systems that cannot exchange two directories in one step."""

_AT_FDCWD = -100  # from Linux's fcntl.h
_RENAME_EXCHANGE = 2  # from Linux's fs.h


@contextmanager
def atomic_directory(final: Path) -> Iterator[Path]:
    """Yield an empty staging directory that becomes `final` in one step, or is removed if the block raises.

    An existing `final` is replaced. The caller holds the lock on `final`.
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


def swap_directory(final: Path, staging: Path) -> None:
    """Replace `final` by the complete directory `staging`, and remove the old one. The caller holds the lock.

    Where the system cannot exchange two names in one step, `final` is missing for a moment and the old directory is
    called `<name>.replaced`; if the process dies in that moment, `remove_leftovers` restores it.
    """
    fsync_tree(staging)
    if not _exchange(staging, final):
        replaced = final.with_name(final.name + REPLACED)
        final.rename(replaced)
        try:
            staging.rename(final)
        except BaseException:
            replaced.rename(final)
            raise
        fsync(final.parent)
        replaced.rename(staging)
    fsync(final.parent)
    shutil.rmtree(staging, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two directories in one step; return False if the system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def remove_directory(final: Path) -> None:
    """Remove a directory in one step: after a crash, only its staging directory is left."""
    staging = final.with_name(final.name + STAGING)
    shutil.rmtree(staging, ignore_errors=True)
    final.rename(staging)
    fsync(final.parent)
    shutil.rmtree(staging, ignore_errors=True)  # a starting run may remove it at the same time


def remove_if_unlocked(final: Path, condition: Callable[[], bool] = lambda: True) -> bool:
    """Remove a directory unless another process holds its lock; return whether it was removed.

    Args:
        condition: called under the lock; the directory stays if it returns False.
    """
    with try_lock(lock_path(final)) as is_free:
        if removed := is_free and condition():
            remove_directory(final)
        return removed


def remove_leftovers(root: Path, pattern: str) -> list[Path]:
    """Remove what crashed processes have left below `root`; return the removed staging directories.

    Staging directories that match the glob are removed unless their lock is held. A directory that was being replaced
    gets its name back: see `swap_directory`.
    """
    for replaced in sorted(root.glob(pattern + REPLACED)):
        final = replaced.with_name(replaced.name.removesuffix(REPLACED))
        with try_lock(lock_path(final)) as is_free:
            if is_free and final.exists():
                shutil.rmtree(replaced)
            elif is_free:
                replaced.rename(final)
    removed = []
    for staging in sorted(path for path in root.glob(pattern + STAGING) if path.is_dir()):
        with try_lock(lock_path(staging.with_name(staging.name.removesuffix(STAGING)))) as is_free:
            if is_free:
                shutil.rmtree(staging)
                removed.append(staging)
    return removed


def directory_size(root: Path) -> int:
    """The bytes of all files below a directory."""
    return sum((Path(directory) / name).stat().st_size for directory, _, names in os.walk(root) for name in names)
