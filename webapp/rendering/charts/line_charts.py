"""Lines: values over versions or over the length of a list, and what a search for settings tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from webapp.rendering.formats import metric

_WIDTH, _HEIGHT = 320, 150
_LEFT, _RIGHT, _TOP, _FLOOR = 40, 8, 8, 128
_LABELS = 92
"""Room to the right of the lines for their names."""
_LABEL_GAP = 12


@dataclass(frozen=True)
class Series:
    """A line: its name, its values from left to right (None where there is none), and the class it is drawn as."""

    name: str
    values: list[float | None]
    kind: str = "other"


@dataclass(frozen=True)
class _Frame:
    """Where a value is drawn."""

    count: int
    low: float
    high: float
    right: float

    def x(self, place: int) -> float:
        return _LEFT + (self.right - _LEFT) * (place / (self.count - 1) if self.count > 1 else 0.5)

    def y(self, value: float) -> float:
        return _FLOOR - (_FLOOR - _TOP) * (value - self.low) / (self.high - self.low)


def line_chart(series: Sequence[Series], ticks: Sequence[str], title: str) -> Markup:
    """A line for each series, from 0 up, with their names at the ends.

    Args:
        ticks: what stands below each place.
    """
    values = [value for each in series for value in each.values if value is not None]
    low, high = _span(values)
    frame = _Frame(len(ticks), low, high, _WIDTH - _RIGHT - _LABELS)
    drawn = [_line(each, frame, ticks) for each in series]
    return _chart(title, [*_grid(frame), *_ticks(ticks, frame), *drawn, *_names(series, frame)])


def trials(scores: Sequence[float], title: str, *, lower_is_better: bool) -> Markup:
    """A dot for each trial, in the order in which they were made, and the best so far as a line of steps."""
    best: list[float] = []
    for score in scores:
        best.append(score if not best else (min if lower_is_better else max)(best[-1], score))
    low, high = _close_span(scores)
    frame = _Frame(len(scores), low, high, _WIDTH - _RIGHT)
    steps = f"M{frame.x(0):.1f} {frame.y(best[0]):.1f}" + "".join(
        f"H{frame.x(place):.1f}V{frame.y(value):.1f}" for place, value in enumerate(best[1:], 1)
    )
    winner = scores.index(best[-1])
    dots = [
        Markup('<circle class="dot{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
            " champion" if place == winner else "", frame.x(place), frame.y(score), 5 if place == winner else 3.5,
            f"Trial {place + 1}: {metric(score)}",
        )
        for place, score in enumerate(scores)
    ]  # fmt: skip
    numbers = [str(place + 1) for place in range(len(scores))]
    step = Markup('<path class="line best" d="{}"/>').format(steps)
    return _chart(title, [*_grid(frame), *_ticks(numbers, frame), step, *dots])


def _chart(title: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart plot" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        _WIDTH, _HEIGHT, title, Markup("").join(parts)
    )


def _line(series: Series, frame: _Frame, ticks: Sequence[str]) -> Markup:
    """The line, broken where there is no value, with a dot at each place that says its value."""
    path, pen = "", "M"
    dots = []
    for place, value in enumerate(series.values):
        if value is None:
            pen = "M"
            continue
        x, y = frame.x(place), frame.y(value)
        path += f"{pen}{x:.1f} {y:.1f}"
        pen = "L"
        dots.append(
            Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>').format(
                x, y, f"{series.name}, {ticks[place]}: {metric(value)}"
            )
        )
    return Markup('<g class="series {}"><title>{}</title><path class="line" d="{}"/>{}</g>').format(
        series.kind, series.name, path, Markup("").join(dots)
    )


def _names(series: Sequence[Series], frame: _Frame) -> Iterator[Markup]:
    """The names right of the lines' ends, pushed apart where they would overlap."""
    for y, end, each in _ends(series, frame):
        yield Markup(
            '<g class="series {}"><path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
            '<text x="{:.1f}" y="{:.1f}">{}</text></g>'
        ).format(each.kind, frame.right + 3, end, frame.right + 10, y, frame.right + 13, y + 4, _cut(each.name))


def _ends(series: Sequence[Series], frame: _Frame) -> list[tuple[float, float, Series]]:
    """For each line that reaches the end: where its name stands, where it ends, and the line; from above."""
    found = [(frame.y(last), each) for each in series if each.values and (last := each.values[-1]) is not None]
    found.sort(key=lambda pair: pair[0])
    placed: list[tuple[float, float, Series]] = []
    for end, each in found:
        y = max(end, placed[-1][0] + _LABEL_GAP) if placed else end
        placed.append((y, end, each))
    over = max(placed[-1][0] - _FLOOR, 0.0) if placed else 0.0
    lifted: list[tuple[float, float, Series]] = []
    for y, end, each in reversed(placed):
        y = min(y, lifted[-1][0] - _LABEL_GAP) if lifted else y - over
        lifted.append((y, end, each))
    return lifted


def _cut(name: str) -> str:
    return name if len(name) <= 13 else f"{name[:12]}…"


def _grid(frame: _Frame) -> Iterator[Markup]:
    """Three lines across, with what they stand for to the left."""
    for value in (frame.low, (frame.low + frame.high) / 2, frame.high):
        y = frame.y(value)
        yield Markup(
            '<line class="grid" x1="{}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
            '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(_LEFT, frame.right, y, y, _LEFT - 5, y + 3.5, f"{value:.3g}")


def _ticks(ticks: Sequence[str], frame: _Frame) -> Iterator[Markup]:
    every = max(math.ceil(len(ticks) / 10), 1)
    for place, tick in enumerate(ticks):
        if place % every == 0 or (place == len(ticks) - 1 and place % every > every / 2):
            yield Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                frame.x(place), _FLOOR + 16, tick
            )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """From 0, or lower, to a round number above all values."""
    most, least = max(values, default=0.0), min([0.0, *values])
    return least, _round_up(most) if most > least else least + 1.0


def _close_span(values: Sequence[float]) -> tuple[float, float]:
    """Just around the values."""
    low, high = min(values), max(values)
    margin = (high - low or abs(high) or 1.0) * 0.1
    return low - margin, high + margin


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if size * step >= value * 0.999999)
