"""The published versions beside each other, and one of them."""

from __future__ import annotations

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue

from models.manifest import verify_version
from webapp.rendering import charts
from webapp.serving.request_context import current_version
from webapp.serving.scoreboard import MetricColumn
from webapp.serving.version_comparison import VersionFacts, find
from webapp.serving.version_comparison import versions as read_versions

COMPARED, MOST_COMPARED = 3, 6
AUDIT = 20


def versions() -> ResponseReturnValue:
    """All versions, the history of each metric, some of them side by side, and what was done with them."""
    here = current_version()
    made = read_versions(here.registry)
    wanted = request.args.getlist("v")
    chosen = [each for each in made if each.name in wanted][:MOST_COMPARED] or made[:COMPARED]
    return render_template(
        "versions.html",
        shown=here,
        versions=made,
        chosen=chosen,
        metrics=_metrics(chosen),
        settings=_settings(chosen),
        history=_history(made),
        pinned=here.registry.is_pinned(),
        promoted=here.registry.current(),
        audit=list(reversed(here.registry.audit()))[:AUDIT],
    )


def version(version: str) -> ResponseReturnValue:
    """A version: its metrics, its manifest, and on demand whether its files are what was published."""
    here = current_version()
    this = find(here.registry, version)
    if this is None:
        abort(404, f"There is no version {version[:80]!r} of {here.dataset}.")
    return render_template(
        "version.html",
        shown=here,
        version=this,
        promoted=here.registry.current(),
        pinned=here.registry.is_pinned(),
        faults=verify_version(this.directory) if "verify" in request.args else None,
        audit=[entry for entry in reversed(here.registry.audit()) if version in entry.values()],
    )


def _metrics(chosen: list[VersionFacts]) -> list[MetricColumn]:
    """The metrics of the champions' lists of ten, and of their predictions."""
    names = {metric.name: metric for each in chosen for metric in each.board.main}
    return sorted(names.values(), key=lambda metric: metric.place)


def _settings(chosen: list[VersionFacts]) -> list[tuple[str, list[str]]]:
    """The settings in which some versions differ, with the value of each of them."""
    names = dict.fromkeys(name for each in chosen for name in each.settings)
    rows = [(name, [each.settings.get(name, "—") for each in chosen]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _history(made: list[VersionFacts]) -> list[tuple[MetricColumn, list[charts.Series]]]:
    """Each metric of the champion and of popularity, from the oldest version to the newest."""
    in_order = list(reversed(made))
    rows = []
    for metric in _metrics(in_order):
        champion, baseline = (
            [_value(version, model, metric.name) for version in in_order] for model in (None, "popularity")
        )
        lines = [charts.Series("champion", champion, "champion")]
        if any(value is not None for value in baseline):
            lines.append(charts.Series("popularity", baseline, "baseline"))
        rows.append((metric, lines))
    return rows


def _value(version: VersionFacts, model: str | None, metric: str) -> float | None:
    values: dict[str, float] = version.metrics["models"].get(model or version.champion, {})
    return values.get(metric)
