"""A version's manifest: reading it, and verifying the version's files against it.

The success marker of a version holds the checksum of its manifest, and the manifest those of all other files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.checksums import changed_files, file_checksums
from common.files import read_json, write_json
from config.paths import SUCCESS

MANIFEST = "manifest.json"
ManifestStamp = tuple[int, int]
"""Inode and modification time of a manifest, in nanoseconds."""


def read_manifest(version: Path) -> dict[str, Any]:
    """Read the manifest of a version directory."""
    manifest: dict[str, Any] = read_json(version / MANIFEST)
    return manifest


def manifest_stamp(version: Path) -> ManifestStamp:
    """Return a stamp that changes with the version's contents. Only `forget` changes a published version.

    Raises:
        FileNotFoundError: the version has no manifest.
    """
    status = (version / MANIFEST).stat()
    return status.st_ino, status.st_mtime_ns


def creation_order(version: Path) -> tuple[int, str]:
    """Return the version's sequence number and creation time; `(0, "")` if its manifest cannot be read."""
    try:
        manifest = read_manifest(version)
        return int(manifest["sequence"]), str(manifest["created_at"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, ""


def verify_version(version: Path, *, digests: bool = True) -> list[str]:
    """Return one sentence for each file of a published version that is missing or changed.

    Args:
        digests: read the files and compare checksums; otherwise compare sizes only, which is fast.
    """
    try:
        marked = _read_marker(version).get("files", {})
    except (OSError, ValueError, AttributeError):
        return [f"{SUCCESS} is damaged."]
    try:
        expected = marked | read_manifest(version)["files"]
    except FileNotFoundError:
        return [f"{MANIFEST} is missing."]
    except (ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is damaged."]
    return [f"{name} {_describe(error)}." for name, error in changed_files(version, expected, digests=digests)]


def update_marker(version: Path) -> None:
    """Write the checksum of a changed manifest into the version's success marker."""
    if "files" in (marker := _read_marker(version)):
        (version / SUCCESS).unlink()  # it may be a hard link to the marker of the unchanged version
        write_json(version / SUCCESS, marker | {"files": file_checksums(version, [MANIFEST])})


def _read_marker(version: Path) -> dict[str, Any]:
    text = (version / SUCCESS).read_text(encoding="utf-8")
    marker: dict[str, Any] = json.loads(text) if text else {}
    return marker


def _describe(error: OSError | None) -> str:
    if error is None:
        return "differs from what was published"
    return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
