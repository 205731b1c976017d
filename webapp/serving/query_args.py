"""Validated query arguments and form fields of the pages. The API validates with `webapp.api.schemas`."""

from __future__ import annotations

from flask import abort, request
from werkzeug.datastructures import MultiDict

MAX_LENGTH = 500
"""Characters of an id or a search text."""


def get_arg(name: str, values: MultiDict[str, str] | None = None) -> str | None:
    """Return a query argument, or None if it is absent. Raise 400 if it is repeated.

    Args:
        values: the arguments to search; by default those of the query string.
    """
    texts = (request.args if values is None else values).getlist(name)
    if len(texts) > 1:
        abort(400, f"{name} is given {len(texts)} times. Give it once.")
    return texts[0] if texts else None


def get_int(name: str, default: int, maximum: int) -> int:
    """Return a query argument as an integer from 1 to `maximum`. Raise 400 if it is not one."""
    text = get_arg(name)
    return default if text is None else parse_int(name, text, maximum)


def parse_int(name: str, text: str, maximum: int) -> int:
    """Return the text as an integer from 1 to `maximum`. Raise 400, naming the argument, if it is not one."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(maximum)) or not 1 <= int(text) <= maximum:
        abort(400, f"{name} = {text[:40]!r} is not a whole number from 1 to {maximum:,}.")
    return int(text)


def get_text(name: str = "q") -> str:
    """Return a query argument, or an empty string if it is absent. Raise 400 if it is too long."""
    text = get_arg(name) or ""
    if len(text) > MAX_LENGTH:
        abort(400, f"{name} may have at most {MAX_LENGTH} characters, not {len(text):,}.")
    return text
