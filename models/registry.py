"""The published versions of a dataset, and `current`: the one cell that is ever changed.

Every function takes the dataset's directory, `models/<dataset>`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from config.durable import STAGING, append_line, fsync, locked, now, read_json, sha256, write_atomically, write_json
from config.errors import StoreError
from config.paths import CURRENT, SUCCESS

AUDIT = "audit.jsonl"
PINNED = "pinned"
MANIFEST = "manifest.json"
_LOCK = "registry.lock"


def datasets(models_root: Path) -> list[str]:
    """The datasets that serve a version, the one promoted last first."""
    try:
        return promoted_last(models_root, os.listdir(models_root))  # noqa: PTH208 - many times as fast as a glob
    except FileNotFoundError:
        return []


def promoted_last(models_root: Path, names: Iterable[str]) -> list[str]:
    """Those of some datasets that serve a version, in the same order."""
    promoted = {}
    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError):  # no dataset, or just going
            promoted[name] = os.stat(f"{models_root}/{name}/{CURRENT}").st_mtime_ns  # noqa: PTH116
    return sorted(promoted, key=promoted.__getitem__, reverse=True)


def current(root: Path) -> str | None:
    """The version that is served; None before the first promotion."""
    try:
        return (root / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def versions(root: Path) -> list[str]:
    """The published versions, oldest first."""
    return sorted(names(root), key=lambda version: sequence(root / version))


def names(root: Path) -> list[str]:
    """The same in no order, without reading any."""
    return [marker.parent.name for marker in root.glob(f"*/{SUCCESS}") if is_version(root, marker.parent.name)]


def is_version(root: Path, name: str) -> bool:
    """Whether a name, wherever it comes from, is that of a whole version in `root`."""
    inside = name == Path(name).name and not name.endswith(STAGING)
    return inside and (root / name / SUCCESS).is_file()


def manifest(version: Path) -> dict[str, Any]:
    """A version's manifest."""
    found: dict[str, Any] = read_json(version / MANIFEST)
    return found


def sequence(version: Path) -> int:
    """The number that orders versions by their making."""
    return int(manifest(version)["sequence"])


def seal(version: Path, root: Path, facts: dict[str, Any]) -> None:
    """Writes the manifest of a version that is being made: the given facts, its number, every file's digest."""
    numbers = [sequence(root / other) for other in versions(root)]
    files = {
        str(file.relative_to(version)): {"sha256": sha256(file), "bytes": file.stat().st_size}
        for file in sorted(version.rglob("*"))
        if file.is_file()
    }
    opening = {"schema_version": 1, "sequence": max(numbers, default=0) + 1, "created_at": now()}
    write_json(version / MANIFEST, opening | facts | {"files": files})


def verify(version: Path) -> list[str]:
    """What is wrong with a published version: a sentence for each file that is missing or changed."""
    try:
        promises = manifest(version)["files"]
    except FileNotFoundError:
        return [f"{MANIFEST} is missing."]
    except (ValueError, KeyError):
        return [f"{MANIFEST} is damaged."]
    faults = []
    for name, promised in promises.items():
        file = version / name
        if not file.is_file():
            faults.append(f"{name} is missing.")
        elif file.stat().st_size != promised["bytes"] or sha256(file) != promised["sha256"]:
            faults.append(f"{name} is not what was published.")
    return faults


def is_pinned(root: Path) -> bool:
    """Whether a rollback keeps runs from promoting."""
    return (root / PINNED).exists()


def promote(
    root: Path,
    version: str,
    *,
    expected: str | None,
    by: Literal["run", "user"],
    via: str | None = None,
    compared: dict[str, Any] | None = None,
) -> None:
    """Makes `version` the one that is served, if `expected` still is: a compare-and-swap, audited and durable.

    A promotion by the user ends a pin. A run must ask `is_pinned` first, and is refused here too.

    Args:
        via: where the user did it, for the audit.
        compared: the figures that spoke for it, which go into the audit.

    Raises:
        StoreError: there is no such version, it does not verify (a run has just made its own, a user's may be old),
            another promotion came first, or the dataset is pinned.
    """
    with locked(root / _LOCK):
        if by == "run" and is_pinned(root):
            raise StoreError(f"{root.name} is pinned to {current(root)} by a rollback; promote it by hand.")
        _check(root, version, expected)
        if by == "user":
            _check_files(root / version)
        _switch(root, version, f"promoted by the {by}", {"via": via, "compared": compared})
        (root / PINNED).unlink(missing_ok=True)
        fsync(root)


def roll_back(root: Path, version: str, *, expected: str | None, via: str | None = None) -> None:
    """Serves an earlier version again, and pins the dataset until somebody promotes by hand.

    Args:
        via: where the user did it, for the audit.

    Raises:
        StoreError: the version does not verify, does not exist, or another promotion came first.
    """
    with locked(root / _LOCK):
        _check(root, version, expected)
        _check_files(root / version)
        write_atomically(root / PINNED, f"{version}\n")
        _switch(root, version, "rolled back", {"via": via})


def prunable(root: Path, keep: int) -> list[str]:
    """The versions that `prune` would remove, oldest first: all but the newest `keep`, and the one that is served.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"At least one version has to be kept, not {keep}.")
    return [version for version in versions(root)[:-keep] if version != current(root)]


def prune(root: Path, keep: int, *, via: str | None = None) -> list[str]:
    """Removes old versions for good, audited; returns which.

    A version is renamed away before its files are removed, so that none is ever there in part: what a crash leaves is
    swept by the next run.

    Args:
        keep: see `prunable`.
        via: where the user did it, for the audit.

    Raises:
        ValueError: `keep` is below 1.
    """
    with locked(root / _LOCK):
        removed = prunable(root, keep)
        for version in removed:
            append_line(root / AUDIT, _entry("pruned", {"version": version, "via": via}))
            going = root / f"{version}{STAGING}"
            (root / version).rename(going)
            fsync(root)
            shutil.rmtree(going, ignore_errors=True)  # a run that starts may sweep it at the same time
    return removed


def audit(root: Path) -> list[dict[str, Any]]:
    """What was promoted, rolled back and pruned, oldest first; a line that was cut off is left out."""
    entries = []
    with suppress(FileNotFoundError):
        for line in (root / AUDIT).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)]


def _check(root: Path, version: str, expected: str | None) -> None:
    if not is_version(root, version):
        raise StoreError(f"There is no version {version} in {root}.")
    if (found := current(root)) != expected:
        raise StoreError(f"{root / CURRENT} names {found}, not {expected}: another promotion came first.")


def _check_files(version: Path) -> None:
    if faults := verify(version):
        raise StoreError(f"{version} does not verify: {faults[0]}")


def _switch(root: Path, version: str, action: str, more: dict[str, Any]) -> None:
    append_line(root / AUDIT, _entry(action, {"from": current(root), "to": version, **more}))
    write_atomically(root / CURRENT, f"{version}\n")


def _entry(action: str, facts: dict[str, Any]) -> dict[str, Any]:
    """A line of the audit; what is not known of it is left out, but for what served before."""
    known = {key: value for key, value in facts.items() if value is not None or key == "from"}
    return {"at": now(), "action": action, **known}
