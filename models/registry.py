"""The published versions of a dataset, and `current`: the one cell that is ever changed.

Every function takes the dataset's directory, `models/<dataset>`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from common.durable import (
    REPLACED,
    STAGING,
    append_line,
    changed_files,
    exclusive_lock,
    file_checksums,
    fsync,
    read_json,
    remove_directory,
    utc_now,
    write_atomically,
    write_json,
)
from common.errors import StoreError, UserError
from config.paths import CURRENT, SUCCESS

AUDIT = "audit.jsonl"
ROLLED_BACK = "rolled back"
PINNED = "pinned"
MANIFEST = "manifest.json"
ManifestStamp = tuple[int, int]
"""The inode and the time of a manifest."""

LOCK = "registry.lock"
"""Name of the lock file that whoever changes what is published holds."""


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
    """The version that is served; None before the first promotion.

    Raises:
        StoreError: something else than a file is in the way.
    """
    try:
        return (root / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        told = f"{root / CURRENT} cannot be read ({error.strerror}): move it away, and promote a version again."
        raise StoreError(told) from error


def versions(root: Path) -> list[str]:
    """The published versions, oldest first; one without a readable manifest counts as the oldest."""
    return sorted(names(root), key=lambda version: _made(root / version))


def names(root: Path) -> list[str]:
    """The same in no order, without reading any."""
    return [marker.parent.name for marker in root.glob(f"*/{SUCCESS}") if is_version(root, marker.parent.name)]


def is_version(root: Path, name: str) -> bool:
    """Whether a name, wherever it comes from, is that of a whole version in `root`."""
    inside = name == Path(name).name and not name.endswith((STAGING, REPLACED))
    return inside and (root / name / SUCCESS).is_file()


def manifest(version: Path) -> dict[str, Any]:
    """A version's manifest."""
    found: dict[str, Any] = read_json(version / MANIFEST)
    return found


def manifest_stamp(version: Path) -> ManifestStamp:
    """What tells whether the version was changed since: nothing does that but forgetting a user.

    Raises:
        FileNotFoundError: it has no manifest.
    """
    status = (version / MANIFEST).stat()
    return status.st_ino, status.st_mtime_ns


def sequence(version: Path) -> int:
    """The number that orders versions by their making."""
    return int(manifest(version)["sequence"])


def find(root: Path, asked: str) -> str:
    """The version that is meant by its id, by its number (`12` or `#12`), or by the beginning of its id.

    A number goes before the beginning of an id.

    Raises:
        UserError: there is no such version, or there are several; the sentence lists those that there are.
    """
    known = versions(root)
    numbered = [version for version in known if asked.removeprefix("#") == str(_made(root / version)[0])]
    begun = [version for version in known if asked and version.startswith(asked)]
    found = [asked] if asked in known else numbered or begun
    if len(found) == 1:
        return found[0]
    there = ", ".join(display_name(root, version) for version in reversed(found or known)) or "none"
    if not asked:
        raise UserError(f"Name a version of {root.name} with VERSION=; there are: {there}.")
    raise UserError(f"{root.name} has {'several versions' if found else 'no version'} {asked!r}; there are: {there}.")


def display_name(root: Path, version: str) -> str:
    """A version as people call it: its number, and as much of its id as tells it apart."""
    number = _made(root / version)[0]
    return f"#{number} {version[:12]}" if number else version[:12]


def write_manifest(version: Path, root: Path, facts: dict[str, Any]) -> None:
    """Writes the manifest of a version that is being made: the given facts, its number, every file's digest.

    Versions that are being made at the same time get different numbers: one is taken under the registry's lock, and
    those in staging count.
    """
    files = file_checksums(version)
    with exclusive_lock(root / LOCK):
        number = max((_made(file.parent)[0] for file in root.glob(f"*/{MANIFEST}")), default=0) + 1
        opening = {"schema_version": 1, "sequence": number, "created_at": utc_now()}
        write_json(version / MANIFEST, opening | facts | {"files": files})


