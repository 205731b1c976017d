"""Reads a published version for the page: which datasets are served, and everything said about one of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from config.durable import read_json
from config.errors import StoreError
from config.paths import CURRENT
from models import registry
from models.store import Store
from webapp.scoreboard import Scoreboard


@dataclass(frozen=True)
class Published:
    """The version that a dataset serves, as read at the start of a request."""

    dataset: str
    version: str
    directory: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    profile: dict[str, Any]
    pinned: bool

    @property
    def title(self) -> str:
        """What the dataset is called."""
        return str(self.manifest["title"])

    @property
    def item_label(self) -> str:
        """What the page calls a track."""
        return str(self.manifest["item_label"])

    @cached_property
    def scoreboard(self) -> Scoreboard:
        """The candidates and their metrics."""
        return Scoreboard.of(self.metrics)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Opens the version's store.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            with Store(self.directory) as opened:
                yield opened
        except (FileNotFoundError, sqlite3.Error) as error:
            raise StoreError(_unreadable(self.dataset, self.version, error)) from error


def published(root: Path) -> Published:
    """Reads what `models/<dataset>` serves.

    Raises:
        StoreError: `current` names a version that cannot be read; the sentence says which and why.
    """
    version = registry.current(root)
    if not version:
        raise StoreError(f"{root / CURRENT} names no version: promote one by hand.")
    directory = root / version
    try:
        manifest, metrics, profile = _documents(directory)
    except (OSError, ValueError) as error:
        raise StoreError(_unreadable(root.name, version, error)) from error
    return Published(root.name, version, directory, manifest, metrics, profile, registry.is_pinned(root))


@lru_cache(maxsize=16)
def _documents(version: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A version's manifest, metrics and profile: read once, as it never changes."""
    return registry.manifest(version), read_json(version / "metrics.json"), read_json(version / "profile.json")


def health(models_root: Path) -> tuple[dict[str, str], list[str]]:
    """The version that each dataset serves, and a sentence for each one that cannot be read."""
    versions, faults = {}, []
    for dataset in registry.datasets(models_root):
        versions[dataset] = registry.current(models_root / dataset) or ""
        try:
            with published(models_root / dataset).store() as store:
                store.popular(1)
        except StoreError as error:
            faults.append(str(error))
    return versions, faults


def _unreadable(dataset: str, version: str, error: Exception) -> str:
    why = f"{error.filename} is missing" if isinstance(error, FileNotFoundError) and error.filename else str(error)
    return f"{dataset} serves the version {version}, which cannot be read: {why.rstrip('.')}."
