"""The audit log of a dataset's registry: promotions, rollbacks, removed versions, deleted users."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.dates import utc_now
from common.files import append_line

AUDIT = "audit.jsonl"
ROLLED_BACK = "rolled back"

AuditEntry = dict[str, Any]
"""Keys `at`, `action`; `from` and `to` of a promotion or rollback; `version` of other actions; `via`; `comparison`."""


@dataclass(frozen=True)
class AuditLog:
    """The file `models/<dataset>/audit.jsonl`."""

    file: Path

    def append(self, action: str, **facts: Any) -> None:
        """Append an entry, durably. Facts that are None are left out, except `from`."""
        known = {key: value for key, value in facts.items() if value is not None or key == "from"}
        append_line(self.file, {"at": utc_now(), "action": action, **known})

    def read(self) -> list[AuditEntry]:
        """Return all entries, oldest first, without lines that a crash cut off."""
        entries = []
        with suppress(FileNotFoundError):
            for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError):
                    entries.append(json.loads(line))
        return [entry for entry in entries if isinstance(entry, dict)]


def completed_entries(entries: list[AuditEntry], served: str | None) -> list[AuditEntry]:
    """Leave out the switches that a crash prevented: after them, the version before was still served.

    Args:
        entries: oldest first.
        served: the version that is served now.
    """
    kept = []
    for entry in reversed(entries):
        if (version := entry.get("to")) is not None:
            if served is not None and served == entry.get("from") != version:
                continue
            served = entry.get("from")
        kept.append(entry)
    return kept[::-1]


def rollback_targets(entries: Iterable[AuditEntry]) -> list[str]:
    """Return the versions that were served, the best rollback target last.

    A version that was rolled back is left out: after a second bad version, a rollback goes further back.
    """
    served: list[str] = []
    for entry in entries:
        if (version := entry.get("to")) is None:
            continue
        if version in served:
            index = served.index(version)
            served = served[:index] if entry.get("action") == ROLLED_BACK else served[:index] + served[index + 1 :]
        served.append(str(version))
    return served
