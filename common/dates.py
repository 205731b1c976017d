"""Dates and times: the current time, and dates given by users."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from common.errors import UserError

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def utc_now() -> str:
    """The current time in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_date(text: str, source: str) -> date:
    """Parse a date in the form 2026-03-01.

    Args:
        source: the option or field that the text comes from, for the error.

    Raises:
        UserError: the text is not such a date.
    """
    try:
        if _ISO_DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UserError(f"{source}: {text[:40]!r} is not a date such as 2026-03-01.")
