"""What determines a result, as sixteen hex digits: the name of its directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from config.durable import read_json, sha256, write_atomically
from config.paths import PROJECT


def of(*parts: Any) -> str:
    """The fingerprint of anything that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_code(files: Iterable[str]) -> str:
    """The fingerprint of source files, given relative to the project's root."""
    return of([(name, sha256(PROJECT / name)) for name in sorted(set(files))])


class RawFiles:
    """Digests of raw files, remembered so that a run with nothing to do does not read them again."""

    def __init__(self, memory: Path) -> None:
        """`memory` is the JSON file that remembers."""
        self._memory = memory
        try:
            self._known: dict[str, Any] = read_json(memory)
        except (FileNotFoundError, ValueError):
            self._known = {}

    def digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """The sha256 of each file's bytes."""
        found = {file.resolve(): self._stamp(file) for file in files}
        fresh = {str(file): stamp for file, stamp in found.items() if self._recalled(file, stamp) is None}
        if fresh:
            self._known |= {file: {"stamp": stamp, "sha256": sha256(Path(file))} for file, stamp in fresh.items()}
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._memory, json.dumps(self._known, indent=1))
        return {file: self._known[str(file)]["sha256"] for file in found}

    def _recalled(self, file: Path, stamp: list[int]) -> str | None:
        known = self._known.get(str(file))
        return known["sha256"] if known and known["stamp"] == stamp else None

    @staticmethod
    def _stamp(file: Path) -> list[int]:
        """Size, times and inode: what changes when a file is written or replaced."""
        status = file.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
