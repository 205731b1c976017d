"""The published versions of a dataset, and `current`: the one cell that is ever changed.

Every function takes the dataset's directory, `models/<dataset>`.
"""

from __future__ import annotations

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
    promoted = {}
    for cell in models_root.glob(f"*/{CURRENT}"):
        with suppress(FileNotFoundError):  # it may just be going
            promoted[cell.parent.name] = cell.stat().st_mtime
    return sorted(promoted, key=promoted.__getitem__, reverse=True)


def current(root: Path) -> str | None:
    """The version that is served; None before the first promotion."""
    try:
        return (root / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def versions(root: Path) -> list[str]:
    """The published versions, oldest first."""
    whole = (marker.parent.name for marker in root.glob(f"*/{SUCCESS}") if is_version(root, marker.parent.name))
    return sorted(whole, key=lambda version: sequence(root / version))


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
    compared: dict[str, Any] | None = None,
) -> None:
    """Makes `version` the one that is served, if `expected` still is: a compare-and-swap, audited and durable.

    A promotion by the user ends a pin. A run must ask `is_pinned` first, and is refused here too.

    Args:
        compared: the figures that spoke for it, which go into the audit.

    Raises:
        StoreError: there is no such version, another promotion came first, or the dataset is pinned.
    """
    with locked(root / _LOCK):
        if by == "run" and is_pinned(root):
            raise StoreError(f"{root.name} is pinned to {current(root)} by a rollback; promote it by hand.")
        _check(root, version, expected)
        _switch(root, version, f"promoted by the {by}", {} if compared is None else {"compared": compared})
        (root / PINNED).unlink(missing_ok=True)
        fsync(root)


def roll_back(root: Path, version: str, *, expected: str | None) -> None:
    """Serves an earlier version again, and pins the dataset until somebody promotes by hand.

    Raises:
        StoreError: the version does not verify, does not exist, or another promotion came first.
    """
    with locked(root / _LOCK):
        _check(root, version, expected)
        if faults := verify(root / version):
            raise StoreError(f"{root / version} does not verify: {faults[0]}")
        write_atomically(root / PINNED, f"{version}\n")
        _switch(root, version, "rolled back", {})


def _check(root: Path, version: str, expected: str | None) -> None:
    if not is_version(root, version):
        raise StoreError(f"There is no version {version} in {root}.")
    if (found := current(root)) != expected:
        raise StoreError(f"{root / CURRENT} names {found}, not {expected}: another promotion came first.")


def _switch(root: Path, version: str, action: str, more: dict[str, Any]) -> None:
    append_line(root / AUDIT, {"at": now(), "action": action, "from": current(root), "to": version, **more})
    write_atomically(root / CURRENT, f"{version}\n")
