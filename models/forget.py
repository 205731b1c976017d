"""Delete one user from a published version.

Everything stored about the user is deleted: their row, list and history, their entries in the audiences of tracks, and
their data in the files that the model's algorithms declare. Aggregates over all users stay: metrics, popularity, track
factors.

The version is changed in a copy beside it, whose unchanged files are hard links. The copy replaces the version in one
step, so readers see the old version or the new one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from common.checksums import sha256
from common.dates import utc_now
from common.directories import remove_leftovers, swap_directory
from common.errors import StoreError
from common.files import STAGING, write_json
from common.full_disk import FREE_SPACE_HINT, describe_full_disk, is_disk_full
from common.locks import exclusive_lock, lock_path
from config.paths import EVALUATION
from models.delete_user_data import delete_from_model, delete_from_store, delete_rows
from models.manifest import MANIFEST, read_manifest, update_marker, verify_version
from models.model_directory import saved_algorithms
from models.registry import VersionRegistry
from models.serving_store import FILE

_USERS = "users.parquet"


def versions_with_user(registry: VersionRegistry, user_id: str) -> list[str]:
    """Return the versions that contain the user, oldest first.

    Raises:
        StoreError: a version does not verify, or its model is of an unknown algorithm: its contents are uncertain.
    """
    remove_leftovers(registry.root, "*")
    versions = registry.versions()
    for version in versions:
        directory = registry.root / version
        if faults := verify_version(directory):
            raise StoreError(f"{directory} does not verify: {faults[0]} Repair or remove the version, and try again.")
        saved_algorithms(directory / "model")
    return [version for version in versions if _find_user(registry.root / version, user_id)]


def remove_user(registry: VersionRegistry, version: str, user_id: str, *, via: str | None = None) -> list[str]:
    """Delete a user's data from a version for good, audited; return the files that changed.

    The version's manifest records the deletion with a salted hash of the id, not the id itself.

    Args:
        via: where this was requested, for the audit log.

    Raises:
        StoreError: the version does not exist or does not contain the user; or the disk is full.
    """
    final = registry.root / version
    with exclusive_lock(lock_path(final)), registry.lock():  # the order in which Publish takes them
        user = _find_user(final, user_id) if registry.has_version(version) else None
        if user is None:
            raise StoreError(f"{final} does not contain the user, or does not exist.")
        staging = final.with_name(final.name + STAGING)
        shutil.rmtree(staging, ignore_errors=True)
        try:
            shutil.copytree(final, staging, copy_function=_link_or_copy)
            list_length = _delete_user(staging, user_id, int(user["index"]))
            removed = {"users": 1, "interactions": int(user["interactions"]), "recommendations": list_length}
            changed = _rewrite_manifest(final, staging, user_id, removed)
            swap_directory(final, staging)
        except BaseException as error:
            shutil.rmtree(staging, ignore_errors=True)
            if is_disk_full(error):
                raise StoreError(f"{describe_full_disk(error, registry.root)}. {FREE_SPACE_HINT}") from error
            raise
        registry.audit_log.append("deleted a user", version=version, via=via)
    registry.refresh()
    return changed


def matches_deleted_user(forgotten: dict[str, Any], user_id: str) -> bool:
    """Whether an entry under `forgotten` in a manifest is about this user."""
    return _hash_id(user_id, bytes.fromhex(forgotten["salt"])) == str(forgotten["user"])


def _delete_user(version: Path, user_id: str, index: int) -> int:
    """Delete the user from every file of a version that contains their data; return the length of their list."""
    list_length = sum(delete_rows(file, "user_id", user_id) for file in version.glob("recommendations/*.parquet"))
    delete_rows(version / _USERS, "user_id", user_id)
    if (version / EVALUATION).is_file():
        delete_rows(version / EVALUATION, "user", index)
    delete_from_model(version / "model", index)
    delete_from_store(version / FILE, user_id, index)
    return list_length


def _rewrite_manifest(final: Path, staging: Path, user_id: str, removed: dict[str, int]) -> list[str]:
    """Write the manifest of the changed copy; return the files that differ from the version.

    Args:
        removed: what to subtract from the version's counts.
    """
    manifest = read_manifest(final)
    files = {
        name: checksum if (staging / name).samefile(final / name) else _checksum(staging / name)
        for name, checksum in manifest["files"].items()
        if (staging / name).exists()
    }
    changed = [name for name, checksum in manifest["files"].items() if files.get(name) != checksum]
    counts = {name: count - removed.get(name, 0) for name, count in manifest["counts"].items()}
    salt = secrets.token_bytes(16)
    entry = {"at": utc_now(), "user": _hash_id(user_id, salt), "salt": salt.hex(), "files": changed}
    forgotten = [*manifest.get("forgotten", ()), entry]
    (staging / MANIFEST).unlink()  # a hard link to the version's manifest
    write_json(staging / MANIFEST, manifest | {"counts": counts, "forgotten": forgotten, "files": files})
    update_marker(staging)
    return changed


def _checksum(file: Path) -> dict[str, Any]:
    return {"sha256": sha256(file), "bytes": file.stat().st_size}


def _find_user(version: Path, user_id: str) -> dict[str, Any] | None:
    """Return the user's row of `users.parquet`."""
    rows: list[dict[str, Any]] = pq.read_table(
        version / _USERS, filters=[("user_id", "==", user_id)], partitioning=None
    ).to_pylist()
    return rows[0] if rows else None


def _hash_id(user_id: str, salt: bytes) -> str:
    """Return a hash that is slow to compute (50 ms), so that ids cannot be guessed by trying many."""
    return hashlib.scrypt(user_id.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=16).hex()


def _link_or_copy(source: str, target: str) -> None:
    """Create a hard link, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
