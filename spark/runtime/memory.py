"""The memory limit of this process: that of its container, or the machine's.

A container's limit is a cgroup's. Every ancestor of the process's own cgroup limits it as well, so the smallest limit
on the path counts. Version 2 has one hierarchy, version 1 one per controller.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_limit(own_cgroups: Path = _OWN_CGROUPS, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that this process may use: the smallest of the machine's memory and its cgroups' limits.

    Args:
        own_cgroups: the file in which the kernel lists the process's cgroups.
        cgroups: the directory where the cgroup hierarchies are mounted.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_cgroup_limits(own_cgroups, cgroups)])


def _cgroup_limits(own_cgroups: Path, cgroups: Path) -> Iterator[int]:
    """The limits of the process's memory cgroup and its ancestors. Files without a number, as "max", set no limit."""
    for directory, file in _limit_files(own_cgroups, cgroups):
        with suppress(OSError, ValueError):
            yield int((directory / file).read_text(encoding="ascii"))


def _limit_files(own_cgroups: Path, cgroups: Path) -> Iterator[tuple[Path, str]]:
    with suppress(OSError):
        for line in own_cgroups.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from ((directory, "memory.max") for directory in _with_ancestors(cgroups, path))
            elif "memory" in controllers.split(","):
                directories = _with_ancestors(cgroups / "memory", path)
                yield from ((directory, "memory.limit_in_bytes") for directory in directories)


def _with_ancestors(mount: Path, path: str) -> list[Path]:
    """The directories of a cgroup and of its ancestors, up to the mount.

    In a container, the path may be the host's: only the mount, which is the container's own cgroup, exists then.
    """
    relative = PurePosixPath(path.lstrip("/"))
    return [mount / parent for parent in (relative, *relative.parents) if ".." not in parent.parts]
