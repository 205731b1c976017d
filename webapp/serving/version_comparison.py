"""Versions beside each other: what each one says of itself, and what differs between two."""

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


@dataclass(frozen=True)
class VersionFacts:
    """A published version, by its documents."""

    directory: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def name(self) -> str:
        """Its id."""
        return self.directory.name

    @property
    def sequence(self) -> int:
        """The number that orders versions by their making."""
        return int(self.manifest["sequence"])

    @property
    def champion(self) -> str:
        """The model that makes its lists."""
        return str(self.metrics["champion"])

    @property
    def counts(self) -> dict[str, int]:
        """Users, tracks, interactions, recommendations."""
        return dict(self.manifest["counts"])

    @cached_property
    def board(self) -> Scoreboard:
        """Its candidates and their metrics."""
        return Scoreboard.of(self.metrics)

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(int(file["bytes"]) for file in self.manifest["files"].values())

    @cached_property
    def settings(self) -> dict[str, str]:
        """Every setting as it is written, by `[section] key`."""
        return flat(self.manifest.get("settings", {}))

    @property
    def input(self) -> str:
        """Twelve digits of what it was made from, to tell whether two had the same."""
        split = self.metrics.get("split", {})
        return str(split.get("fingerprint", ""))[:12]

    def measured_like(self, other: VersionFacts) -> bool:
        """Whether the metrics of both can be compared: they come from the same split, and the same metric chose."""
        try:
            return GateInput(self.metrics, self.counts).measured_like(GateInput(other.metrics, other.counts))
        except KeyError:
            return False


@dataclass(frozen=True)
class SettingDifference:
    """What a version has otherwise than the one before it."""

    before: VersionFacts
    now: VersionFacts

    @property
    def settings(self) -> list[tuple[str, str, str]]:
        """Each setting that differs: its name, what it was, what it is."""
        return differing(self.before.settings, self.now.settings)

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """Each count that differs: of what, before, now."""
        pairs = ((what, self.before.counts.get(what), self.now.counts.get(what)) for what in COUNTS)
        return [(what, old, new) for what, old, new in pairs if old is not None and new is not None and old != new]

    @property
    def metric(self) -> tuple[str, float, float] | None:
        """What champions are compared by, before and now; None where the two cannot be compared."""
        if not self.now.measured_like(self.before):
            return None
        name = comparison_metric(self.now.metrics["models"], self.now.metrics["select_by"])
        old, new = (each.metrics["models"][each.champion].get(name) for each in (self.before, self.now))
        return None if old is None or new is None else (name, old, new)

    @property
    def code(self) -> bool:
        """Whether the sources of a stage that both have differ."""
        old, new = (each.manifest.get("code", {}) for each in (self.before, self.now))
        return any(old[stage] != new[stage] for stage in old.keys() & new.keys())


def versions(registry: VersionRegistry) -> list[VersionFacts]:
    """Those of a dataset, the newest first; one whose documents cannot be read is left out."""
    found = []
    for name in registry.version_ids():
        with suppress(OSError, ValueError, KeyError):
            found.append(version(registry.root / name))
    return sorted(found, key=lambda each: -each.sequence)


def find(registry: VersionRegistry, name: str) -> VersionFacts | None:
    """The version of that name; None where there is none that can be read."""
    return next((each for each in versions(registry) if each.name == name), None)


def version(directory: Path) -> VersionFacts:
    """A version: read once, unless it changes, as it does where a user is forgotten."""
    return _read(directory, manifest_stamp(directory))


@lru_cache(maxsize=128)
def _read(directory: Path, sealed: ManifestStamp) -> VersionFacts:
    return VersionFacts(directory, read_manifest(directory), read_json(directory / "metrics.json"))


def flat(settings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Settings by `[section] key`, their values as they are written."""
    return {
        f"[{section}] {key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for section, values in settings.items()
        for key, value in values.items()
    }


def differing(old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str, str]]:
    """Name, old value and new one of what differs between two sets of settings; a dash where one has it not."""
    return [
        (name, old.get(name, "—"), new.get(name, "—"))
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]
