"""Forgetting one user: takes them out of a version that is published already.

What names a user goes: their rows, their list and history, their place in lists of others, their factors. What is
counted or learned from everybody together stays: metrics, popularity, factors of tracks.

A version is changed in a copy beside it, whose other files are hard links, and the copy takes its place in one step. So
readers see the version as it was, or as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from common.durable import (
    STAGING,
    exclusive_lock,
    lock_path,
    remove_leftovers,
    sha256,
    swap_directory,
    utc_now,
    write_json,
)
from common.errors import StoreError
from common.full_disk import FREE_SPACE_HINT, describe_full_disk, is_disk_full
from config.paths import EVALUATION
from models.delete_user_data import delete_from_model, delete_rows
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
    root = registry.root
    remove_leftovers(root, "*")
    versions = registry.versions()
    for version in versions:
        if faults := verify_version(root / version):
            raise StoreError(
                f"{root / version} does not verify: {faults[0]} Repair or remove the version, and try again."
            )
        saved_algorithms(root / version / "model")
    return [version for version in versions if _facts(root / version, user_id)]


def remove_user(registry: VersionRegistry, version: str, user_id: str, *, via: str | None = None) -> list[str]:
    """Delete a user's data from a version for good, audited; return the files that changed.

    The version's manifest records the deletion with a salted hash of the id, not the id itself.

    Raises:
        StoreError: the version does not exist or does not contain the user; or the disk is full.
    """
    root, final = registry.root, registry.root / version
    with exclusive_lock(lock_path(final)), registry.lock():  # the order in which Publish takes them
        facts = _facts(final, user_id) if registry.has_version(version) else []
        if not facts:
            raise StoreError(f"{final} does not contain the user, or does not exist.")
        staging = final.with_name(final.name + STAGING)
        shutil.rmtree(staging, ignore_errors=True)
        try:
            shutil.copytree(final, staging, copy_function=_link)
            lines = _take_out(staging, user_id, int(facts[0]["index"]))
            changed = _seal_again(final, staging, user_id, (1, int(facts[0]["interactions"]), lines))
            swap_directory(final, staging)
        except BaseException as error:
            shutil.rmtree(staging, ignore_errors=True)
            if is_disk_full(error):
                raise StoreError(f"{describe_full_disk(error, root)}. {FREE_SPACE_HINT}") from error
            raise
        registry.audit_log.append("deleted a user", version=version, via=via)
    registry.refresh()
    return changed


def matches_deleted_user(forgotten: dict[str, Any], user_id: str) -> bool:
    """Whether an entry under `forgotten` in a manifest is about this user."""
    return _digest(user_id, bytes.fromhex(forgotten["salt"])) == str(forgotten["user"])


def _take_out(version: Path, user_id: str, index: int) -> int:
    """Delete the user from every file of a version that names them; return the length of their list."""
    lines = sum(delete_rows(file, "user_id", user_id) for file in version.glob("recommendations/*.parquet"))
    delete_rows(version / _USERS, "user_id", user_id)
    if (version / EVALUATION).is_file():
        delete_rows(version / EVALUATION, "user", index)
    delete_from_model(version / "model", index)
    _leave_store(version / FILE, user_id, index)
    return lines


def _leave_store(file: Path, user_id: str, index: int) -> None:
    """Deletes the user's rows and places so that no byte of them is left in the file."""
    shutil.copyfile(file, _beside(file))
    with closing(sqlite3.connect(_beside(file), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("BEGIN")
        ((items,),) = db.execute("SELECT recommendations FROM user_lists WHERE idx = ?", (index,)).fetchall()
        places = np.frombuffer(items, "<i4").tolist()
        tracks = db.execute(
            "SELECT idx, audience, audience_ranks, audience_scores FROM tracks JOIN track_lists USING (idx) "
            "WHERE tracks.popularity_rank IN (SELECT value FROM json_each(?))", (json.dumps(places),),
        ).fetchall()  # fmt: skip
        for track, reached, ranks, scores in tracks:
            others = np.frombuffer(reached, "<i4") != index
            left = [np.frombuffer(column, "<i4")[others].tobytes() for column in (reached, ranks, scores)]
            db.execute(
                "UPDATE track_lists SET audience_size = audience_size - 1, audience = ?, audience_ranks = ?, "
                "audience_scores = ? WHERE idx = ?",
                (*left, track),
            )
        db.execute("DELETE FROM user_lists WHERE idx = ?", (index,))
        db.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
        db.execute("COMMIT")
        db.execute("VACUUM")
    _beside(file).replace(file)


def _seal_again(final: Path, staging: Path, user_id: str, less: tuple[int, int, int]) -> list[str]:
    """Writes the manifest of the changed copy; returns the files that differ.

    Args:
        less: by how many users, interactions and recommendations the version has become smaller.
    """
    sealed = read_manifest(final)
    files, changed = dict[str, Any](), list[str]()
    for name, promised in sealed["files"].items():
        file = staging / name
        if file.exists() and file.samefile(final / name):
            files[name] = promised
        elif file.exists():
            files[name] = {"sha256": sha256(file), "bytes": file.stat().st_size}
        if files.get(name) != promised:
            changed.append(name)
    counts = dict(sealed["counts"])
    for what, fewer in zip(("users", "interactions", "recommendations"), less, strict=True):
        if what in counts:
            counts[what] -= fewer
    salt = secrets.token_bytes(16)
    entry = {"at": utc_now(), "user": _digest(user_id, salt), "salt": salt.hex(), "files": changed}
    forgotten = [*sealed.get("forgotten", ()), entry]
    (staging / MANIFEST).unlink()  # it is a link to the present one
    write_json(staging / MANIFEST, sealed | {"counts": counts, "forgotten": forgotten, "files": files})
    update_marker(staging)
    return changed


def _facts(version: Path, user_id: str) -> list[dict[str, Any]]:
    """The user's row, if the version knows them."""
    rows: list[dict[str, Any]] = pq.read_table(
        version / _USERS, filters=[("user_id", "==", user_id)], partitioning=None
    ).to_pylist()
    return rows


def _digest(user_id: str, salt: bytes) -> str:
    """Tells an id from others, and takes a guesser of many ids long: 50 ms each."""
    return hashlib.scrypt(user_id.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=16).hex()


def _beside(file: Path) -> Path:
    """Where a file is written before it takes the place of another one, which may be a link to that of a version."""
    return file.with_name(file.name + STAGING)


def _link(source: str, target: str) -> None:
    """Another name for a file, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
