"""Histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from common.formatting import format_compact
from webapp.rendering.formats import number

_HISTOGRAM_WIDTH = 320
_PLOT_HEIGHT = 120
_BASELINE = 18 + _PLOT_HEIGHT
_MAX_LABELS = 10
"""Number of bars up to which each bar has room for a label."""

Bin = dict[str, Any]
"""`{"from", "to", "count"}`."""


def histogram(
    bins: Sequence[Bin], title: str, unit: str, *, integers: bool, doubling: bool, log_scale: bool = False
) -> Markup:
    """Return a histogram that includes empty bins.

    Args:
        bins: in ascending order; empty bins may be omitted.
        title: the text alternative.
        unit: the counted objects, in the plural.
        integers: whether the values are integers, so that [4, 8) is labelled 4–7.
        doubling: whether each bin is twice as wide as the one before; else all have equal width.
        log_scale: use the logarithm of the counts as height, so that a long tail is visible.
    """
    bins = list(with_empty_bins(bins, doubling=doubling))
    maximum = max((bin_["count"] for bin_ in bins), default=0) or 1
    step = _HISTOGRAM_WIDTH / max(len(bins), 1)
    parts = []
    for index, bin_ in enumerate(bins):
        count = bin_["count"]
        height = _PLOT_HEIGHT * _relative_height(count, maximum, log_scale=log_scale)
        if count:
            height = max(height, 1.5)  # keeps a bin with a small count visible
        parts.append(_column(index * step, step, height, f"{_range_label(bin_, integers)}: {count:,} {unit}"))
        if count and (len(bins) <= _MAX_LABELS or count == maximum):
            parts.append(_label("count", (index + 0.5) * step, _BASELINE - height - 5, format_compact(count)))
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img"><title>{title}</title>{grid}{parts}{ticks}'
        '<line class="axis" x1="0" x2="{w}" y1="{y}" y2="{y}"/></svg>'
    ).format(
        w=_HISTOGRAM_WIDTH,
        h=_BASELINE + 20,
        title=title,
        grid=Markup("").join(_powers_of_ten(maximum)) if log_scale else "",
        parts=Markup("").join(parts),
        ticks=Markup("").join(_tick_labels(bins, step, integers)),
        y=_BASELINE,
    )


def with_empty_bins(bins: Sequence[Bin], *, doubling: bool) -> Iterator[Bin]:
    """Yield the bins and the omitted empty bins between them."""
    end: float | None = None
    for bin_ in bins:
        while end is not None and end < bin_["from"] * (1 - 1e-9):
            next_end = 2 * end if doubling else end + (bin_["to"] - bin_["from"])
            yield {"from": end, "to": next_end, "count": 0}
            end = next_end
        yield bin_
        end = bin_["to"]


def _relative_height(count: int, maximum: int, *, log_scale: bool) -> float:
    return math.log1p(count) / math.log1p(maximum) if log_scale else count / maximum


def _powers_of_ten(maximum: int) -> Iterator[Markup]:
    """Yield grid lines at 10, 100 and so on."""
    for power in range(1, int(math.log10(maximum)) + 1):
        y = _BASELINE - _PLOT_HEIGHT * _relative_height(10**power, maximum, log_scale=True)
        yield Markup('<line class="grid" x1="0" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_HISTOGRAM_WIDTH, y, y)
        yield Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            _HISTOGRAM_WIDTH, y - 3, format_compact(10.0**power)
        )


def _column(x: float, step: float, height: float, title: str) -> Markup:
    """Return a bar under an invisible one of full height, so that a low bar is easy to point at."""
    return Markup(
        '<g><title>{}</title><rect class="hit-area" x="{:.1f}" width="{:.1f}" height="{}"/>'
        '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5"/></g>'
    ).format(title, x, step, _BASELINE, x + 0.08 * step, _BASELINE - height, 0.84 * step, height)


def _tick_labels(bins: Sequence[Bin], step: float, integers: bool) -> Iterator[Markup]:
    """Label integers at the middle of their bar, other values at the bar's left edge."""
    every = math.ceil(len(bins) / _MAX_LABELS)
    for index, bin_ in enumerate(bins):
        if index % every == 0:
            x = (index + 0.5) * step if integers else index * step
            yield _label("tick", x, _BASELINE + 15, _tick_label(bin_, integers))
    if bins and not integers and len(bins) % every == 0:
        yield _label("tick", _HISTOGRAM_WIDTH, _BASELINE + 15, format_compact(bins[-1]["to"]))


def _label(kind: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(kind, x, y, text)


def _range_label(bin_: Bin, integers: bool) -> str:
    """Return the values in a bin: 4–7 for integers, else 1.5 to 2."""
    if not integers:
        return f"{number(bin_['from'])} to {number(bin_['to'])}"
    last = bin_["to"] - 1
    return number(last) if last <= bin_["from"] else f"{number(bin_['from'])}–{number(last)}"


def _tick_label(bin_: Bin, integers: bool) -> str:
    is_range = integers and bin_["to"] - 1 > bin_["from"]
    return format_compact(bin_["from"]) + ("+" if is_range else "")
