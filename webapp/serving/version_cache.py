"""Which versions are served: read once, kept open, and given up for the last good one when they turn out damaged."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from werkzeug.http import quote_etag

from common.checksums import changed_files
from common.errors import StoreError
from common.files import read_json
from config.paths import CURRENT
from models.manifest import ManifestStamp, manifest_stamp, read_manifest, verify_version
from models.registry import VersionRegistry, served_datasets, sort_by_promotion
from models.serving_store import ServingStore
from webapp.serving.scoreboard import Scoreboard
from webapp.serving.track_fragments import prepare

LISTED_S = 1.0
"""How long the list of datasets holds: to look through the directory costs more than most answers."""

RETRY_S = 10.0
"""How long the last good version serves before the promoted one is looked at again."""

State = tuple[tuple[str, int, int, int], ...]
"""Of a version's files: name, inode, size and time of the last change."""


@dataclass(eq=False)
class ServedVersion:
    """A version, as all requests about it share it. What is read once is kept: only forgetting a user changes it."""

    dataset: str
    version: str
    directory: Path
    sealed: ManifestStamp
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    profile: dict[str, Any]
    instead_of: str | None = None
    """A sentence that says why this version serves, and not the one that is promoted."""
    _free: deque[ServingStore] = field(default_factory=deque)
    _retired: bool = False

    @classmethod
    def read(cls, directory: Path) -> ServedVersion:
        """Reads a version.

        Raises:
            StoreError: one of its files is missing, has another size than was published, or cannot be read.
        """
        try:
            sealed = manifest_stamp(directory)
            manifest = read_manifest(directory)
            for name, error in changed_files(directory, manifest["files"], digests=False):
                raise error or ValueError(f"{name} differs from what was published")
            documents = (read_json(directory / f"{name}.json") for name in ("metrics", "profile"))
            found = cls(directory.parent.name, directory.name, directory, sealed, manifest, *documents)
            with found.store() as store:
                store.popular(1)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(_unreadable(directory, error)) from error
        return found

    @property
    def registry(self) -> VersionRegistry:
        """The registry of its dataset."""
        return VersionRegistry(self.directory.parent)

    @property
    def title(self) -> str:
        """What the dataset is called."""
        return str(self.manifest["title"])

    @property
    def item_label(self) -> str:
        """What the page calls a track."""
        return str(self.manifest["item_label"])

    @cached_property
    def etag(self) -> str:
        """Stands for it in HTTP, as it is now."""
        return quote_etag(f"{quote(self.dataset)}-{self.version}-{len(self.manifest.get('forgotten', ()))}")

    @cached_property
    def scoreboard(self) -> Scoreboard:
        """The candidates and their metrics."""
        return Scoreboard.of(self.metrics)

    @cached_property
    def leaderboard(self) -> list[dict[str, Any]]:
        """Candidates in order, with their differences to popularity and the champion; then those left out, and why."""
        found: list[dict[str, Any]] = self._document("leaderboard", [])
        return found

    @cached_property
    def tuning(self) -> dict[str, Any]:
        """What was tried of each candidate that was tuned."""
        found: dict[str, Any] = self._document("tuning", {})
        return found

    @property
    def lead(self) -> dict[str, Any] | None:
        """By how much the champion is better than popularity, and the interval; None where that is not known."""
        entry = next((each for each in self.leaderboard if each.get("model") == self.metrics["champion"]), {})
        return entry.get("to_popularity")

    @contextmanager
    def store(self) -> Iterator[ServingStore]:
        """Lends the version's store, opened before if it can be.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            store = self._free.pop() if self._free else ServingStore(self.directory, prepare)
            try:
                yield store
            finally:
                self._free.append(store)
                if self._retired:
                    self.close()
        except (FileNotFoundError, sqlite3.Error) as error:
            raise StoreError(_unreadable(self.directory, error)) from error

    def _document(self, name: str, absent: Any) -> Any:
        try:
            return read_json(self.directory / f"{name}.json")
        except FileNotFoundError:
            return absent
        except (OSError, ValueError) as error:
            raise StoreError(_unreadable(self.directory, error)) from error

    def close(self) -> None:
        """Closes what is open; a store that is lent is closed when it comes back."""
        self._retired = True
        with suppress(IndexError):
            while True:
                self._free.pop().close()


@dataclass(frozen=True)
class _Slot:
    """What a dataset serves, and the state of `current` that this follows from."""

    stamp: tuple[int, int]
    served: ServedVersion
    until: float
    """When to look again, by the monotonic clock."""


class VersionCache:
    """The served version of each dataset. For all threads of the process."""

    def __init__(self, models_root: Path) -> None:
        self._root = models_root
        self._listed: tuple[list[str], float] = [], 0.0
        self._slots: dict[str, _Slot] = {}
        self._bad: dict[Path, tuple[State, str]] = {}
        self._verified: dict[Path, tuple[State, list[str]]] = {}
        self._lock = threading.RLock()
        self._verifying = threading.Lock()

    def datasets(self) -> list[str]:
        """The datasets that serve a version, the one promoted last first; a new one is seen within `LISTED_S`."""
        names, until = self._listed
        if not names or time.monotonic() > until:
            names = served_datasets(self._root)
            self._listed = names, time.monotonic() + LISTED_S
        elif len(names) > 1:
            names = sort_by_promotion(self._root, names)
        return names

    def served(self, dataset: str) -> ServedVersion:
        """What a dataset serves: the promoted version, or the last good one if that cannot be read.

        Raises:
            StoreError: neither can be read; the sentence says why.
        """
        stamp = self._stamp(dataset)
        slot = self._fresh(dataset, stamp)
        if slot is None:
            with self._lock:
                slot = self._fresh(dataset, stamp) or self._put(dataset, stamp)
        return slot.served

    def give_up(self, version: ServedVersion, why: str) -> bool:
        """Stops serving a version until its files change; returns whether another one can serve instead."""
        with self._lock:
            self._bad[version.directory] = (_state(version.directory), why)
            slot = self._slots.get(version.dataset)
            if slot is not None and slot.served is version:
                del self._slots[version.dataset]
                version.close()
        try:
            return self.served(version.dataset) is not version
        except StoreError:
            return False

    def fault(self, version: ServedVersion) -> str | None:
        """What is wrong with a version's files, by their digests; computed again only after they have changed."""
        with self._verifying:  # takes long for a large version, and must not keep others from being served
            state, directory = _state(version.directory), version.directory
            known = self._verified.get(directory)
            if known is None or known[0] != state:
                known = self._verified[directory] = (state, verify_version(directory))
        return f"{version.dataset}'s version {version.version} does not verify: {known[1][0]}" if known[1] else None

    def _stamp(self, dataset: str) -> tuple[int, int]:
        """Changes with every promotion, as each replaces the file."""
        file = f"{self._root}/{dataset}/{CURRENT}"
        try:
            found = os.stat(file)  # noqa: PTH116 - once a request, and four times as fast as Path.stat
        except OSError as error:
            raise StoreError(f"{file} cannot be read: {error.strerror}.") from error
        return found.st_ino, found.st_mtime_ns

    def _fresh(self, dataset: str, stamp: tuple[int, int]) -> _Slot | None:
        """What is known of a dataset, if that is still so."""
        slot = self._slots.get(dataset)
        return slot if slot and slot.stamp == stamp and time.monotonic() <= slot.until else None

    def _put(self, dataset: str, stamp: tuple[int, int]) -> _Slot:
        """Reads what a dataset serves: of the promoted version and those promoted before, the first that is whole."""
        registry, before = VersionRegistry(self._root / dataset), self._slots.get(dataset)
        promoted = registry.current()
        if not promoted:
            raise StoreError(f"{registry.root / CURRENT} names no version: promote one by hand.")
        why = ""
        for name in _promoted_before(registry, promoted):
            try:
                served = self._read(registry.root / name, before)
            except StoreError as error:
                why = why or str(error)
                continue
            served.instead_of = why or None
            slot = _Slot(stamp, served, time.monotonic() + RETRY_S if why else float("inf"))
            self._slots[dataset] = slot
            if before is not None and before.served is not served:
                before.served.close()
            return slot
        raise StoreError(why)

    def _read(self, directory: Path, before: _Slot | None) -> ServedVersion:
        known_bad = self._bad.get(directory)
        if known_bad is not None:
            if known_bad[0] == _state(directory):
                raise StoreError(known_bad[1])
            del self._bad[directory]
        if before is not None and before.served.directory == directory:
            with suppress(FileNotFoundError):  # in which case it is read, and found wanting
                if before.served.sealed == manifest_stamp(directory):
                    return before.served
        return ServedVersion.read(directory)


def _promoted_before(registry: VersionRegistry, promoted: str) -> list[str]:
    """The promoted version, and those that were promoted before it, the last first."""
    earlier = [str(entry["to"]) for entry in reversed(registry.audit()) if entry.get("to")]
    return list(dict.fromkeys([promoted, *(name for name in earlier if registry.has_version(name))]))


def _state(version: Path) -> State:
    found = []
    for file in sorted(version.rglob("*")):
        with suppress(OSError):
            status = file.stat()
            found.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _unreadable(version: Path, error: Exception) -> str:
    why = f"{error.filename} is missing" if isinstance(error, FileNotFoundError) and error.filename else str(error)
    return f"{version.parent.name} serves the version {version.name}, which cannot be read: {why.rstrip('.')}."
