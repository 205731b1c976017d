"""The registry of a dataset's published versions: listing, promoting, rolling back and removing them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.checksums import file_checksums
from common.dates import utc_now
from common.directories import REPLACED, remove_directory
from common.errors import StoreError, UserError
from common.files import STAGING, write_json
from common.locks import exclusive_lock
from config.paths import CURRENT, SUCCESS
from models.audit_log import AUDIT, ROLLED_BACK, AuditEntry, AuditLog, completed_entries, rollback_targets
from models.manifest import MANIFEST, creation_order, verify_version
from models.pointer import PINNED, CurrentPointer, Pin

LOCK = "registry.lock"

SCHEMA_VERSION = 2
"""Version of the layout of a published version's files."""


def served_datasets(models_root: Path) -> list[str]:
    """Return the datasets that serve a version, the last promoted first."""
    try:
        return sort_by_promotion(models_root, os.listdir(models_root))  # noqa: PTH208 - many times as fast as a glob
    except FileNotFoundError:
        return []


def sort_by_promotion(models_root: Path, names: Iterable[str]) -> list[str]:
    """Return those of the datasets that serve a version, the last promoted first."""
    promoted = {}
    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError):  # not a dataset, or removed meanwhile
            promoted[name] = os.stat(f"{models_root}/{name}/{CURRENT}").st_mtime_ns  # noqa: PTH116
    return sorted(promoted, key=promoted.__getitem__, reverse=True)


