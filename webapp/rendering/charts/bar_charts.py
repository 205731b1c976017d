"""Bar charts: a score, the candidates' values of a metric, and confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from models.serving_records import ScoredTrack
from webapp.rendering.formats import interval, metric, ratio
from webapp.serving.scoreboard import CandidateRow, MetricCell, MetricColumn

_WIDTH = 240
_ROW_HEIGHT = 40


def max_score(lines: Sequence[ScoredTrack]) -> float:
    """Return the highest number of a list, which is the full length of its score bars."""
    return max((line.score for line in lines), default=0.0)


def score_bar(value: float, maximum: float, title: str) -> Markup:
    """Return a thin bar whose length is the value's share of the maximum."""
    width = 100 * min(max(value / maximum, 0.0), 1.0) if maximum > 0 else 0.0
    return Markup(
        '<svg class="score-bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img">'
        f"<title>{escape(title)}</title>"
        f'<rect class="background" width="100" height="6"/><rect class="fill" width="{width:.1f}" height="6"/></svg>'
    )  # an f-string: Markup.format takes ten times as long, and a page has dozens of bars


def candidate_bars(column: MetricColumn, candidates: Sequence[CandidateRow]) -> Markup:
    """Return a horizontal bar for each candidate, with a dashed mark at popularity's value."""
    cells = [candidate.cells[column.name] for candidate in candidates]
    maximum = max((cell.value for cell in cells if cell.value is not None), default=0.0) or 1.0
    baseline = next((c.cells[column.name].value for c in candidates if c.is_baseline), None)
    lengths = [_WIDTH * max(cell.value or 0.0, 0.0) / maximum for cell in cells]
    mark = Markup("") if baseline is None else _baseline_mark(_WIDTH * baseline / maximum)
    rows = [
        Markup('<g transform="translate(0 {})">{}{}</g>').format(
            row * _ROW_HEIGHT, _candidate_bar(candidate, cell, length), mark
        )
        for row, (candidate, cell, length) in enumerate(zip(candidates, cells, lengths, strict=True))
    ]
    summary = "; ".join(f"{c.name} {metric(cell.value)}" for c, cell in zip(candidates, cells, strict=True))
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        _WIDTH, len(candidates) * _ROW_HEIGHT - 6, f"{column.name}: {summary}", Markup("").join(rows)
    )


def _candidate_bar(candidate: CandidateRow, cell: MetricCell, length: float) -> Markup:
    label = metric(cell.value)
    if cell.ratio is not None and not candidate.is_baseline:
        label += f" {ratio(cell.ratio)}"
    return Markup(
        '<text class="name" y="14">{name}{star}</text><text x="{right}" y="14" text-anchor="end">{label}</text>'
        '<rect class="background" y="20" width="{right}" height="10" rx="2"/>'
        '<rect class="{kind}" y="20" width="{length:.1f}" height="10" rx="2"/>'
    ).format(
        name=candidate.name,
        star=" ★" if candidate.is_champion else "",
        label=label,
        right=_WIDTH,
        kind="champion" if candidate.is_champion else "baseline" if candidate.is_baseline else "other",
        length=length,
    )


def _baseline_mark(x: float) -> Markup:
    return Markup('<line class="baseline-mark" x1="{0:.1f}" x2="{0:.1f}" y1="17" y2="33"/>').format(x)


def interval_plot(champion: MetricCell, baseline: MetricCell | None, title: str) -> Markup:
    """Return the champion's value with its confidence interval above popularity's, on one scale from 0."""
    rows = [("champion", champion), *([("baseline", baseline)] if baseline else [])]
    cells = [(kind, cell) for kind, cell in rows if cell.value is not None]
    ends = (end for _, cell in cells for end in (cell.value or 0.0, *(cell.interval or ())))
    maximum = max(ends, default=0.0) or 1.0

    def x(value: float) -> float:
        return 4 + (_WIDTH - 8) * max(value, 0.0) / maximum

    marks = [
        Markup('<g class="{}"><title>{}</title>{}<circle cx="{:.1f}" cy="{}" r="5"/></g>').format(
            kind,
            _interval_title(kind, cell),
            _whisker(x(cell.interval[0]), x(cell.interval[1]), y) if cell.interval else "",
            x(cell.value or 0.0),
            y,
        )
        for (kind, cell), y in zip(cells, (10, 28), strict=False)
    ]
    return Markup(
        '<svg class="chart interval-plot" viewBox="0 0 {w} 38" role="img"><title>{title}</title>'
        '<line class="axis" x1="4" x2="{w}" y1="37" y2="37"/><line class="axis" x1="4" x2="4" y1="0" y2="37"/>'
        "{marks}</svg>"
    ).format(w=_WIDTH, title=title, marks=Markup("").join(marks))


def _interval_title(kind: str, cell: MetricCell) -> str:
    name = "champion" if kind == "champion" else "popularity"
    suffix = f", 95 % interval {interval(cell.interval)}" if cell.interval else ""
    return f"{name}: {metric(cell.value)}{suffix}"


def _whisker(left: float, right: float, y: float) -> Markup:
    return Markup(
        '<line class="whisker" x1="{0:.1f}" x2="{1:.1f}" y1="{2}" y2="{2}"/>'
        '<line class="whisker" x1="{0:.1f}" x2="{0:.1f}" y1="{3}" y2="{4}"/>'
        '<line class="whisker" x1="{1:.1f}" x2="{1:.1f}" y1="{3}" y2="{4}"/>'
    ).format(left, right, y, y - 4, y + 4)
