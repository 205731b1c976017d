"""The candidates of a version: every metric, every segment, curves over the length of the list, and tuning."""

from __future__ import annotations

from typing import Any

from flask import abort, render_template
from flask.typing import ResponseReturnValue

from models.promotion_gate import BASELINE
from webapp.rendering import charts
from webapp.serving.query_args import get_arg
from webapp.serving.request_context import current_version
from webapp.serving.version_cache import ServedVersion

SEGMENTS = {"activity": "By activity", "country": "By country", "age": "By age"}


def leaderboard() -> ResponseReturnValue:
    """Who competed, and how they did."""
    here = current_version()
    board, by = here.scoreboard, get_arg("by")
    if by is not None:
        if by not in {metric.name for metric in board.metrics}:
            abort(400, f"There is no metric {by[:40]!r} here to sort by.")
        board = board.by(by)
    return render_template(
        "leaderboard.html",
        shown=here,
        board=board,
        by=by,
        leads={entry["model"]: entry for entry in here.leaderboard if "model" in entry},
        left_out=[entry for entry in here.leaderboard if "reason" in entry],
        curves=_curves(here),
        segments=_segments(here),
        trials={name: found for name, found in here.tuning.items() if len(found.get("trials", ())) > 1},
        blends={name: found for name, found in here.tuning.items() if "alone" in found},
    )


def _curves(here: ServedVersion) -> list[tuple[str, list[charts.Series]]]:
    """Of each metric that has some, the candidates' values at every length of list."""
    found: dict[str, dict[str, list[float]]] = here.metrics.get("curves", {})
    champion = here.metrics["champion"]
    names = dict.fromkeys(metric for curves in found.values() for metric in curves)
    order = sorted(found, key=lambda model: (model != champion, model == BASELINE))
    return [
        (metric, [charts.Series(model, list(found[model][metric]), _kind(model, champion)) for model in order
                  if metric in found[model]])
        for metric in names
    ]  # fmt: skip


def _segments(here: ServedVersion) -> list[tuple[str, list[str], list[tuple[str, int, dict[str, Any]]]]]:
    """Each kind of segment: its title, the candidates, and for each segment its users and each candidate's figures."""
    found: dict[str, dict[str, dict[str, Any]]] = here.metrics.get("segments", {})
    models = [candidate.name for candidate in here.scoreboard.candidates if candidate.name in found]
    tables = []
    for kind in dict.fromkeys(kind for by_kind in found.values() for kind in by_kind):
        rows: dict[str, tuple[int, dict[str, Any]]] = {}
        for model in models:
            for name, figures in found[model].get(kind, {}).items():
                rows.setdefault(name, (figures["users"], {}))[1][model] = figures
        tables.append((SEGMENTS.get(kind, f"By {kind}"), models, [(name, *row) for name, row in rows.items()]))
    return tables


def _kind(model: str, champion: str) -> str:
    return "champion" if model == champion else "baseline" if model == BASELINE else "other"
