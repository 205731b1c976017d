"""Keeps the secrets of the environment out of whatever is written, printed or shown.

As a program, `python redaction.py LOG PREFIX`, it copies its standard input to the end of a log, redacted, each line
after the prefix. It imports nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

NAMES = "(?i)passw(or)?d|secret|token|(api|access|private)[._]?key|credential"
"""What the name of a variable, or of one of Spark's settings, looks like if its value is nobody's business."""

MASK = "***"
SHORTEST = 6
"""Shorter values are left alone: they would be found in the middle of words."""

NEW_PREFIX = b"\0"
"""A line that begins so is not copied: it holds the prefix of the lines that follow and, after another, their log."""


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values, longest first; of one with several lines, each line."""
    values = [value for name, value in environment.items() if re.search(NAMES, name)]
    lines = {line.strip() for value in values for line in [value, *value.splitlines()]}
    return tuple(sorted((line for line in lines if len(line) >= SHORTEST), key=lambda line: (-len(line), line)))


def redact(text: str) -> str:
    """The text with three stars for each secret, also where it is escaped as in JSON, Python or a URL."""
    redacted_text: str = redact_values(text)
    return redacted_text


def redact_values(value: Any) -> Any:
    """The same for every text in what JSON can hold; the keys of mappings included."""
    return _replaced(value, _pattern(secrets_of(os.environ)))


def _replaced(value: Any, pattern: re.Pattern[str] | None) -> Any:
    if isinstance(value, str):
        return pattern.sub(MASK, value) if pattern else value
    if isinstance(value, Mapping):
        return {_replaced(key, pattern): _replaced(each, pattern) for key, each in value.items()}
    return [_replaced(each, pattern) for each in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form: None for secret in secrets for form in _forms(secret)}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as it may be escaped."""
    in_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    return [secret, *in_json, repr(secret)[1:-1], quote(secret), quote(secret, safe="")]


def copy(source: BinaryIO, log: Path, prefix: str) -> None:
    """Appends every line of the source to the log, or to the last one that the source named, until it ends."""
    before, file = prefix.encode(), log.open("ab", buffering=0)
    for line in source:
        if line.startswith(NEW_PREFIX):
            before, _, other = line.removeprefix(NEW_PREFIX).rstrip(b"\n").partition(NEW_PREFIX)
            if other:
                file.close()
                file = Path(os.fsdecode(other)).open("ab", buffering=0)  # noqa: SIM115 - until the next one
            continue
        text = redact(line.rstrip(b"\n").decode(errors="replace"))
        with suppress(OSError):  # a disk that is full must not stop whoever writes to us
            file.write(before + text.encode() + b"\n")
    file.close()


def remove(scratch: Path) -> None:
    """Removes what those who have ended put down for a while."""
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    # Ctrl-C is for the run; this goes on until nobody is left who could write.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    copy(sys.stdin.buffer, Path(sys.argv[1]), sys.argv[2])
    for given in sys.argv[3:]:
        remove(Path(given))