@dataclass(frozen=True)
class VersionRegistry:
    """The published versions of one dataset. Each call reads the disk; a lock file serialises all changes."""

    root: Path
    """The directory `models/<dataset>`."""

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.root.name

    @property
    def audit_log(self) -> AuditLog:
        """The log of all changes; `audit` reads it."""
        return AuditLog(self.root / AUDIT)

    @property
    def _pointer(self) -> CurrentPointer:
        return CurrentPointer(self.root / CURRENT)

    @property
    def _pin(self) -> Pin:
        return Pin(self.root / PINNED)

    def lock(self) -> AbstractContextManager[None]:
        """The lock to hold while changing published versions, `current` or the pin."""
        return exclusive_lock(self.root / LOCK)

    # -- reading -------------------------------------------------------------------------------------------------------

    def current(self) -> str | None:
        """Return the served version; None before the first promotion.

        Raises:
            StoreError: `current` cannot be read.
        """
        return self._pointer.read()

    def is_pinned(self) -> bool:
        """Whether a rollback pinned the served version, so that runs do not promote."""
        return self._pin.holds(self.current())

    def version_ids(self) -> list[str]:
        """Return the ids of the published versions, unordered. Reads no manifest."""
        return [marker.parent.name for marker in self.root.glob(f"*/{SUCCESS}") if self.has_version(marker.parent.name)]

    def versions(self) -> list[str]:
        """Return the ids of the published versions, oldest first. A version without a readable manifest is oldest."""
        return sorted(self.version_ids(), key=lambda version: creation_order(self.root / version))

    def has_version(self, name: str) -> bool:
        """Whether `name`, which may come from outside, is the id of a complete version."""
        is_plain_name = name == Path(name).name and not name.endswith((STAGING, REPLACED))
        return is_plain_name and (self.root / name / SUCCESS).is_file()

    def find(self, query: str) -> str:
        """Return the version with this id, sequence number (`12` or `#12`) or unique prefix of an id.

        A sequence number takes precedence over a prefix.

        Raises:
            UserError: no version matches, or several do; the message lists the candidates.
        """
        versions = self.versions()
        by_number = [name for name in versions if query.removeprefix("#") == str(creation_order(self.root / name)[0])]
        by_prefix = [name for name in versions if query and name.startswith(query)]
        matches = [query] if query in versions else by_number or by_prefix
        if len(matches) == 1:
            return matches[0]
        available = ", ".join(self.display_name(name) for name in reversed(matches or versions)) or "none"
        if not query:
            raise UserError(f"Name a version of {self.dataset} with VERSION=. Available: {available}.")
        if matches:
            raise UserError(f"{query!r} matches several versions of {self.dataset}: {available}.")
        raise UserError(f"{self.dataset} has no version {query!r}. Available: {available}.")

    def display_name(self, version: str) -> str:
        """Return a version's name for people: its sequence number and the beginning of its id."""
        number = creation_order(self.root / version)[0]
        return f"#{number} {version[:12]}" if number else version[:12]

    def audit(self) -> list[AuditEntry]:
        """Return the audit log's entries, oldest first, without switches that a crash prevented.

        Promotions and rollbacks are logged before they happen. A deleted user is logged afterwards, because the log
        must not claim it too early; the manifest has it as well.
        """
        served = self.current()  # read first, so that a switch between the two reads is not left out
        return completed_entries(self.audit_log.read(), served)

    def previously_served(self) -> str | None:
        """Return the default rollback target: the last version served before the current one that still exists."""
        targets = reversed(rollback_targets(self.audit()))
        served = self.current()
        return next((version for version in targets if version != served and self.has_version(version)), None)

    def prunable(self, keep: int) -> list[str]:
        """Return the versions that `prune` would remove, oldest first: neither the newest `keep` nor the served one.

        Raises:
            ValueError: `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"At least 1 version must be kept, not {keep}.")
        return [version for version in self.versions()[:-keep] if version != self.current()]

    # -- changing ------------------------------------------------------------------------------------------------------

    def write_manifest(self, staging: Path, facts: dict[str, Any]) -> None:
        """Write the manifest of a version under construction: the facts, a sequence number, all files' checksums.

        Concurrent versions get different numbers: the number is chosen under the lock, and staging directories count.
        """
        files = file_checksums(staging)
        with self.lock():
            number = max((creation_order(file.parent)[0] for file in self.root.glob(f"*/{MANIFEST}")), default=0) + 1
            header = {"schema_version": SCHEMA_VERSION, "sequence": number, "created_at": utc_now()}
            write_json(staging / MANIFEST, header | facts | {"files": files})

    def promote(
        self,
        version: str,
        *,
        expected: str | None,
        by: Literal["run", "user"],
        via: str | None = None,
        comparison: dict[str, Any] | None = None,
    ) -> None:
        """Serve `version` if `expected` is still served: a durable, audited compare-and-swap.

        A promotion by the user removes a pin. A promotion by a run is refused while the dataset is pinned.

        Args:
            expected: the version that the caller saw served.
            via: where the user did it, for the audit log.
            comparison: the gate's figures, for the audit log.

        Raises:
            StoreError: the version does not exist, does not verify (checked for the user only, whose version may be
                old), another promotion came first, or the dataset is pinned.
        """
        with self.lock():
            if by == "run" and self.is_pinned():
                raise StoreError(f"{self.dataset} is pinned to {self.current()} by a rollback: promote by hand.")
            self._check_swap(version, expected)
            if by == "user":
                self._check_files(version)
            self._switch(version, f"promoted by the {by}", via=via, comparison=comparison)
            self._pin.remove()

    def roll_back(self, version: str, *, expected: str | None, via: str | None = None) -> None:
        """Serve an earlier version again, and pin the dataset to it until somebody promotes by hand.

        Args:
            expected: the version that the caller saw served.
            via: where the user did it, for the audit log.

        Raises:
            StoreError: the version does not exist or does not verify, or another promotion came first.
        """
        with self.lock():
            self._check_swap(version, expected)
            self._check_files(version)
            pinned_before = [str(expected)] if self.is_pinned() else []
            self._pin.write(version, *pinned_before)  # a crash before or after the switch leaves the dataset pinned
            self._switch(version, ROLLED_BACK, via=via)
            if pinned_before:
                self._pin.write(version)

    def prune(self, keep: int, *, spared: Collection[str | None] = (), via: str | None = None) -> list[str]:
        """Remove old versions for good, audited; return their ids.

        A version is renamed before its files are removed, so it never exists in part. The next run removes leftovers
        of a crash.

        Args:
            keep: see `prunable`.
            spared: further versions to keep.
            via: where the user did it, for the audit log.

        Raises:
            ValueError: `keep` is below 1.
        """
        with self.lock():
            removed = [version for version in self.prunable(keep) if version not in spared]
            for version in removed:
                self.audit_log.append("pruned", version=version, via=via)
                remove_directory(self.root / version)
        return removed

    def refresh(self) -> None:
        """Make readers open the served version again, because its files may have been replaced."""
        with self.lock():
            self._pointer.rewrite()

    def _check_swap(self, version: str, expected: str | None) -> None:
        if not self.has_version(version):
            raise StoreError(f"There is no version {version} in {self.root}.")
        if (served := self.current()) != expected:
            raise StoreError(f"{self.root / CURRENT} names {served}, not {expected}: another promotion came first.")

    def _check_files(self, version: str) -> None:
        if faults := verify_version(self.root / version):
            raise StoreError(f"{self.root / version} does not verify: {faults[0]}")

    def _switch(self, version: str, action: str, **facts: Any) -> None:
        self.audit_log.append(action, **{"from": self.current()}, to=version, **facts)
        self._pointer.write(version)
