"""A served version: its documents and its pool of open stores, shared by all requests."""

from __future__ import annotations

import sqlite3
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
from models.manifest import ManifestStamp, manifest_stamp, read_manifest
from models.registry import VersionRegistry
from models.serving_store import ServingStore
from webapp.serving.scoreboard import Scoreboard
from webapp.serving.track_json import render_track_json


@dataclass(eq=False)
class ServedVersion:
    """A version that is being served. Its documents are read once: only deleting a user changes a version."""

    dataset: str
    version: str
    directory: Path
    manifest_stamp: ManifestStamp
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    profile: dict[str, Any]
    fallback_reason: str | None = None
    """If the promoted version cannot be served and this one replaces it: a sentence with the reason."""
    _idle_stores: deque[ServingStore] = field(default_factory=deque)
    _is_closed: bool = False

    @classmethod
    def read(cls, directory: Path) -> ServedVersion:
        """Read a version.

        Raises:
            StoreError: one of its files is missing, has another size than published, or cannot be read.
        """
        try:
            stamp, manifest = manifest_stamp(directory), read_manifest(directory)
            for name, error in changed_files(directory, manifest["files"], digests=False):
                raise error or ValueError(f"{name} differs from what was published")
            metrics, profile = (read_json(directory / f"{name}.json") for name in ("metrics", "profile"))
            version = cls(directory.parent.name, directory.name, directory, stamp, manifest, metrics, profile)
            with version.store() as store:
                store.popular(1)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(_unreadable(directory, error)) from error
        return version

    @property
    def registry(self) -> VersionRegistry:
        """The registry of its dataset."""
        return VersionRegistry(self.directory.parent)

    @property
    def title(self) -> str:
        """The dataset's title."""
        return str(self.manifest["title"])

    @property
    def item_label(self) -> str:
        """What the page calls a track, such as song or artist."""
        return str(self.manifest["item_label"])

    @cached_property
    def etag(self) -> str:
        """The HTTP `ETag`. Deleting a user changes it."""
        return quote_etag(f"{quote(self.dataset)}-{self.version}-{len(self.manifest.get('forgotten', ()))}")

    @cached_property
    def scoreboard(self) -> Scoreboard:
        """The candidates and their metrics."""
        return Scoreboard.from_metrics(self.metrics)

    @cached_property
    def leaderboard(self) -> list[dict[str, Any]]:
        """The entries of `leaderboard.json`: candidates in order, then skipped candidates with a reason."""
        entries: list[dict[str, Any]] = self._document("leaderboard", [])
        return entries

    @cached_property
    def tuning(self) -> dict[str, Any]:
        """The contents of `tuning.json`: trials and settings by candidate."""
        content: dict[str, Any] = self._document("tuning", {})
        return content

    @property
    def lead(self) -> dict[str, Any] | None:
        """The champion's difference to popularity with its interval; None if it was not measured."""
        champion = self.metrics["champion"]
        entry = next((entry for entry in self.leaderboard if entry.get("model") == champion), {})
        return entry.get("to_popularity")

    @contextmanager
    def store(self) -> Iterator[ServingStore]:
        """Lend an open store from the pool, or open one.

        Raises:
            StoreError: the store is missing or damaged.
        """
        try:
            store = self._idle_stores.pop() if self._idle_stores else ServingStore(self.directory, render_track_json)
            try:
                yield store
            finally:
                self._idle_stores.append(store)
                if self._is_closed:
                    self.close()
        except (FileNotFoundError, sqlite3.Error) as error:
            raise StoreError(_unreadable(self.directory, error)) from error

    def close(self) -> None:
        """Close the idle stores. A lent store is closed when it is returned."""
        self._is_closed = True
        with suppress(IndexError):
            while True:
                self._idle_stores.pop().close()

    def _document(self, name: str, default: Any) -> Any:
        try:
            return read_json(self.directory / f"{name}.json")
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as error:
            raise StoreError(_unreadable(self.directory, error)) from error


def _unreadable(directory: Path, error: Exception) -> str:
    is_missing = isinstance(error, FileNotFoundError) and error.filename
    reason = f"{error.filename} is missing" if is_missing else str(error)  # type: ignore[attr-defined]
    return f"Version {directory.name} of {directory.parent.name} cannot be read: {reason.rstrip('.')}."
