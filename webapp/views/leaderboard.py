"""The candidates of a version: metrics, differences, metrics by list length and by user segment, tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import abort, render_template
from flask.typing import ResponseReturnValue

from models.promotion_gate import BASELINE
from webapp.rendering import charts
from webapp.serving.query_args import get_arg
from webapp.serving.request_context import current_version
from webapp.serving.served_version import ServedVersion

SEGMENT_TITLES = {"activity": "By activity", "country": "By country", "age": "By age"}


@dataclass(frozen=True)
class SegmentTable:
    """Metrics by user segment, for one kind of segment."""

    title: str
    candidates: list[str]
    rows: list[tuple[str, int, dict[str, Any]]]
    """Segment, number of users, and metrics and intervals by candidate."""


def leaderboard() -> ResponseReturnValue:
    """Show the candidates, sorted by the metric `by` if it is given."""
    served = current_version()
    scoreboard, by = served.scoreboard, get_arg("by")
    if by is not None:
        if by not in {metric.name for metric in scoreboard.metrics}:
            abort(400, f"There is no metric {by[:40]!r} to sort by.")
        scoreboard = scoreboard.sorted_by(by)
    return render_template(
        "leaderboard.html",
        served=served,
        scoreboard=scoreboard,
        by=by,
        differences={entry["model"]: entry for entry in served.leaderboard if "model" in entry},
        skipped=[entry for entry in served.leaderboard if "reason" in entry],
        curves=_curves(served),
        segments=_segments(served),
        tuned={name: tuning for name, tuning in served.tuning.items() if len(tuning.get("trials", ())) > 1},
        blends={name: tuning for name, tuning in served.tuning.items() if "alone" in tuning},
    )


def _curves(served: ServedVersion) -> list[tuple[str, list[charts.Series]]]:
    """Return, for each metric with curves, every candidate's values by list length."""
    curves: dict[str, dict[str, list[float]]] = served.metrics.get("curves", {})
    champion = served.metrics["champion"]
    metrics = dict.fromkeys(metric for by_metric in curves.values() for metric in by_metric)
    candidates = sorted(curves, key=lambda name: (name != champion, name == BASELINE))
    return [
        (
            metric,
            [
                charts.Series(name, list(curves[name][metric]), _kind(name, champion))
                for name in candidates
                if metric in curves[name]
            ],
        )
        for metric in metrics
    ]


def _segments(served: ServedVersion) -> list[SegmentTable]:
    """Return a table for each kind of segment."""
    segments: dict[str, dict[str, dict[str, Any]]] = served.metrics.get("segments", {})
    candidates = [candidate.name for candidate in served.scoreboard.candidates if candidate.name in segments]
    tables = []
    for kind in dict.fromkeys(kind for by_kind in segments.values() for kind in by_kind):
        rows: dict[str, tuple[int, dict[str, Any]]] = {}
        for candidate in candidates:
            for segment, values in segments[candidate].get(kind, {}).items():
                rows.setdefault(segment, (values["users"], {}))[1][candidate] = values
        title = SEGMENT_TITLES.get(kind, f"By {kind}")
        tables.append(SegmentTable(title, candidates, [(segment, *row) for segment, row in rows.items()]))
    return tables


def _kind(name: str, champion: str) -> str:
    return "champion" if name == champion else "baseline" if name == BASELINE else "other"
