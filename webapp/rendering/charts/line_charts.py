"""Line charts: metrics by version or by list length, and the trials of a hyper-parameter search."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from webapp.rendering.formats import metric

_WIDTH, _HEIGHT = 320, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 128
_LABEL_WIDTH = 92
"""Space for the names, right of the lines."""
_LABEL_GAP = 12


@dataclass(frozen=True)
class Series:
    """A line: its name, its values from left to right (None: no value), and its CSS class."""

    name: str
    values: list[float | None]
    kind: str = "other"


@dataclass(frozen=True)
class _Axes:
    """Maps values to coordinates."""

    count: int
    low: float
    high: float
    right: float

    def x(self, index: int) -> float:
        return _LEFT + (self.right - _LEFT) * (index / (self.count - 1) if self.count > 1 else 0.5)

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - self.low) / (self.high - self.low)


def line_chart(series: Sequence[Series], ticks: Sequence[str], title: str) -> Markup:
    """Return a line for each series on a scale from 0, with its name at the end.

    Args:
        ticks: the labels of the x axis.
    """
    values = [value for line in series for value in line.values if value is not None]
    low, high = _range_from_zero(values)
    axes = _Axes(len(ticks), low, high, _WIDTH - _RIGHT - _LABEL_WIDTH)
    lines = [_line(line, axes, ticks) for line in series]
    return _chart(title, [*_grid(axes), *_ticks(ticks, axes), *lines, *_names(series, axes)])


def trials_chart(scores: Sequence[float], title: str, *, lower_is_better: bool) -> Markup:
    """Return a dot for each trial, in order, and the best score so far as a step line."""
    best: list[float] = []
    for score in scores:
        best.append(score if not best else (min if lower_is_better else max)(best[-1], score))
    low, high = _range_around(scores)
    axes = _Axes(len(scores), low, high, _WIDTH - _RIGHT)
    steps = f"M{axes.x(0):.1f} {axes.y(best[0]):.1f}" + "".join(
        f"H{axes.x(index):.1f}V{axes.y(value):.1f}" for index, value in enumerate(best[1:], 1)
    )
    winner = scores.index(best[-1])
    dots = [
        Markup('<circle class="dot{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
            " champion" if index == winner else "", axes.x(index), axes.y(score), 5 if index == winner else 3.5,
            f"Trial {index + 1}: {metric(score)}",
        )
        for index, score in enumerate(scores)
    ]  # fmt: skip
    numbers = [str(index + 1) for index in range(len(scores))]
    step = Markup('<path class="line best" d="{}"/>').format(steps)
    return _chart(title, [*_grid(axes), *_ticks(numbers, axes), step, *dots])


def _chart(title: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart plot" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        _WIDTH, _HEIGHT, title, Markup("").join(parts)
    )


def _line(series: Series, axes: _Axes, ticks: Sequence[str]) -> Markup:
    """Return a line with a dot at each value, interrupted at missing values."""
    path, pen = "", "M"
    dots = []
    for index, value in enumerate(series.values):
        if value is None:
            pen = "M"
            continue
        x, y = axes.x(index), axes.y(value)
        path += f"{pen}{x:.1f} {y:.1f}"
        pen = "L"
        dots.append(
            Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>').format(
                x, y, f"{series.name}, {ticks[index]}: {metric(value)}"
            )
        )
    return Markup('<g class="series {}"><title>{}</title><path class="line" d="{}"/>{}</g>').format(
        series.kind, series.name, path, Markup("").join(dots)
    )


def _names(series: Sequence[Series], axes: _Axes) -> Iterator[Markup]:
    """Yield the names at the ends of the lines."""
    for y, end, line in _name_positions(series, axes):
        yield Markup(
            '<g class="series {}"><path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
            '<text x="{:.1f}" y="{:.1f}">{}</text></g>'
        ).format(line.kind, axes.right + 3, end, axes.right + 10, y, axes.right + 13, y + 4, _shorten(line.name))


def _name_positions(series: Sequence[Series], axes: _Axes) -> list[tuple[float, float, Series]]:
    """Return, from top to bottom, the y of each name, the y of its line's end, and the line. Names do not overlap."""
    ends = [(axes.y(last), line) for line in series if line.values and (last := line.values[-1]) is not None]
    ends.sort(key=lambda pair: pair[0])
    placed: list[tuple[float, float, Series]] = []
    for end, line in ends:
        y = max(end, placed[-1][0] + _LABEL_GAP) if placed else end
        placed.append((y, end, line))
    overflow = max(placed[-1][0] - _BOTTOM, 0.0) if placed else 0.0
    lifted: list[tuple[float, float, Series]] = []
    for y, end, line in reversed(placed):
        y = min(y, lifted[-1][0] - _LABEL_GAP) if lifted else y - overflow
        lifted.append((y, end, line))
    return lifted


def _shorten(name: str) -> str:
    return name if len(name) <= 13 else f"{name[:12]}…"


def _grid(axes: _Axes) -> Iterator[Markup]:
    """Yield three horizontal grid lines with their values."""
    for value in (axes.low, (axes.low + axes.high) / 2, axes.high):
        y = axes.y(value)
        yield Markup(
            '<line class="grid" x1="{}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
            '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(_LEFT, axes.right, y, y, _LEFT - 5, y + 3.5, f"{value:.3g}")


def _ticks(ticks: Sequence[str], axes: _Axes) -> Iterator[Markup]:
    every = max(math.ceil(len(ticks) / 10), 1)
    for index, tick in enumerate(ticks):
        if index % every == 0 or (index == len(ticks) - 1 and index % every > every / 2):
            yield Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                axes.x(index), _BOTTOM + 16, tick
            )


def _range_from_zero(values: Sequence[float]) -> tuple[float, float]:
    """Return a range from 0, or lower, to a round number above all values."""
    low, high = min([0.0, *values]), max(values, default=0.0)
    return low, _round_up(high) if high > low else low + 1.0


def _range_around(values: Sequence[float]) -> tuple[float, float]:
    """Return a range slightly wider than the values."""
    low, high = min(values), max(values)
    margin = (high - low or abs(high) or 1.0) * 0.1
    return low - margin, high + margin


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * step >= value * 0.999999)
