"""Memory limits of containers, from trees like those that the kernel shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spark.runtime.memory import memory_limit

GB = 1 << 30
MACHINE = 64 * GB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 64 GB."""
    sizes = {"SC_PHYS_PAGES": MACHINE // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


def limit_of(root: Path, own: str, files: dict[str, object]) -> int:
    """The limit of a process whose /proc/self/cgroup is `own`, with these files below /sys/fs/cgroup."""
    (root / "cgroup").write_text(own)
    for name, content in files.items():
        file = root / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return memory_limit(root / "cgroup", root / "fs")


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"a/b/memory.max": 3 * GB}, 3 * GB),
        ({"a/b/memory.max": "max"}, MACHINE),
        ({"a/b/memory.max": "max", "a/memory.max": 5 * GB}, 5 * GB),
        ({"a/b/memory.max": 9 * GB, "a/memory.max": 5 * GB}, 5 * GB),
        ({"a/b/memory.max": 2 * GB, "a/memory.max": 5 * GB}, 2 * GB),
        ({"memory.max": 4 * GB}, 4 * GB),
        ({"a/c/memory.max": GB}, MACHINE),
        ({"a/b/memory.max": 100 * GB}, MACHINE),
        ({}, MACHINE),
    ],
)
def test_version_2_has_the_smallest_limit_on_the_path(tmp_path: Path, files: dict[str, object], limit: int) -> None:
    assert limit_of(tmp_path, "0::/a/b\n", files) == limit


def test_version_2_in_a_container_of_its_own_namespace(tmp_path: Path) -> None:
    assert limit_of(tmp_path, "0::/\n", {"memory.max": 2 * GB}) == 2 * GB


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory/docker/x/memory.limit_in_bytes": 3 * GB}, 3 * GB),
        ({"memory/docker/x/memory.limit_in_bytes": 3 * GB, "memory/docker/memory.limit_in_bytes": GB}, GB),
        ({"memory/docker/x/memory.limit_in_bytes": 9223372036854771712}, MACHINE),
        ({"memory/memory.limit_in_bytes": 2 * GB}, 2 * GB),
        ({"cpu/docker/x/memory.limit_in_bytes": GB}, MACHINE),
    ],
)
@pytest.mark.parametrize("controllers", ["memory", "memory,hugetlb"])
def test_version_1_has_the_smallest_limit_on_the_path(
    tmp_path: Path, controllers: str, files: dict[str, object], limit: int
) -> None:
    own = f"5:cpu,cpuacct:/docker/x\n4:{controllers}:/docker/x\n1:name=systemd:/docker/x\n0::/\n"
    assert limit_of(tmp_path, own, files) == limit


@pytest.mark.parametrize("own", ["0::/../../x\n", "4:memory:/host/only\n"])
def test_a_path_outside_the_container_falls_back_to_the_mount(tmp_path: Path, own: str) -> None:
    files = {"memory.max": 2 * GB, "memory/memory.limit_in_bytes": 2 * GB}
    assert limit_of(tmp_path, own, files) == 2 * GB


def test_without_cgroups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "none", tmp_path / "none") == MACHINE
