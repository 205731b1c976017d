"""A disk that is really full, or cannot be written: mounted for a few processes only, in a namespace of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.pipeline import Roots

from config.paths import PROJECT

_APART = ["unshare", "--map-root-user", "--mount", "sh", "-euc"]
SCHEDULING_ERROR, TASK_FAILED = 35, 30


def _can_mount() -> bool:
    try:
        mounted = subprocess.run([*_APART, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return mounted.returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _can_mount(), reason="this user cannot mount file systems in a namespace"),
]


def apart(script: str, *arguments: object) -> list[str]:
    """What a script says, line by line; it sees mounts that nobody else does, and the arguments as $1 and so on."""
    command = [*_APART, script, "sh", *map(str, arguments)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def only(lines: list[str], beginning: str) -> str:
    """The one line that begins like this."""
    (found,) = (line for line in lines if line.startswith(beginning))
    return found


FULL_THEN_FREED = """
    finished=$1 disk=$2; shift 2
    mount -t tmpfs -o size=24m none "$disk"
    cp -a "$finished/." "$disk"
    cat /dev/zero > "$disk/other" 2> /dev/null || truncate -s -24K "$disk/other"
    code=0; "$@" 2>&1 || code=$?
    echo "code $code"
    echo "served $(cat "$disk/models/synthetic/current")"
    rm "$disk/other"
    "$@" > /dev/null 2>&1
    echo "served $(cat "$disk/models/synthetic/current")"
    find "$disk" -name "*.staging"
"""

BRIMFUL = """
    finished=$1 disk=$2 python=$3
    mount -t tmpfs -o size=24m none "$disk"
    cp -a "$finished/." "$disk"
    cat /dev/zero > "$disk/other" 2> /dev/null || true
    "$python" -m workflow graph --data "$disk/data" 2>&1 || echo "code $?"
    "$python" -m models forget --models "$disk/models" --data "$disk/data" 1 2>&1 || echo "code $?"
    "$python" -m models verify --models "$disk/models"
    find "$disk" -name "*.staging"
"""

NO_MORE_FILES = """
    disk=$1; shift
    mount -t tmpfs -o nr_inodes=20 none "$disk"
    code=0; "$@" 2>&1 || code=$?
    echo "code $code"
"""

READ_ONLY = """
    root=$1 python=$2; shift 2
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    code=0; "$@" 2>&1 || code=$?
    echo "code $code"
    "$python" -m models recommend --models "$root/models" 1
    "$python" -m models verify --models "$root/models"
"""


class TestFullDisk:
    def test_message_names_disk_and_free_space_and_loses_nothing(self, pipeline: Roots, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        command = Roots(disk).command("--local-scheduler", "--recommend-k=7")
        said = apart(FULL_THEN_FREED, pipeline.root, disk, *command)
        assert f"code {TASK_FAILED}" in said
        failed = only(said, "Error: Recommend failed")
        assert f" failed: the disk of {disk}/data/work/synthetic/Recommend/" in failed
        assert failed.endswith(" free. Free some space; the same command continues from there.")
        assert re.search(r" is full: only [\d.]+ [kM]?B free\.", failed)
        before, after = (line for line in said if line.startswith("served "))
        assert before == f"served {pipeline.current()}"
        assert after != before
        assert said[-1] == after, "nothing is left lying about"

    def test_commands_report_it_in_one_sentence(self, pipeline: Roots, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        graph, code, forget, other, verified = apart(BRIMFUL, pipeline.root, disk, sys.executable)
        assert code == other == "code 1"
        full = r" is full: only 0 B free\. Free some space; the same command continues from"
        assert re.match(f"Error: the disk of {disk}/data{full}", graph)
        assert re.match(f"Error: the disk of {disk}/models/synthetic.*{full}", forget)
        assert f"{pipeline.current()[:12]} (served): ok" in verified

    def test_missing_inodes_are_reported(self, tmp_path: Path) -> None:
        said = apart(NO_MORE_FILES, tmp_path, *Roots(tmp_path).command("--local-scheduler"))
        assert f"code {TASK_FAILED}" in said
        assert " files free. Free some space; " in only(said, "Error: Ingest failed: the disk of ")


def test_read_only_root_can_be_read(pipeline: Roots) -> None:
    said = apart(READ_ONLY, pipeline.root, sys.executable, *pipeline.command("--local-scheduler"))
    assert f"code {SCHEDULING_ERROR}" in said
    assert "(Read-only file system): see [paths] data_root and models_root." in only(said, "Error: ")
    only(said, f"User 1 of synthetic, version {pipeline.current()}")
    assert f"{pipeline.current()[:12]} (served): ok" in said[-1]
