"""Draws the stages of a run as SVG: in layers from left to right, coloured by how they ended.

Arrows between neighbouring layers are drawn between the boxes. Longer ones run in lanes below all boxes, one lane for
each stage that they come from, and so cross no box; those that say nothing new, because another way leads there as
well, are faint. The critical path is drawn thick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from common.formatting import MISSING, format_compact, format_duration
from run_records.reader import NOT_RUN, RUNNING, UNFINISHED, RecordedRun, RecordedStage

_WIDTH, _HEIGHT = 204, 78
_GAP, _ROW_GAP = 58, 22
_MARGIN, _HEAD, _LANE = 28, 76, 14
_ROUND = 9

STYLE = """
  .run-graph { --page: #ffffff; --ink: #1c2430; --soft: #5b6675; --line: #6b7787; --faint: #c3cad3;
               --done: #1a7f4b; --done-box: #eaf6ef; --skipped: #4a6785; --skipped-box: #eef2f7;
               --failed: #c0302b; --failed-box: #fdeeed; --waiting: #8792a0; --waiting-box: #ffffff;
               --running: #8a5a00; --running-box: #fff6e0; }
  @media (prefers-color-scheme: dark) {
    .run-graph { --page: #14181e; --ink: #e8ecf1; --soft: #a0abb8; --line: #8f9bab; --faint: #3c4653;
                 --done: #4cc38a; --done-box: #14291f; --skipped: #8fb0d3; --skipped-box: #1a2430;
                 --failed: #ff7b72; --failed-box: #331a1b; --waiting: #7d8896; --waiting-box: #14181e;
                 --running: #e3b341; --running-box: #2d2413; }
  }
  .run-graph text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
                    fill: var(--soft); }
  .run-graph .page { fill: var(--page); }
  .run-graph .title { font-size: 17px; font-weight: 600; fill: var(--ink); }
  .run-graph .name { font-size: 13px; font-weight: 600; fill: var(--ink); }
  .run-graph .box { stroke-width: 1.25; }
  .run-graph .edge { fill: none; stroke: var(--line); stroke-width: 1.5; }
  .run-graph .far { stroke: var(--faint); stroke-width: 1.25; }
  .run-graph .tip { fill: var(--line); } .run-graph .far-tip { fill: var(--faint); }
  .run-graph .done .box { fill: var(--done-box); stroke: var(--done); }
  .run-graph .done .bar { fill: var(--done); }
  .run-graph .skipped .box { fill: var(--skipped-box); stroke: var(--skipped); }
  .run-graph .skipped .bar { fill: var(--skipped); }
  .run-graph .failed .box { fill: var(--failed-box); stroke: var(--failed); stroke-width: 2; }
  .run-graph .failed .bar { fill: var(--failed); }
  .run-graph .running .box { fill: var(--running-box); stroke: var(--running); stroke-width: 2; }
  .run-graph .running .bar, .run-graph .share { fill: var(--running); }
  .run-graph .waiting .box { fill: var(--waiting-box); stroke: var(--waiting); stroke-dasharray: 5 4; }
  .run-graph .waiting .bar { fill: none; }
  .run-graph .waiting .name { fill: var(--soft); }
  .run-graph .critical .box { stroke-width: 3.5; }
  .run-graph .edge.critical { stroke: var(--ink); stroke-width: 3.5; }
  .run-graph .critical-tip { fill: var(--ink); }
"""
"""The sheet of a drawing. It touches nothing else on a page."""

_TIPS = {"edge far": "far-tip", "edge": "tip", "edge critical": "critical-tip"}
"""The kinds of arrows, in the order in which they are drawn, and their points."""

_CLASSES = {"done": "done", "skipped": "skipped", "failed": "failed", RUNNING: "running"}
_MARKS = {"done": "✓", "skipped": "↷", "failed": "✕", RUNNING: "▶", UNFINISHED: "…", NOT_RUN: "·"}
_SAID = {"skipped": "up to date", NOT_RUN: "not run", "nothing_to_do": "nothing to do"}


@dataclass(frozen=True)
class _Box:
    """Where a stage is drawn: its layer, and its upper left corner."""

    layer: int
    x: float
    y: float

    @property
    def middle(self) -> float:
        return self.y + _HEIGHT / 2


def critical_path(run: RecordedRun) -> list[str]:
    """The labels of the stages that the run's time hung on: the chain, by what stages require, that took longest.

    A stage whose result was there took no time, and the path begins and ends with one that took some. Empty where the
    run made nothing.
    """
    if not run.stages["done"]:
        return []
    longest: dict[str, tuple[float, list[str]]] = {}
    for step in run.steps:  # each after those that it requires
        before = (longest[name] for name in step.requires if name in longest)
        took, path = max(before, key=lambda way: way[0], default=(0.0, []))
        longest[step.label] = (took + _weight(step), [*path, step.label] if took + _weight(step) else [])
    return max(longest.values(), key=lambda way: way[0])[1]


def _weight(step: RecordedStage) -> float:
    """The seconds that making a stage took."""
    return step.duration_s or 0.0 if step.status in ("done", "failed") else 0.0


def draw_graph(run: RecordedRun, *, styled: bool = True) -> str:
    """The SVG; the same run always gives the same text.

    Args:
        styled: whether `STYLE` is in it. Without, it can stand in a page that brings the sheet and allows no other.
    """
    before = {step.label: _known(step.requires, run.steps) for step in run.steps}
    layers = _in_layers(before)
    lanes = _lanes(before, layers)
    rows = max((len(layer) for layer in layers), default=1)
    tall = rows * (_HEIGHT + _ROW_GAP) - _ROW_GAP
    boxes = {
        label: _Box(number, _MARGIN + number * (_WIDTH + _GAP), _HEAD + _offset(len(layer), tall) + place)
        for number, layer in enumerate(layers)
        for label, place in zip(layer, (row * (_HEIGHT + _ROW_GAP) for row in range(len(layer))), strict=True)
    }
    width = max(2 * _MARGIN + len(layers) * (_WIDTH + _GAP) - _GAP, 520)
    floor = _HEAD + tall + 18
    height = floor + len(lanes) * _LANE + _MARGIN - 8
    path = critical_path(run)
    kinds = _kinds(before, path)
    tips = {kind: f"{tip}-{_as_id(run.run)}" for kind, tip in _TIPS.items()}
    lines = [
        f'<path class="{kind}" d="{_way(boxes, lanes, floor, *arrow)}" marker-end="url(#{tip})"/>'
        for kind, tip in tips.items()
        for arrow in sorted(kinds)
        if kinds[arrow] == kind
    ]
    return "\n".join(
        [
            f'<svg class="run-graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{_text(_title(run))}">',
            *([f"<style>{STYLE}</style>"] if styled else []),
            *(_tip(tips[kind], tip) for kind, tip in _TIPS.items()),
            f'<rect class="page" width="{width}" height="{height}" rx="10"/>',
            f'<text class="title" x="{_MARGIN}" y="36">{_text(_title(run))}</text>',
            f'<text x="{_MARGIN}" y="57">{_text(_subtitle(run, path))}</text>',
            *lines,
            *(_drawn(step, boxes[step.label], step.label in path) for step in run.steps),
            "</svg>\n",
        ]
    )


# -- where things are --------------------------------------------------------------------------------------------------


def _known(requires: Iterable[str], steps: Iterable[RecordedStage]) -> tuple[str, ...]:
    """Those of the required stages that are drawn."""
    labels = {step.label for step in steps}
    return tuple(name for name in dict.fromkeys(requires) if name in labels)


def _in_layers(before: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Each stage one layer after the last of those it requires; within a layer, near to them."""
    depth: dict[str, int] = {}

    def measure(label: str, above: tuple[str, ...]) -> int:
        if label not in depth:
            # A record with a circle can only be made by hand; it must not keep us going in it.
            names = [name for name in before[label] if name not in above]
            depth[label] = max((measure(name, (*above, label)) + 1 for name in names), default=0)
        return depth[label]

    layers: list[list[str]] = []
    for label in before:
        number = measure(label, (label,))
        layers.extend([] for _ in range(number + 1 - len(layers)))
        layers[number].append(label)
    place: dict[str, float] = {}
    for layer in layers:
        nearest = {
            label: [place[name] for name in before[label] if name in place and depth[name] == depth[label] - 1]
            for label in layer
        }
        layer.sort(key=lambda label: sum(nearest[label]) / max(len(nearest[label]), 1))
        place.update({label: row - (len(layer) - 1) / 2 for row, label in enumerate(layer)})
    return layers


def _offset(count: int, tall: float) -> float:
    """How far below the top a layer of so many boxes begins, to stand in the middle."""
    return (tall - (count * (_HEIGHT + _ROW_GAP) - _ROW_GAP)) / 2


def _lanes(before: Mapping[str, tuple[str, ...]], layers: list[list[str]]) -> dict[str, int]:
    """The number of the lane of each stage that a long arrow begins at; the last stages have the highest lanes."""
    depth = {label: number for number, layer in enumerate(layers) for label in layer}
    far = {name for label, names in before.items() for name in names if depth[label] != depth[name] + 1}
    return {name: lane for lane, name in enumerate(sorted(far, key=lambda name: (-depth[name], name)))}


def _needed(before: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], bool]:
    """For each arrow, whether it is the only way between its ends."""
    reached: dict[str, frozenset[str]] = {}

    def reach(label: str, above: frozenset[str]) -> frozenset[str]:
        if label not in reached:
            names = [name for name in before[label] if name not in above]
            reached[label] = frozenset(names).union(*(reach(name, above | {label}) for name in names))
        return reached[label]

    return {
        (label, name): not any(name in reach(other, frozenset({label})) for other in names if other != name)
        for label, names in before.items()
        for name in names
    }