def verify(version: Path, *, digests: bool = True) -> list[str]:
    """What is wrong with a published version: a sentence for each file that is missing or changed.

    Args:
        digests: whether files are read; otherwise their sizes alone are compared, which takes no time.
    """
    try:
        of_manifest = _marker(version).get("files", {})
    except (OSError, ValueError, AttributeError):
        return [f"{SUCCESS} is damaged."]
    try:
        promises = of_manifest | manifest(version)["files"]
    except FileNotFoundError:
        return [f"{MANIFEST} is missing."]
    except (ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is damaged."]
    return [f"{name} {_wrong(error)}." for name, error in changed_files(version, promises, digests=digests)]


def _wrong(error: OSError | None) -> str:
    if error is None:
        return "is not what was published"
    return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"


def update_marker(version: Path) -> None:
    """Lets the marker of a version that is being changed say what its manifest has become."""
    if "files" in (marker := _marker(version)):
        (version / SUCCESS).unlink()  # it may be a link to that of the version as it was
        write_json(version / SUCCESS, marker | {"files": file_checksums(version, [MANIFEST])})


def _marker(version: Path) -> dict[str, Any]:
    """What the marker of a version says; nothing if it is empty."""
    text = (version / SUCCESS).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def is_pinned(root: Path) -> bool:
    """Whether a rollback keeps runs from promoting. What a crash has left, a pin to what is not served, does not."""
    try:
        return current(root) in (root / PINNED).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False


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
    with exclusive_lock(root / LOCK):
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
    with exclusive_lock(root / LOCK):
        _check(root, version, expected)
        _check_files(root / version)
        before = [expected] if is_pinned(root) else []
        write_atomically(root / PINNED, "".join(f"{name}\n" for name in (version, *before)))
        _switch(root, version, ROLLED_BACK, {"via": via})
        if before:
            write_atomically(root / PINNED, f"{version}\n")


def served_before(root: Path) -> str | None:
    """The version that served before the present one and still is there; None where there is none.

    What was rolled back does not count: after a second bad version, a further step goes further back.
    """
    line: list[str] = []
    for entry in audit(root):
        if (version := entry.get("to")) is None:
            continue
        if version in line:
            there = line.index(version)
            line = line[:there] if entry.get("action") == ROLLED_BACK else line[:there] + line[there + 1 :]
        line.append(str(version))
    served = current(root)
    return next((each for each in reversed(line) if each != served and is_version(root, each)), None)


def prunable(root: Path, keep: int) -> list[str]:
    """The versions that `prune` would remove, oldest first: all but the newest `keep`, and the one that is served.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"At least one version has to be kept, not {keep}.")
    return [version for version in versions(root)[:-keep] if version != current(root)]


def prune(root: Path, keep: int, *, spared: Collection[str | None] = (), via: str | None = None) -> list[str]:
    """Removes old versions for good, audited; returns which.

    A version is renamed away before its files are removed, so that none is ever there in part: what a crash leaves is
    swept by the next run.

    Args:
        keep: see `prunable`.
        spared: versions that stay all the same.
        via: where the user did it, for the audit.

    Raises:
        ValueError: `keep` is below 1.
    """
    with exclusive_lock(root / LOCK):
        removed = [version for version in prunable(root, keep) if version not in spared]
        for version in removed:
            append_audit(root, "pruned", version=version, via=via)
            remove_directory(root / version)
    return removed


def refresh(root: Path) -> None:
    """Makes readers look at the served version again, whose files may have been exchanged.

    It is still the dataset that was promoted when it was: the file's time differs by a millionth of a second.
    """
    with exclusive_lock(root / LOCK):
        if (served := current(root)) is not None:
            before = (root / CURRENT).stat()
            write_atomically(root / CURRENT, f"{served}\n")
            os.utime(root / CURRENT, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))


def audit(root: Path) -> list[dict[str, Any]]:
    """What was promoted, rolled back, pruned and forgotten, oldest first.

    A promotion and a rollback are noted first, and one that a crash has prevented then is left out, as is a line that
    was cut off. That a user was forgotten is noted last, as it must not be said too early: the manifest has it as well.
    """
    served, entries = current(root), []  # in this order: of what happens between the two, nothing is lost
    with suppress(FileNotFoundError):
        for line in (root / AUDIT).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                entries.append(json.loads(line))
    return _carried_out([entry for entry in entries if isinstance(entry, dict)], served)


def _carried_out(entries: list[dict[str, Any]], served: str | None) -> list[dict[str, Any]]:
    """Without the switches after which what had served before was served still.

    Args:
        served: the version that is served now.
    """
    kept = []
    for entry in reversed(entries):
        if (version := entry.get("to")) is not None:
            if served is not None and served == entry.get("from") != version:
                continue
            served = entry.get("from")
        kept.append(entry)
    return kept[::-1]


def _check(root: Path, version: str, expected: str | None) -> None:
    if not is_version(root, version):
        raise StoreError(f"There is no version {version} in {root}.")
    if (found := current(root)) != expected:
        raise StoreError(f"{root / CURRENT} names {found}, not {expected}: another promotion came first.")


def _check_files(version: Path) -> None:
    if faults := verify(version):
        raise StoreError(f"{version} does not verify: {faults[0]}")


def _switch(root: Path, version: str, action: str, more: dict[str, Any]) -> None:
    append_audit(root, action, **{"from": current(root)}, to=version, **more)
    write_atomically(root / CURRENT, f"{version}\n")


def append_audit(root: Path, action: str, **facts: Any) -> None:
    """Adds a line to the audit; what is not known of it is left out, but for what served before."""
    known = {key: value for key, value in facts.items() if value is not None or key == "from"}
    append_line(root / AUDIT, {"at": utc_now(), "action": action, **known})


def _made(version: Path) -> tuple[int, str]:
    """The version's number and when it was made; 0 and nothing where its manifest cannot be read."""
    try:
        found = manifest(version)
        return int(found["sequence"]), str(found["created_at"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, ""
