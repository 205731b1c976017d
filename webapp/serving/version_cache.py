"""The cache of served versions. If a promoted version is damaged, the version promoted before it is served instead."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import StoreError
from config.paths import CURRENT
from models.manifest import manifest_stamp, verify_version
from models.registry import VersionRegistry, served_datasets, sort_by_promotion
from webapp.serving.served_version import ServedVersion

DATASETS_TTL_S = 1.0
"""Lifetime of the list of datasets: listing the directory costs more than most responses."""

RETRY_S = 10.0
"""Time that a fallback version is served before the promoted version is tried again."""

FileState = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and modification time of each file of a version."""

PointerStamp = tuple[int, int]
"""Inode and modification time of the `current` file."""


@dataclass(frozen=True)
class _CacheEntry:
    """A dataset's served version, valid until `expires` (monotonic clock) or until `current` changes."""

    stamp: PointerStamp
    served: ServedVersion
    expires: float


class VersionCache:
    """The served version of each dataset. Shared by all threads."""

    def __init__(self, models_root: Path) -> None:
        self._root = models_root
        self._datasets: tuple[list[str], float] = [], 0.0
        self._entries: dict[str, _CacheEntry] = {}
        self._bad: dict[Path, tuple[FileState, str]] = {}
        self._verified: dict[Path, tuple[FileState, list[str]]] = {}
        self._lock = threading.RLock()
        self._verify_lock = threading.Lock()

    def datasets(self) -> list[str]:
        """Return the datasets that serve a version, the last promoted first. May lag by `DATASETS_TTL_S`."""
        names, expires = self._datasets
        if not names or time.monotonic() > expires:
            names = served_datasets(self._root)
            self._datasets = names, time.monotonic() + DATASETS_TTL_S
        elif len(names) > 1:
            names = sort_by_promotion(self._root, names)
        return names

    def served(self, dataset: str) -> ServedVersion:
        """Return a dataset's promoted version, or the last good one if that cannot be read.

        Raises:
            StoreError: no version can be read.
        """
        stamp = self._pointer_stamp(dataset)
        entry = self._valid_entry(dataset, stamp)
        if entry is None:
            with self._lock:
                entry = self._valid_entry(dataset, stamp) or self._load(dataset, stamp)
        return entry.served

    def mark_bad(self, version: ServedVersion, reason: str) -> bool:
        """Stop serving a version until its files change, and return whether another version can be served."""
        with self._lock:
            self._bad[version.directory] = (_file_state(version.directory), reason)
            entry = self._entries.get(version.dataset)
            if entry is not None and entry.served is version:
                del self._entries[version.dataset]
                version.close()
        try:
            return self.served(version.dataset) is not version
        except StoreError:
            return False

    def find_corruption(self, version: ServedVersion) -> str | None:
        """Verify a version's checksums and describe the first failure; None if all match. Cached until files change."""
        with self._verify_lock:  # a lock of its own: verifying a large version must not block requests
            state, directory = _file_state(version.directory), version.directory
            cached = self._verified.get(directory)
            if cached is None or cached[0] != state:
                cached = self._verified[directory] = (state, verify_version(directory))
        failures = cached[1]
        return f"Version {version.version} of {version.dataset} does not verify: {failures[0]}" if failures else None

    def _pointer_stamp(self, dataset: str) -> PointerStamp:
        """Return a stamp that changes with every promotion, because each one replaces the file."""
        file = f"{self._root}/{dataset}/{CURRENT}"
        try:
            status = os.stat(file)  # noqa: PTH116 - once per request, and four times as fast as Path.stat
        except OSError as error:
            raise StoreError(f"{file} cannot be read: {error.strerror}.") from error
        return status.st_ino, status.st_mtime_ns

    def _valid_entry(self, dataset: str, stamp: PointerStamp) -> _CacheEntry | None:
        entry = self._entries.get(dataset)
        return entry if entry and entry.stamp == stamp and time.monotonic() <= entry.expires else None

    def _load(self, dataset: str, stamp: PointerStamp) -> _CacheEntry:
        """Read the promoted version, or the first readable one of those promoted before it."""
        registry, previous = VersionRegistry(self._root / dataset), self._entries.get(dataset)
        promoted = registry.current()
        if not promoted:
            raise StoreError(f"{registry.root / CURRENT} names no version. Promote a version with make promote.")
        reason = ""
        for name in _promotion_history(registry, promoted):
            try:
                served = self._read(registry.root / name, previous)
            except StoreError as error:
                reason = reason or str(error)
                continue
            served.fallback_reason = reason or None
            entry = _CacheEntry(stamp, served, time.monotonic() + RETRY_S if reason else float("inf"))
            self._entries[dataset] = entry
            if previous is not None and previous.served is not served:
                previous.served.close()
            return entry
        raise StoreError(reason)

    def _read(self, directory: Path, previous: _CacheEntry | None) -> ServedVersion:
        if bad := self._bad.get(directory):
            state, reason = bad
            if state == _file_state(directory):
                raise StoreError(reason)
            del self._bad[directory]
        if previous is not None and previous.served.directory == directory:
            with suppress(FileNotFoundError):  # then reading it below reports what is missing
                if previous.served.manifest_stamp == manifest_stamp(directory):
                    return previous.served
        return ServedVersion.read(directory)


def _promotion_history(registry: VersionRegistry, promoted: str) -> list[str]:
    """Return the promoted version and those promoted before it, newest first."""
    earlier = [str(entry["to"]) for entry in reversed(registry.audit()) if entry.get("to")]
    return list(dict.fromkeys([promoted, *(name for name in earlier if registry.has_version(name))]))


def _file_state(directory: Path) -> FileState:
    states = []
    for file in sorted(directory.rglob("*")):
        with suppress(OSError):
            status = file.stat()
            states.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(states)
