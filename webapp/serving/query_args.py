"""What a request asks for, checked."""

from __future__ import annotations

from flask import abort, request
from werkzeug.datastructures import MultiDict

LONGEST = 500
"""Characters of an id or of what is searched for."""


def get_arg(name: str, given: MultiDict[str, str] | None = None) -> str | None:
    """What the query, or the form that is given, has for a field; None where it is not there. Twice is too often."""
    found = (request.args if given is None else given).getlist(name)
    if len(found) > 1:
        abort(400, f"{name} is there {len(found)} times: once is enough.")
    return found[0] if found else None


def get_int(name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` in the query."""
    text = get_arg(name)
    return default if text is None else get_number(name, text, most)


def get_number(name: str, text: str, most: int) -> int:
    """What was written for `name`, if that is a whole number from 1 to `most`."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        abort(400, f"{name} = {text[:40]!r} is not a whole number from 1 to {most:,}.")
    return int(text)


def get_text(name: str = "q") -> str:
    """A text in the query, empty where it is not there."""
    text = get_arg(name) or ""
    if len(text) > LONGEST:
        abort(400, f"{name} may have {LONGEST} characters at most, not {len(text):,}.")
    return text
