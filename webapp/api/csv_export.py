"""Recommendations as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from models.serving_records import ScoredTrack

COLUMNS = ("rank", "track_id", "title", "artist", "genre", "listeners", "score", "because")
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def write_csv(recommendations: Sequence[ScoredTrack]) -> str:
    """Return a header line and a line for each recommendation."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for rank, (track, score, explanation) in enumerate(recommendations, 1):
        names = (escape_formula(name) for name in (track.track_id, track.title, track.artist, track.genre))
        reasons = escape_formula("; ".join(heard.title or heard.track_id for heard in explanation))
        writer.writerow([rank, *names, track.popularity, score, reasons])
    return text.getvalue()


def escape_formula(text: str | None) -> str:
    """Prefix an apostrophe to text that a spreadsheet would run as a formula; return an empty string for None."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text
