"""How numbers, times and names read on the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from common.formatting import count_noun, format_bytes, format_duration, plural

DASH = "—"


def number(value: float | None) -> str:
    """Thousands separated, at most two decimals, none where they are zeros: 12,345 or 3.5."""
    if value is None:
        return DASH
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


def metric(value: float | None) -> str:
    """A metric's value, or a dash where it does not apply."""
    if value is None:
        return DASH
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def interval(ends: Sequence[float]) -> str:
    """A 95 % interval: 0.2310–0.2478."""
    low, high = ends
    return f"{metric(low)}–{metric(high)}"


def score(value: float) -> str:
    """A score: three decimals, fewer for large ones."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def ratio(value: float) -> str:
    """How many times: ×2.14, ×31."""
    return f"×{value:.2f}" if value < 10 else f"×{value:,.0f}"


def percent(share: float) -> str:
    """A share as a percentage, with as many decimals as keep 99.9996 % from reading as 100 %."""
    for decimals in (1, 2, 3, 4, 5, 6):
        text = f"{share:.{decimals}%}"
        if share in (0.0, 1.0) or text.rstrip("%") not in (f"{0:.{decimals}f}", f"{100:.{decimals}f}"):
            break
    return text.replace("%", " %")


def moment(stamp: str | None) -> str:
    """A UTC time as people write it; text that is no time is shown as it is."""
    time = _time(stamp)
    return f"{time.day} {time:%b %Y, %H:%M} UTC" if time else stamp or DASH


def ago(stamp: str | None, now: datetime | None = None) -> str:
    """How long ago a time is: just now, 5 minutes ago, 3 hours ago, yesterday, 12 days ago; else the day itself.

    Args:
        now: what counts as the present; by default it is.
    """
    time = _time(stamp)
    if time is None:
        return stamp or DASH
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    if seconds < 0:
        return moment(stamp)
    if seconds < 45:
        return "just now"
    for unit, word, most in ((60, "minute", 60), (3600, "hour", 24), (86400, "day", 31)):
        if seconds < unit * most:
            count = max(int(seconds // unit), 1)
            return "yesterday" if (word, count) == ("day", 1) else f"{count_noun(count, word)} ago"
    return f"{time:%-d %b %Y}"


def _time(stamp: str | None) -> datetime | None:
    """The time in UTC, which it is taken for if it does not say where; None of text that is no time."""
    try:
        time = datetime.fromisoformat(stamp or "")
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def signed(value: float) -> str:
    """A difference with its sign: +0.0312, −12."""
    text = f"{value:+,.4f}" if isinstance(value, float) else f"{value:+,}"
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """0.4 s, 42 s, 2 min 5 s, 1 h 12 min; a dash for None."""
    return DASH if seconds is None else format_duration(seconds)


def short(version: str) -> str:
    """As much of a fingerprint as tells versions apart."""
    return version[:12]


def words(name: str) -> str:
    """A name from the code as words: missing_user, missing user."""
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
