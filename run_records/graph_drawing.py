"""Draw the stages of a run as SVG, coloured by status, with the critical path emphasised."""

from __future__ import annotations

import re
from html import escape
from itertools import pairwise

from common.formatting import MISSING, format_compact, format_duration
from run_records.critical_path import critical_path, stage_seconds
from run_records.graph_layout import MARGIN, NODE_HEIGHT, NODE_WIDTH, Edge, GraphLayout, Node, transitive_edges
from run_records.graph_style import STYLE
from run_records.recorded_run import NOT_RUN, RUNNING, UNFINISHED, RecordedRun, RecordedStage

_ARROWHEADS = {"edge far": "far-tip", "edge": "tip", "edge critical": "critical-tip"}
"""The class of the arrowhead for each class of edges, in drawing order."""

_CLASSES = {"done": "done", "skipped": "skipped", "failed": "failed", RUNNING: "running"}
_SYMBOLS = {"done": "✓", "skipped": "↷", "failed": "✕", RUNNING: "▶", UNFINISHED: "…", NOT_RUN: "·"}
_STATUS_TEXTS = {"skipped": "up to date", "nothing_to_do": "nothing to do"}

_MAX_LABEL, _MAX_DETAIL = 22, 26
"""Maximum numbers of characters of the first and the last line in a box."""


def draw_graph(run: RecordedRun, *, styled: bool = True) -> str:
    """The drawing as SVG; the same run always gives the same text.

    Args:
        styled: whether to include the style sheet. Omit it for a page that links to the sheet.
    """
    layout = GraphLayout(run.stages)
    path = critical_path(run)
    classes = _edge_classes(layout, path)
    arrowheads = {kind: f"{name}-{_to_id(run.id)}" for kind, name in _ARROWHEADS.items()}
    edges = [
        f'<path class="{kind}" d="{layout.edge_path(edge)}" marker-end="url(#{arrowhead})"/>'
        for kind, arrowhead in arrowheads.items()
        for edge in layout.edges
        if classes[edge] == kind
    ]
    width, height, title = layout.width, layout.height, _to_xml(_title(run))
    return "\n".join(
        [
            f'<svg class="run-graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{title}">',
            *([f"<style>{STYLE}</style>"] if styled else []),
            *(_draw_arrowhead(arrowheads[kind], name) for kind, name in _ARROWHEADS.items()),
            f'<rect class="page" width="{width}" height="{height}" rx="10"/>',
            f'<text class="title" x="{MARGIN}" y="36">{title}</text>',
            f'<text x="{MARGIN}" y="57">{_to_xml(_subtitle(run, path))}</text>',
            *edges,
            *(_draw_stage(stage, layout.nodes[stage.label], stage.label in path) for stage in run.stages),
            "</svg>\n",
        ]
    )


def _edge_classes(layout: GraphLayout, path: list[str]) -> dict[Edge, str]:
    """The class of each edge: on the critical path, transitive, or any other."""
    critical, transitive = set(pairwise(path)), transitive_edges(layout.predecessors)
    return {
        edge: "edge critical" if edge in critical else "edge far" if edge in transitive else "edge"
        for edge in layout.edges
    }


def _draw_arrowhead(marker_id: str, kind: str) -> str:
    return (
        f'<marker id="{marker_id}" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="{kind}" d="M0 0L8 4L0 8z"/></marker>'
    )


def _draw_stage(stage: RecordedStage, node: Node, is_critical: bool) -> str:
    """A box with the label, the status and the rows of a stage; the tooltip has the error."""
    kind = _CLASSES.get(stage.status, "waiting") + (" critical" if is_critical else "")
    rows = f"{_format_rows(stage.rows_in)} → {_format_rows(stage.rows_out)} rows" if stage.rows_in is not None else ""
    summary = f"{stage.label}: {_status_text(stage.status)}{', on the critical path' if is_critical else ''}"
    tooltip = "\n".join(part for part in (summary, stage.error, stage.doing) if part)
    x, y = node.x, node.y
    return (
        f'<g class="{kind}"><title>{_to_xml(tooltip)}</title>'
        f'<rect class="box" x="{x:g}" y="{y:g}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="8"/>'
        f'<rect class="bar" x="{x:g}" y="{y + 12:g}" width="4" height="{NODE_HEIGHT - 24}" rx="2"/>'
        f'<text class="name" x="{x + 14:g}" y="{y + 26:g}">{_to_xml(_truncate(stage.label, _MAX_LABEL))}</text>'
        f'<text x="{x + 14:g}" y="{y + 46:g}">{_to_xml(_status_line(stage))}</text>'
        f'<text x="{x + 14:g}" y="{y + 64:g}">{_to_xml(_truncate(stage.doing or rows, _MAX_DETAIL))}</text>'
        f"{_draw_progress(stage.progress, node) if stage.progress else ''}</g>"
    )


def _draw_progress(share: float, node: Node) -> str:
    """A bar along the lower side of the box."""
    y = node.y + NODE_HEIGHT - 5
    return f'<rect class="share" x="{node.x:g}" y="{y:g}" width="{NODE_WIDTH * share:g}" height="4"/>'


def _status_line(stage: RecordedStage) -> str:
    """Symbol, status, duration and progress: ✓ 42 s, ▶ running 38%."""
    status = "" if stage.status == "done" else _status_text(stage.status)
    duration = format_duration(stage.duration_s) if stage.status in ("done", "failed") else ""
    progress = "" if stage.progress is None else f"{stage.progress:.0%}"
    return " ".join(part for part in (_SYMBOLS.get(stage.status, "·"), status, duration, progress) if part)


def _title(run: RecordedRun) -> str:
    preposition = "in" if run.status == "done" else "after"
    duration = f" {preposition} {format_duration(run.duration_s)}" if run.duration_s else ""
    return f"{run.dataset}: {_status_text(run.status)}{duration}"


def _subtitle(run: RecordedRun, path: list[str]) -> str:
    counts = [f"{count} {_status_text(status)}" for status, count in sorted(run.status_counts.items())]
    seconds = sum(stage_seconds(stage) for stage in run.stages if stage.label in path)
    total = f" of {format_duration(run.duration_s)}" if run.duration_s else ""
    critical = f"critical path {format_duration(seconds)}{total}" if path else ""
    version = f"version {run.version}" if run.version else ""
    return " · ".join(part for part in (f"Run {run.id}", *counts, critical, version) if part)


def _status_text(status: str) -> str:
    return _STATUS_TEXTS.get(status, status)


def _format_rows(count: int | None) -> str:
    return MISSING if count is None else format_compact(count, exact_below=10_000)


def _truncate(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _to_id(text: str) -> str:
    """The text with only characters that an id, and a reference to it, may contain."""
    return re.sub(r"[^0-9A-Za-z-]", "_", text)


def _to_xml(text: str) -> str:
    """The text escaped, without the characters that XML does not allow in any form."""
    return escape("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))
