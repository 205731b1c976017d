"""Bars: a score, candidates beside each other, and a champion with its interval beside popularity."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from models.serving_records import ScoredTrack
from webapp.rendering.formats import interval, metric, ratio
from webapp.serving.scoreboard import CandidateRow, MetricCell, MetricColumn

_BARS_WIDTH = 240
_ROW = 40


def highest(lines: Sequence[ScoredTrack]) -> float:
    """What the bars of a list are measured by."""
    return max((line.score for line in lines), default=0.0)


def score_bar(value: float, highest: float, title: str) -> Markup:
    """A thin bar as long as the value's share of the highest one."""
    width = 100 * min(max(value / highest, 0.0), 1.0) if highest > 0 else 0.0
    return Markup(
        '<svg class="score-bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img">'
        f"<title>{escape(title)}</title>"
        f'<rect class="trough" width="100" height="6"/><rect class="fill" width="{width:.1f}" height="6"/></svg>'
    )  # not through Markup.format, which takes ten times as long: there are many of these


def comparison(measured: MetricColumn, candidates: Sequence[CandidateRow]) -> Markup:
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


def _bar_of(candidate: CandidateRow, cell: MetricCell, length: float) -> Markup:
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


def forest(champion: MetricCell, baseline: MetricCell | None, title: str) -> Markup:
    """The champion's value with its interval, above popularity's with its own, on one scale from 0."""
    rows = [("champion", champion), *([("baseline", baseline)] if baseline else [])]
    cells = [(kind, cell) for kind, cell in rows if cell.value is not None]
    most = max((end for _, cell in cells for end in (cell.value or 0.0, *(cell.interval or ()))), default=0.0) or 1.0

    def at(value: float) -> float:
        return 4 + (_BARS_WIDTH - 8) * max(value, 0.0) / most

    marks = [
        Markup('<g class="{}"><title>{}</title>{}<circle cx="{:.1f}" cy="{}" r="5"/></g>').format(
            kind,
            f"{kind if kind == 'champion' else 'popularity'}: {metric(cell.value)}"
            + (f", 95 % interval {interval(cell.interval)}" if cell.interval else ""),
            _whisker(at(cell.interval[0]), at(cell.interval[1]), y) if cell.interval else "",
            at(cell.value or 0.0),
            y,
        )
        for (kind, cell), y in zip(cells, (10, 28), strict=False)
    ]
    return Markup(
        '<svg class="chart forest" viewBox="0 0 {w} 38" role="img"><title>{title}</title>'
        '<line class="axis" x1="4" x2="{w}" y1="37" y2="37"/><line class="axis" x1="4" x2="4" y1="0" y2="37"/>'
        "{marks}</svg>"
    ).format(w=_BARS_WIDTH, title=title, marks=Markup("").join(marks))


def _whisker(left: float, right: float, y: float) -> Markup:
    return Markup(
        '<line class="whisker" x1="{0:.1f}" x2="{1:.1f}" y1="{2}" y2="{2}"/>'
        '<line class="whisker" x1="{0:.1f}" x2="{0:.1f}" y1="{3}" y2="{4}"/>'
        '<line class="whisker" x1="{1:.1f}" x2="{1:.1f}" y1="{3}" y2="{4}"/>'
    ).format(left, right, y, y - 4, y + 4)
