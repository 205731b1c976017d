"""URL converters for ids. Any text can be an id, so a URL has to carry any text unchanged."""

from __future__ import annotations

from urllib.parse import quote

from werkzeug.routing import BaseConverter


class AnyTextConverter(BaseConverter):
    """Matches the rest of the path, slashes included. Writes every special character escaped."""

    regex = r"(?s:.+)"
    part_isolating = False

    def to_url(self, value: str) -> str:
        """Escape a value, slashes included."""
        return quote(value, safe="")


def fits_in_path(text: str) -> bool:
    """Whether browsers keep the text as a path segment: they resolve `.` and `..`, even when escaped."""
    return text not in (".", "..")
