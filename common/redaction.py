"""Mask the secrets of the environment in everything that is written, printed or shown.

As a program, `python redaction.py LOG PREFIX` appends its redacted standard input to a log, with the prefix before
each line. It imports only the standard library, so that it starts quickly.
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
"""Pattern of the names of variables, and of Spark's settings, whose values are secret."""

MASK = "***"
MIN_SECRET_LENGTH = 6
"""Shorter values are not masked: they would match in the middle of words."""

NEW_PREFIX = b"\0"
"""Starts a control line, which is not copied: the prefix of the following lines and, after a second NUL, their log."""


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values, longest first; a value with several lines gives one for each line."""
    values = [value for name, value in environment.items() if re.search(NAMES, name)]
    lines = {line.strip() for value in values for line in [value, *value.splitlines()]}
    return tuple(
        sorted((line for line in lines if len(line) >= MIN_SECRET_LENGTH), key=lambda line: (-len(line), line))
    )


def redact(text: str) -> str:
    """The text with each secret masked, also if it is escaped as in JSON, Python or a URL."""
    redacted_text: str = redact_values(text)
    return redacted_text


def redact_values(value: Any) -> Any:
    """Mask the secrets in every string of a JSON value, also in the keys of mappings."""
    return _mask(value, _pattern(secrets_of(os.environ)))


def _mask(value: Any, pattern: re.Pattern[str] | None) -> Any:
    if isinstance(value, str):
        return pattern.sub(MASK, value) if pattern else value
    if isinstance(value, Mapping):
        return {_mask(key, pattern): _mask(item, pattern) for key, item in value.items()}
    return [_mask(item, pattern) for item in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form: None for secret in secrets for form in _forms(secret)}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None


def _forms(secret: str) -> list[str]:
    """A secret and its escaped forms."""
    in_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    return [secret, *in_json, repr(secret)[1:-1], quote(secret), quote(secret, safe="")]


def copy(source: BinaryIO, log: Path, prefix: str) -> None:
    """Append the lines of the source, redacted and with the prefix, to the log until the source ends."""
    before, file = prefix.encode(), log.open("ab", buffering=0)
    for line in source:
        if line.startswith(NEW_PREFIX):
            before, _, other = line.removeprefix(NEW_PREFIX).rstrip(b"\n").partition(NEW_PREFIX)
            if other:
                file.close()
                file = Path(os.fsdecode(other)).open("ab", buffering=0)  # noqa: SIM115 - until the next one
            continue
        text = redact(line.rstrip(b"\n").decode(errors="replace"))
        with suppress(OSError):  # a full disk must not block the process that writes to the source
            file.write(before + text.encode() + b"\n")
    file.close()


def remove(scratch: Path) -> None:
    """Remove the scratch directory of the processes that have ended."""
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    # Ctrl-C is meant for the run; this process copies until the last writer has ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    copy(sys.stdin.buffer, Path(sys.argv[1]), sys.argv[2])
    for scratch in sys.argv[3:]:
        remove(Path(scratch))