# -- how they look -----------------------------------------------------------------------------------------------------


def _kinds(before: Mapping[str, tuple[str, ...]], path: list[str]) -> dict[tuple[str, str], str]:
    """How each arrow is drawn, by where it begins and ends."""
    critical = set(pairwise(path))
    return {
        (name, label): "edge critical" if (name, label) in critical else "edge" if strong else "edge far"
        for (label, name), strong in _needed(before).items()
    }


def _way(boxes: Mapping[str, _Box], lanes: Mapping[str, int], floor: float, name: str, label: str) -> str:
    """The line of an arrow."""
    start, end = boxes[name], boxes[label]
    x1, y1, x2, y2 = start.x + _WIDTH, start.middle, end.x - 7, end.middle
    if end.layer == start.layer + 1:
        bend = (x2 - x1) / 2
        return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    lane, count = lanes[name], len(lanes)
    aside = 12 + lane * min(26 / max(count, 1), 7)
    down, up, low, r = x1 + aside, end.x - _GAP + aside, floor + lane * _LANE, _ROUND
    y1, y2 = y1 + 16, y2 + 16  # beside the arrows to the neighbours
    return (
        f"M{x1:g} {y1:g}H{down - r:g}Q{down:g} {y1:g} {down:g} {y1 + r:g}V{low - r:g}"
        f"Q{down:g} {low:g} {down + r:g} {low:g}H{up - r:g}Q{up:g} {low:g} {up:g} {low - r:g}"
        f"V{y2 + r:g}Q{up:g} {y2:g} {up + r:g} {y2:g}H{x2:g}"
    )


