"""The published versions of a dataset, and the differences between two of them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from common.files import read_json
from models.manifest import ManifestStamp, manifest_stamp, read_manifest
from models.promotion_gate import GateInput, comparison_metric
from models.registry import VersionRegistry
from webapp.serving.scoreboard import Scoreboard

COUNTS = ("users", "tracks", "interactions", "recommendations")
ABSENT = "—"

Difference = tuple[str, str, str]
"""A setting's name, old value and new value."""


@dataclass(frozen=True)
class PublishedVersion:
    """A published version's documents."""

    directory: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def name(self) -> str:
        """Its id."""
        return self.directory.name

    @property
    def sequence(self) -> int:
        """Its number in the order of creation."""
        return int(self.manifest["sequence"])

    @property
    def champion(self) -> str:
        """The candidate that makes its lists."""
        return str(self.metrics["champion"])

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of users, tracks, interactions and recommendations."""
        return dict(self.manifest["counts"])

    @cached_property
    def scoreboard(self) -> Scoreboard:
        """The candidates and their metrics."""
        return Scoreboard.from_metrics(self.metrics)

    @property
    def bytes(self) -> int:
        """Total size of its files."""
        return sum(int(file["bytes"]) for file in self.manifest["files"].values())

    @cached_property
    def settings(self) -> dict[str, str]:
        """Every setting by `[section] key`."""
        return flatten_settings(self.manifest.get("settings", {}))

    @property
    def split_id(self) -> str:
        """The beginning of the split's fingerprint; equal in versions measured on the same data."""
        return str(self.metrics.get("split", {}).get("fingerprint", ""))[:12]

    def is_comparable_to(self, other: PublishedVersion) -> bool:
        """Whether both were measured on the same split and selected by the same metric."""
        try:
            return GateInput(self.metrics, self.counts).measured_like(GateInput(other.metrics, other.counts))
        except KeyError:
            return False


@dataclass(frozen=True)
class VersionDifference:
    """The differences between a version and its predecessor."""

    old: PublishedVersion
    new: PublishedVersion

    @property
    def settings(self) -> list[Difference]:
        """The settings that differ."""
        return setting_differences(self.old.settings, self.new.settings)

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """The counts that differ: name, old and new."""
        pairs = ((name, self.old.counts.get(name), self.new.counts.get(name)) for name in COUNTS)
        return [(name, old, new) for name, old, new in pairs if old is not None and new is not None and old != new]

    @property
    def metric(self) -> tuple[str, float, float] | None:
        """The selection metric's name, old and new value; None if the two versions are not comparable."""
        if not self.new.is_comparable_to(self.old):
            return None
        name = comparison_metric(self.new.metrics["models"], self.new.metrics["select_by"])
        old, new = (version.metrics["models"][version.champion].get(name) for version in (self.old, self.new))
        return None if old is None or new is None else (name, old, new)

    @property
    def code(self) -> bool:
        """Whether the code of a stage that both versions have differs."""
        old, new = (version.manifest.get("code", {}) for version in (self.old, self.new))
        return any(old[stage] != new[stage] for stage in old.keys() & new.keys())


def read_versions(registry: VersionRegistry) -> list[PublishedVersion]:
    """Return a dataset's versions, newest first, without those whose documents cannot be read."""
    versions = []
    for name in registry.version_ids():
        with suppress(OSError, ValueError, KeyError):
            versions.append(_read_version(registry.root / name))
    return sorted(versions, key=lambda version: -version.sequence)


def find_version(registry: VersionRegistry, name: str) -> PublishedVersion | None:
    """Return the version with this id; None if it does not exist or cannot be read."""
    return next((version for version in read_versions(registry) if version.name == name), None)


def flatten_settings(settings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return settings by `[section] key`, with values as written in luigi.cfg."""
    return {
        f"[{section}] {key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for section, values in settings.items()
        for key, value in values.items()
    }


def setting_differences(old: dict[str, str], new: dict[str, str]) -> list[Difference]:
    """Return the settings that differ, with a dash for an absent one."""
    return [
        (name, old.get(name, ABSENT), new.get(name, ABSENT))
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]


def _read_version(directory: Path) -> PublishedVersion:
    return _read_documents(directory, manifest_stamp(directory))


@lru_cache(maxsize=128)
def _read_documents(directory: Path, stamp: ManifestStamp) -> PublishedVersion:
    """Read a version's documents; deleting a user changes the stamp."""
    return PublishedVersion(directory, read_manifest(directory), read_json(directory / "metrics.json"))
