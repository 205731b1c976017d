"""Template filters that format numbers, times and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from common.formatting import count_noun, format_bytes, format_duration, plural

DASH = "—"


def number(value: float | None) -> str:
    """Format with thousands separators and at most two decimals, without trailing zeros: 12,345 or 3.5."""
    if value is None:
        return DASH
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


def metric(value: float | None) -> str:
    """Format a metric's value; a dash for None."""
    if value is None:
        return DASH
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def interval(ends: Sequence[float]) -> str:
    """Format an interval: 0.2310–0.2478."""
    low, high = ends
    return f"{metric(low)}–{metric(high)}"


def score(value: float) -> str:
    """Format a score with three decimals, or none above 100."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def ratio(value: float) -> str:
    """Format a ratio: ×2.14, ×31."""
    return f"×{value:.2f}" if value < 10 else f"×{value:,.0f}"


def percent(share: float) -> str:
    """Format a share as a percentage, with enough decimals that 0.999996 is not 100 %."""
    for decimals in (1, 2, 3, 4, 5, 6):
        text = f"{share:.{decimals}%}"
        if share in (0.0, 1.0) or text.rstrip("%") not in (f"{0:.{decimals}f}", f"{100:.{decimals}f}"):
            break
    return text.replace("%", " %")


def moment(stamp: str | None) -> str:
    """Format a timestamp: 1 Mar 2026, 00:00 UTC. Return text that is not a timestamp unchanged."""
    time = _time(stamp)
    return f"{time.day} {time:%b %Y, %H:%M} UTC" if time else stamp or DASH


def ago(stamp: str | None, now: datetime | None = None) -> str:
    """Format a timestamp's age: just now, 5 minutes ago, yesterday, 12 days ago; the date if older than a month.

    Args:
        now: the time to count from; by default the current time.
    """
    time = _time(stamp)
    if time is None:
        return stamp or DASH
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    if seconds < 0:
        return moment(stamp)
    if seconds < 45:
        return "just now"
    for unit, word, limit in ((60, "minute", 60), (3600, "hour", 24), (86400, "day", 31)):
        if seconds < unit * limit:
            count = max(int(seconds // unit), 1)
            return "yesterday" if (word, count) == ("day", 1) else f"{count_noun(count, word)} ago"
    return f"{time:%-d %b %Y}"


def _time(stamp: str | None) -> datetime | None:
    """Parse an ISO 8601 timestamp, by default in UTC; return None if it is not one."""
    try:
        time = datetime.fromisoformat(stamp or "")
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def signed(value: float) -> str:
    """Format a difference with its sign: +0.0312, −12."""
    text = f"{value:+,.4f}" if isinstance(value, float) else f"{value:+,}"
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """Format a duration: 0.4 s, 42 s, 2 min 5 s, 1 h 12 min; a dash for None."""
    return DASH if seconds is None else format_duration(seconds)


def short(version: str) -> str:
    """Shorten a version's id."""
    return version[:12]


def words(name: str) -> str:
    """Replace underscores by spaces: missing_user, missing user."""
    return name.replace("_", " ")


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        number,
        metric,
        interval,
        score,
        ratio,
        percent,
        moment,
        ago,
        format_bytes,
        signed,
        duration,
        short,
        words,
        plural,
        count_noun,
    )
}
