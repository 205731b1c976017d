"""Atomic writes that survive a crash, and locks that the system releases when a process ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import held_by_another_process

from common import directories, files, locks, scratch


def test_write_atomically_replaces_text_and_leaves_no_staging(tmp_path: Path) -> None:
    cell = tmp_path / "current"
    files.write_atomically(cell, "one\n")
    files.write_atomically(cell, "two\n")
    assert cell.read_text() == "two\n"
    assert [file.name for file in tmp_path.iterdir()] == ["current"]


def test_crash_before_rename_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = tmp_path / "current"
    files.write_atomically(cell, "old\n")

    def crash(self: Path, target: Path) -> Path:
        raise OSError("power failed")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(OSError, match="power failed"):
            files.write_atomically(cell, "new\n")
    assert cell.read_text() == "old\n"
    files.write_atomically(cell, "new\n")
    assert cell.read_text() == "new\n"


def test_directory_appears_only_when_complete(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "output"
    with directories.atomic_directory(final) as staging:
        (staging / "part").write_text("rows")
        assert not final.exists()
    assert (final / "part").read_text() == "rows"
    assert not staging.exists()


def test_error_leaves_neither_output_nor_staging(tmp_path: Path) -> None:
    final = tmp_path / "output"
    with pytest.raises(KeyboardInterrupt), directories.atomic_directory(final) as staging:
        (staging / "part").write_text("half of it")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_staging_directory_starts_empty(tmp_path: Path) -> None:
    debris = tmp_path / f"output{files.STAGING}"
    debris.mkdir()
    (debris / "part").write_text("of a killed run")
    with directories.atomic_directory(tmp_path / "output") as staging:
        assert list(staging.iterdir()) == []
    assert list((tmp_path / "output").iterdir()) == []


def test_nan_and_infinity_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "metrics.json", {"ndcg@10": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        files.append_line(tmp_path / "run.jsonl", {"rows": float("inf")})


def test_each_record_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    records = [{"error": "two\nlines"}, {"title": "Björk"}]
    for record in records:
        files.append_line(log, record)
    assert [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] == records


def test_lock_excludes_other_processes_and_names_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "output.lock"
    holders: list[str] = []
    with held_by_another_process(lock) as holder:
        assert holder.stdin is not None

        def release(holder_name: str) -> None:
            holders.append(holder_name)
            print(file=holder.stdin, flush=True)

        with locks.exclusive_lock(lock, waiting_for=release):
            assert holder.wait(timeout=10) == 0
    assert len(holders) == 1
    assert holders[0].startswith(f"process {holder.pid} on ")
    assert lock.exists()


def test_free_lock_is_taken_at_once(tmp_path: Path) -> None:
    with locks.exclusive_lock(
        tmp_path / "deep" / "output.lock", waiting_for=lambda who: pytest.fail(f"waited for {who}")
    ):
        assert (tmp_path / "deep" / "output.lock").exists()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "output.lock"
    with held_by_another_process(lock) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=10)
        with locks.exclusive_lock(lock, waiting_for=lambda who: pytest.fail(f"waited for {who}")):
            pass


def test_lock_is_released_on_error(tmp_path: Path) -> None:
    lock = tmp_path / "output.lock"
    with pytest.raises(RuntimeError), locks.exclusive_lock(lock):
        raise RuntimeError
    with locks.exclusive_lock(lock, waiting_for=lambda who: pytest.fail(f"waited for {who}")):
        pass


def test_leftovers_are_removed_unless_locked(tmp_path: Path) -> None:
    for name in ("finished", f"making{files.STAGING}", f"debris{files.STAGING}"):
        (tmp_path / "train" / name).mkdir(parents=True)
    with held_by_another_process(locks.lock_path(tmp_path / "train" / "making")):
        swept = directories.remove_leftovers(tmp_path, "*/*")
    assert swept == [tmp_path / "train" / f"debris{files.STAGING}"]
    left = {path.name for path in (tmp_path / "train").iterdir() if path.is_dir()}
    assert left == {"finished", f"making{files.STAGING}"}


def test_staging_file_does_not_stop_remove_leftovers(tmp_path: Path) -> None:
    (tmp_path / f"current{files.STAGING}").write_text("half a ver")
    (tmp_path / f"version{files.STAGING}").mkdir()
    directories.remove_leftovers(tmp_path, "*")
    assert not (tmp_path / f"version{files.STAGING}").exists()


def two_directories(root: Path) -> tuple[Path, Path]:
    """Create a finished directory and the staging directory that replaces it."""
    final, staging = root / "version", root / f"version{files.STAGING}"
    for directory, text in ((final, "old"), (staging, "new")):
        directory.mkdir()
        (directory / "file").write_text(text)
    return final, staging


@pytest.mark.parametrize("able", [True, False])
def test_swap_directory_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    final, staging = two_directories(tmp_path)
    if not able:
        monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
    directories.swap_directory(final, staging)
    assert (final / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [final]


def test_failed_exchange_raises(tmp_path: Path) -> None:
    _, staging = two_directories(tmp_path)
    with pytest.raises(FileNotFoundError):
        directories.swap_directory(tmp_path / "missing", staging)
    assert (staging / "file").read_text() == "new"


def test_failed_swap_keeps_the_old_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, staging = two_directories(tmp_path)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self == staging:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        directories.swap_directory(final, staging)
    assert (final / "file").read_text() == "old"


@pytest.mark.parametrize("dies", ["between", "after"])
def test_remove_leftovers_restores_a_replaced_directory(tmp_path: Path, dies: str) -> None:
    final, staging = two_directories(tmp_path)
    final.rename(tmp_path / f"version{directories.REPLACED}")
    if dies == "after":
        staging.rename(final)
    with held_by_another_process(locks.lock_path(final)):
        directories.remove_leftovers(tmp_path, "*")
        assert (tmp_path / f"version{directories.REPLACED}").exists()
    directories.remove_leftovers(tmp_path, "*")
    assert (final / "file").read_text() == {"between": "old", "after": "new"}[dies]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["version"]


def test_locked_directory_is_not_removed(tmp_path: Path) -> None:
    final = tmp_path / "output"
    final.mkdir()
    with held_by_another_process(locks.lock_path(final)):
        assert not directories.remove_if_unlocked(final)
    assert not directories.remove_if_unlocked(final, lambda: False)
    assert final.exists()
    assert directories.remove_if_unlocked(final)
    assert not final.exists()


def test_interrupted_removal_leaves_only_staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = tmp_path / "output"
    final.mkdir()
    (final / "_SUCCESS").touch()
    monkeypatch.setattr(directories.shutil, "rmtree", lambda path, ignore_errors=False: None)
    directories.remove_directory(final)
    assert [path.name for path in tmp_path.iterdir()] == [f"output{files.STAGING}"]


def test_scratch_of_an_ended_process_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; from pathlib import Path; from common.scratch import scratch_directory\n"
    code += "print(scratch_directory(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    monkeypatch.setattr(scratch, "_GRACE_PERIOD_S", 0.0)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    made = Path(process.stdout.readline().strip())
    assert made.is_relative_to(tmp_path)
    (made / "left").write_text("over")
    scratch.remove_stale_scratch(tmp_path)
    assert (made / "left").exists()
    process.kill()
    process.communicate()
    scratch.remove_stale_scratch(tmp_path)
    assert not made.exists()


def test_new_scratch_is_kept_without_a_lock(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    scratch.remove_stale_scratch(tmp_path)
    assert (tmp_path / "new").exists()
