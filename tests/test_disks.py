"""Runs and commands on full and read-only disks, mounted in a private mount namespace."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.pipeline import Roots

from config.paths import PROJECT

_IN_NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-euc"]
SCHEDULING_ERROR, TASK_FAILED = 35, 30


def _can_mount() -> bool:
    try:
        mounted = subprocess.run([*_IN_NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return mounted.returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _can_mount(), reason="this user cannot mount file systems in a namespace"),
]


def output_lines(script: str, *arguments: object) -> list[str]:
    """Run a shell script in a private mount namespace, with the arguments as $1, $2, …; return its output lines."""
    command = [*_IN_NAMESPACE, script, "sh", *map(str, arguments)]
    completed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()


def only_line(lines: list[str], beginning: str) -> str:
    """Return the only line with this beginning."""
    (match,) = (line for line in lines if line.startswith(beginning))
    return match


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

NO_SPACE_LEFT = """
    finished=$1 disk=$2 python=$3
    mount -t tmpfs -o size=24m none "$disk"
    cp -a "$finished/." "$disk"
    cat /dev/zero > "$disk/other" 2> /dev/null || true
    "$python" -m workflow graph --data "$disk/data" 2>&1 || echo "code $?"
    "$python" -m models forget --models "$disk/models" --data "$disk/data" 1 2>&1 || echo "code $?"
    "$python" -m models verify --models "$disk/models"
    find "$disk" -name "*.staging"
"""

NO_INODES_LEFT = """
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
    def test_error_names_disk_and_free_space_and_next_run_continues(self, pipeline: Roots, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        command = Roots(disk).command("--local-scheduler", "--recommend-k=7")
        lines = output_lines(FULL_THEN_FREED, pipeline.root, disk, *command)
        assert f"code {TASK_FAILED}" in lines
        failed = only_line(lines, "Error: Recommend failed")
        assert f" failed: the disk of {disk}/data/work/synthetic/Recommend/" in failed
        assert failed.endswith(" free. Free some space; the same command continues from there.")
        assert re.search(r" is full: only [\d.]+ [kM]?B free\.", failed)
        before, after = (line for line in lines if line.startswith("served "))
        assert before == f"served {pipeline.current()}"
        assert after != before
        assert lines[-1] == after, "a staging file is left"

    def test_commands_report_full_disk_in_one_sentence(self, pipeline: Roots, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        graph, code, forget, other, verified = output_lines(NO_SPACE_LEFT, pipeline.root, disk, sys.executable)
        assert code == other == "code 1"
        full = r" is full: only 0 B free\. Free some space; the same command continues from"
        assert re.match(f"Error: the disk of {disk}/data{full}", graph)
        assert re.match(f"Error: the disk of {disk}/models/synthetic.*{full}", forget)
        assert f"{pipeline.current()[:12]} (served): ok" in verified

    def test_reports_disk_without_free_inodes(self, tmp_path: Path) -> None:
        lines = output_lines(NO_INODES_LEFT, tmp_path, *Roots(tmp_path).command("--local-scheduler"))
        assert f"code {TASK_FAILED}" in lines
        assert " files free. Free some space; " in only_line(lines, "Error: Ingest failed: the disk of ")


def test_read_only_root_can_be_read(pipeline: Roots) -> None:
    lines = output_lines(READ_ONLY, pipeline.root, sys.executable, *pipeline.command("--local-scheduler"))
    assert f"code {SCHEDULING_ERROR}" in lines
    assert "(Read-only file system): see [paths] data_root and models_root." in only_line(lines, "Error: ")
    only_line(lines, f"User 1 of synthetic, version {pipeline.current()}")
    assert f"{pipeline.current()[:12]} (served): ok" in lines[-1]
