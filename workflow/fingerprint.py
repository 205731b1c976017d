"""What determines a result, as sixteen hex digits: the name of its directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.durable import exclusive_lock, lock_path, read_json, sha256, write_atomically
from common.errors import MissingInput


def of(*parts: Any) -> str:
    """The fingerprint of anything that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RawFiles:
    """Digests of raw files, remembered so that a run with nothing to do does not read them again."""

    def __init__(self, memory: Path) -> None:
        """`memory` is the JSON file that remembers; other runs may use it too."""
        self._memory = memory

    def digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """The sha256 of each file's bytes.

        Raises:
            MissingInput: a file cannot be read.
        """
        known = self._recall()
        digests, fresh = {}, {}
        for file in files:
            try:
                stamp, name = self._stamp(file), str(file.absolute())
                if known.get(name, {}).get("stamp") != stamp:
                    fresh[name] = known[name] = {"stamp": stamp, "sha256": sha256(file)}
            except OSError as error:
                raise MissingInput(f"{file} cannot be read ({error.strerror}).") from error
            digests[file] = known[name]["sha256"]
        if fresh:
            with exclusive_lock(lock_path(self._memory)):
                write_atomically(self._memory, json.dumps(self._recall() | fresh, indent=1))
        return digests

    def _recall(self) -> dict[str, Any]:
        try:
            known = read_json(self._memory)
        except (FileNotFoundError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    @staticmethod
    def _stamp(file: Path) -> list[int]:
        """Size, times and inode: what changes when a file is written or replaced."""
        status = file.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
