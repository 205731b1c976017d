"""A list as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from models.serving_records import ScoredTrack

COLUMNS = ("rank", "track_id", "title", "artist", "genre", "listeners", "score", "because")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell that begins so for."""


def as_csv(lines: Sequence[ScoredTrack]) -> str:
    """A line of titles, then one for each of the list."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for rank, line in enumerate(lines, 1):
        track = line.track
        words = (harmless(each) for each in (track.track_id, track.title, track.artist, track.genre))
        reason = harmless("; ".join(heard.title or heard.track_id for heard in line.explanation))
        writer.writerow([rank, *words, track.popularity, line.score, reason])
    return text.getvalue()


def harmless(text: str | None) -> str:
    """A text that a spreadsheet leaves alone: an apostrophe goes before what it would take for a formula."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_FORMULA) else text
