"""What a request asks for, checked."""

from __future__ import annotations

from flask import abort, request

LONGEST = 500
"""Characters of an id or of what is searched for."""


def whole(name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` in the query."""
    text = request.args.get(name)
    return default if text is None else number(name, text, most)


def number(name: str, text: str, most: int) -> int:
    """What was written for `name`, if that is a whole number from 1 to `most`."""
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        abort(400, f"{name} = {text[:40]!r} is not a whole number from 1 to {most:,}.")
    return int(text)


def words(name: str = "q") -> str:
    """A text in the query, empty where it is not there."""
    text = request.args.get(name, "")
    if len(text) > LONGEST:
        abort(400, f"{name} may have {LONGEST} characters at most, not {len(text):,}.")
    return text
