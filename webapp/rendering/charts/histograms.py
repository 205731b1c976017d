"""Histograms: a bar for each bin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from common.formatting import format_compact
from webapp.rendering.formats import number

_HISTOGRAM_WIDTH = 320
_PLOT_HEIGHT = 120
_FLOOR = 18 + _PLOT_HEIGHT
_FEW = 10
"""Up to so many bars have room for a number each."""

Bin = dict[str, Any]


def histogram(
    bins: Sequence[Bin], title: str, counted: str, *, whole: bool, doubling: bool, logarithmic: bool = False
) -> Markup:
    """A bar for each bin, empty ones included.

    Args:
        bins: `{"from", "to", "count"}` in ascending order; bins that nothing falls into may be left out.
        title: what the chart shows.
        counted: what a bar counts, in the plural.
        whole: the values are whole numbers, so that [4, 8) reads 4–7.
        doubling: each bin is twice as wide as the one before; else all are equally wide.
        logarithmic: heights by the logarithm of the counts, so that a long tail shows; with lines at powers of ten.
    """
    filled = list(with_empty_bins(bins, doubling=doubling))
    tallest = max((each["count"] for each in filled), default=0) or 1
    step = _HISTOGRAM_WIDTH / max(len(filled), 1)
    parts = []
    for place, each in enumerate(filled):
        height = _PLOT_HEIGHT * _share(each["count"], tallest, logarithmic=logarithmic)
        if each["count"]:
            height = max(height, 1.5)  # a bin with something in it must show
        parts.append(_column(place * step, step, height, f"{_span(each, whole)}: {each['count']:,} {counted}"))
        if each["count"] and (len(filled) <= _FEW or each["count"] == tallest):
            parts.append(_label("count", (place + 0.5) * step, _FLOOR - height - 5, format_compact(each["count"])))
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img"><title>{title}</title>{grid}{parts}{ticks}'
        '<line class="axis" x1="0" x2="{w}" y1="{floor}" y2="{floor}"/></svg>'
    ).format(
        w=_HISTOGRAM_WIDTH,
        h=_FLOOR + 20,
        title=title,
        grid=Markup("").join(_powers(tallest)) if logarithmic else "",
        parts=Markup("").join(parts),
        ticks=Markup("").join(_ticks(filled, step, whole)),
        floor=_FLOOR,
    )


def _share(count: int, tallest: int, *, logarithmic: bool) -> float:
    """How much of the plot's height a bar takes."""
    return math.log1p(count) / math.log1p(tallest) if logarithmic else count / tallest


def _powers(tallest: int) -> Iterator[Markup]:
    """A line across at 10, 100 and so on."""
    for power in range(1, int(math.log10(tallest)) + 1):
        y = _FLOOR - _PLOT_HEIGHT * _share(10**power, tallest, logarithmic=True)
        yield Markup('<line class="grid" x1="0" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_HISTOGRAM_WIDTH, y, y)
        yield Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            _HISTOGRAM_WIDTH, y - 3, format_compact(10.0**power)
        )


def _column(x: float, step: float, height: float, title: str) -> Markup:
    """A bar, and over it an unseen one of full height, so that the title of a low bar can be pointed at."""
    return Markup(
        '<g><title>{}</title><rect class="hit" x="{:.1f}" width="{:.1f}" height="{}"/>'
        '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5"/></g>'
    ).format(title, x, step, _FLOOR, x + 0.08 * step, _FLOOR - height, 0.84 * step, height)


def _ticks(filled: Sequence[Bin], step: float, whole: bool) -> Iterator[Markup]:
    """Below the bars what they stand for, if these are whole numbers; else below their edges where they begin."""
    every = math.ceil(len(filled) / _FEW)
    for place, each in enumerate(filled):
        if place % every == 0:
            x = (place + 0.5) * step if whole else place * step
            yield _label("tick", x, _FLOOR + 15, _tick(each, whole))
    if filled and not whole and len(filled) % every == 0:
        yield _label("tick", _HISTOGRAM_WIDTH, _FLOOR + 15, format_compact(filled[-1]["to"]))


def with_empty_bins(bins: Sequence[Bin], *, doubling: bool) -> Iterator[Bin]:
    """The bins, and those between them that nothing fell into."""
    end: float | None = None
    for each in bins:
        while end is not None and end < each["from"] * (1 - 1e-9):
            following = 2 * end if doubling else end + (each["to"] - each["from"])
            yield {"from": end, "to": following, "count": 0}
            end = following
        yield each
        end = each["to"]


def _label(kind: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(kind, x, y, text)


def _span(each: Bin, whole: bool) -> str:
    """The values in a bin: 4–7 for whole numbers, else 1.5 to 2."""
    if not whole:
        return f"{number(each['from'])} to {number(each['to'])}"
    last = each["to"] - 1
    return number(last) if last <= each["from"] else f"{number(each['from'])}–{number(last)}"


def _tick(each: Bin, whole: bool) -> str:
    is_range = whole and each["to"] - 1 > each["from"]
    return format_compact(each["from"]) + ("+" if is_range else "")