def _tip(name: str, kind: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="{kind}" d="M0 0L8 4L0 8z"/></marker>'
    )


def _as_id(text: str) -> str:
    """As it may stand in an id, and in a reference to it."""
    return re.sub(r"[^0-9A-Za-z-]", "_", text)


def _drawn(step: RecordedStage, box: _Box, critical: bool) -> str:
    kind = _CLASSES.get(step.status, "waiting") + (" critical" if critical else "")
    said = _SAID.get(step.status, "" if step.status == "done" else step.status)
    time = format_duration(step.duration_s) if step.status in ("done", "failed") else ""
    share = "" if step.progress is None else f"{step.progress:.0%}"
    how = " ".join(part for part in (_MARKS.get(step.status, "·"), said, time, share) if part)
    rows = f"{_compact_rows(step.rows_in)} → {_compact_rows(step.rows_out)} rows" if step.rows_in is not None else ""
    full = f"{step.label}: {_SAID.get(step.status, step.status)}{', on the critical path' if critical else ''}"
    hint = "\n".join(part for part in (full, step.error, step.doing) if part)
    x, y = box.x, box.y
    return (
        f'<g class="{kind}"><title>{_text(hint)}</title>'
        f'<rect class="box" x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
        f'<rect class="bar" x="{x:g}" y="{y + 12:g}" width="4" height="{_HEIGHT - 24}" rx="2"/>'
        f'<text class="name" x="{x + 14:g}" y="{y + 26:g}">{_text(_cut(step.label, 22))}</text>'
        f'<text x="{x + 14:g}" y="{y + 46:g}">{_text(how)}</text>'
        f'<text x="{x + 14:g}" y="{y + 64:g}">{_text(_cut(step.doing or rows, 26))}</text>'
        f"{_filled(step.progress, box) if step.progress else ''}</g>"
    )


def _filled(share: float, box: _Box) -> str:
    """A bar along the floor of the box, as long as the share that is done."""
    return f'<rect class="share" x="{box.x:g}" y="{box.y + _HEIGHT - 5:g}" width="{_WIDTH * share:g}" height="4"/>'


def _cut(text: str, most: int) -> str:
    """As much of it as there is room for."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _title(run: RecordedRun) -> str:
    took = f" {'in' if run.status == 'done' else 'after'} {format_duration(run.duration_s)}" if run.duration_s else ""
    return f"{run.dataset}: {_SAID.get(run.status, run.status)}{took}"


def _subtitle(run: RecordedRun, path: list[str]) -> str:
    counts = [f"{count} {_SAID.get(status, status)}" for status, count in sorted(run.stages.items())]
    took = format_duration(sum(_weight(step) for step in run.steps if step.label in path))
    of_all = f" of {format_duration(run.duration_s)}" if run.duration_s else ""
    critical = f"critical path {took}{of_all}" if path else ""
    version = f"version {run.version}" if run.version else ""
    return " · ".join(part for part in (f"Run {run.run}", *counts, critical, version) if part)


def _text(text: str) -> str:
    """As it may stand in XML, where some characters may not, however they are written."""
    return escape("".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text))


def _compact_rows(count: int | None) -> str:
    return MISSING if count is None else format_compact(count, exact_below=10_000)
