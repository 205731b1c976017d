"""Format durations, sizes, counts and timestamps as text, the same on the terminal, in drawings and on the page."""

from __future__ import annotations

from datetime import datetime

MISSING = "–"


def format_duration(seconds: float | None) -> str:
    """Format a duration: 0.4 s, 42 s, 2 min 5 s, 1 h 12 min; a dash for None."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def format_estimate(seconds: float) -> str:
    """Format an estimated duration, rounded to five seconds or to minutes: 5 s, 40 s, 7 min."""
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{max(5, 5 * round(seconds / 5))} s"


def format_bytes(count: int) -> str:
    """Format a number of bytes: 512 B, 4.2 kB, 1.3 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def format_compact(value: float, exact_below: int = 1_000) -> str:
    """Format a number in few characters: 512, 16k, 1.5M.

    Args:
        exact_below: smaller numbers keep their digits, such as 4,304 below 10,000.
    """
    if value < exact_below:
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    scaled, suffix = next(
        (value / unit, suffix) for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= unit
    )
    return f"{scaled:.1f}".removesuffix(".0") + suffix if scaled < 100 else f"{scaled:.0f}{suffix}"


def format_timestamp(timestamp: str | None) -> str:
    """Format an ISO 8601 timestamp to the second; other text is returned as it is, a dash for None."""
    try:
        return f"{datetime.fromisoformat(timestamp or ''):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return timestamp or MISSING


def plural(noun: str) -> str:
    """The plural of a noun, which may already be one: a dataset names its items."""
    return noun if noun.endswith("s") else f"{noun}s"


def count_noun(count: int, noun: str) -> str:
    """A number and its noun: 1 user, 1,200 users."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"
