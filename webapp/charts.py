"""Charts as inline SVG: pure functions from numbers to markup, coloured by the stylesheet's classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from webapp.formats import compact, metric, number, ratio
from webapp.scoreboard import Candidate, Cell, Metric

_BARS_WIDTH = 240
_HISTOGRAM_WIDTH = 320
_ROW = 40
_PLOT_HEIGHT = 120
_FLOOR = 18 + _PLOT_HEIGHT
_FEW = 10
"""Up to so many bars have room for a number each."""

Bin = dict[str, Any]


def score_bar(value: float, highest: float, title: str) -> Markup:
    """A thin bar as long as the value's share of the highest one."""
    width = 100 * min(max(value / highest, 0.0), 1.0) if highest > 0 else 0.0
    return Markup(
        '<svg class="score-bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img"><title>{}</title>'
        '<rect class="trough" width="100" height="6"/><rect class="fill" width="{:.1f}" height="6"/></svg>'
    ).format(title, width)


def comparison(measured: Metric, candidates: Sequence[Candidate]) -> Markup:
    """A horizontal bar for each candidate, with a dashed mark where popularity stands."""
    cells = [candidate.cells[measured.name] for candidate in candidates]
    highest = max((cell.value for cell in cells if cell.value is not None), default=0.0) or 1.0
    baseline = next((c.cells[measured.name].value for c in candidates if c.is_baseline), None)
    lengths = [_BARS_WIDTH * max(cell.value or 0.0, 0.0) / highest for cell in cells]
    reference = Markup("") if baseline is None else _reference(_BARS_WIDTH * baseline / highest)
    rows = [
        Markup('<g transform="translate(0 {})">{}{}</g>').format(
            place * _ROW, _bar_of(candidate, cell, length), reference
        )
        for place, (candidate, cell, length) in enumerate(zip(candidates, cells, lengths, strict=True))
    ]
    summary = "; ".join(f"{one.name} {metric(cell.value)}" for one, cell in zip(candidates, cells, strict=True))
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        _BARS_WIDTH, len(candidates) * _ROW - 6, f"{measured.name}: {summary}", Markup("").join(rows)
    )


def _bar_of(candidate: Candidate, cell: Cell, length: float) -> Markup:
    said = metric(cell.value)
    if cell.ratio is not None and not candidate.is_baseline:
        said += f" {ratio(cell.ratio)}"
    return Markup(
        '<text class="name" y="14">{name}{star}</text><text x="{right}" y="14" text-anchor="end">{said}</text>'
        '<rect class="trough" y="20" width="{right}" height="10" rx="2"/>'
        '<rect class="{kind}" y="20" width="{length:.1f}" height="10" rx="2"/>'
    ).format(
        name=candidate.name,
        star=" ★" if candidate.is_champion else "",
        said=said,
        right=_BARS_WIDTH,
        kind="champion" if candidate.is_champion else "baseline" if candidate.is_baseline else "other",
        length=length,
    )


def _reference(x: float) -> Markup:
    return Markup('<line class="reference" x1="{0:.1f}" x2="{0:.1f}" y1="17" y2="33"/>').format(x)


def histogram(bins: Sequence[Bin], title: str, counted: str, *, whole: bool, doubling: bool) -> Markup:
    """A bar for each bin, empty ones included.

    Args:
        bins: `{"from", "to", "count"}` in ascending order; bins that nothing falls into may be left out.
        title: what the chart shows.
        counted: what a bar counts, in the plural.
        whole: the values are whole numbers, so that [4, 8) reads 4–7.
        doubling: each bin is twice as wide as the one before; else all are equally wide.
    """
    filled = list(with_empty_bins(bins, doubling=doubling))
    tallest = max((each["count"] for each in filled), default=0) or 1
    step = _HISTOGRAM_WIDTH / max(len(filled), 1)
    parts = []
    for place, each in enumerate(filled):
        height = _PLOT_HEIGHT * each["count"] / tallest
        if each["count"]:
            height = max(height, 1.5)  # a bin with something in it must show
        parts.append(_column(place * step, step, height, f"{_span(each, whole)}: {each['count']:,} {counted}"))
        if each["count"] and (len(filled) <= _FEW or each["count"] == tallest):
            parts.append(_label("count", (place + 0.5) * step, _FLOOR - height - 5, compact(each["count"])))
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img"><title>{title}</title>{parts}{ticks}'
        '<line class="axis" x1="0" x2="{w}" y1="{floor}" y2="{floor}"/></svg>'
    ).format(
        w=_HISTOGRAM_WIDTH,
        h=_FLOOR + 20,
        title=title,
        parts=Markup("").join(parts),
        ticks=Markup("").join(_ticks(filled, step, whole)),
        floor=_FLOOR,
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
        yield _label("tick", _HISTOGRAM_WIDTH, _FLOOR + 15, compact(filled[-1]["to"]))


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
    return compact(each["from"]) + ("+" if is_range else "")
