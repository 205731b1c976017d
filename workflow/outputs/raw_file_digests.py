"""Digests of raw files, cached so that a run with nothing to do does not read the files again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.checksums import sha256
from common.errors import MissingInput
from common.files import read_json, write_atomically
from common.locks import exclusive_lock, lock_path


class RawFileDigests:
    """Computes the digests of files and caches them by size, times and inode."""

    def __init__(self, cache_file: Path) -> None:
        """`cache_file` is a JSON file that concurrent runs share."""
        self._cache_file = cache_file

    def digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """The SHA-256 of each file.

        Raises:
            MissingInput: a file cannot be read.
        """
        cached = self._load()
        digests, computed = {}, {}
        for file in files:
            try:
                stamp, name = _stamp(file), str(file.absolute())
                if cached.get(name, {}).get("stamp") != stamp:
                    computed[name] = cached[name] = {"stamp": stamp, "sha256": sha256(file)}
            except OSError as error:
                raise MissingInput(f"{file} cannot be read ({error.strerror}).") from error
            digests[file] = cached[name]["sha256"]
        if computed:
            with exclusive_lock(lock_path(self._cache_file)):
                write_atomically(self._cache_file, json.dumps(self._load() | computed, indent=1))
        return digests

    def _load(self) -> dict[str, Any]:
        try:
            cached = read_json(self._cache_file)
        except (FileNotFoundError, ValueError):
            return {}
        return cached if isinstance(cached, dict) else {}


def _stamp(file: Path) -> list[int]:
    """Size, times and inode, which change when a file is written or replaced."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
