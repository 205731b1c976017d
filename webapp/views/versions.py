"""The published versions of a dataset, and one version."""

from __future__ import annotations

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue

from models.manifest import verify_version
from webapp.rendering import charts
from webapp.serving.published_versions import ABSENT, PublishedVersion, find_version, read_versions
from webapp.serving.request_context import current_version
from webapp.serving.scoreboard import MetricColumn

DEFAULT_COMPARED, MAX_COMPARED = 3, 6
MAX_AUDIT_ENTRIES = 20


def versions() -> ResponseReturnValue:
    """Show all versions, some side by side, the history of each metric, and the audit log."""
    served = current_version()
    published = read_versions(served.registry)
    selected = request.args.getlist("v")
    compared = [version for version in published if version.name in selected][:MAX_COMPARED]
    compared = compared or published[:DEFAULT_COMPARED]
    return render_template(
        "versions.html",
        served=served,
        versions=published,
        compared=compared,
        max_compared=MAX_COMPARED,
        metrics=[metric for metric in _metrics(compared) if _has_champion_value(compared, metric.name)],
        settings=_differing_settings(compared),
        history=_history(published),
        pinned=served.registry.is_pinned(),
        promoted=served.registry.current(),
        audit=list(reversed(served.registry.audit()))[:MAX_AUDIT_ENTRIES],
    )


def version(version: str) -> ResponseReturnValue:
    """Show a version; verify its files' checksums if the query has `verify`."""
    served = current_version()
    published = find_version(served.registry, version)
    if published is None:
        abort(404, f"{served.dataset} has no version {version[:80]!r}.")
    return render_template(
        "version.html",
        served=served,
        version=published,
        promoted=served.registry.current(),
        pinned=served.registry.is_pinned(),
        failures=verify_version(published.directory) if "verify" in request.args else None,
        audit=[entry for entry in reversed(served.registry.audit()) if version in entry.values()],
    )


def _metrics(versions: list[PublishedVersion]) -> list[MetricColumn]:
    """Return the main metrics that at least one version has."""
    metrics = {metric.name: metric for version in versions for metric in version.scoreboard.main}
    return sorted(metrics.values(), key=lambda metric: metric.sort_key)


def _has_champion_value(versions: list[PublishedVersion], metric: str) -> bool:
    """Whether the champion of at least one version has the metric."""
    return any(_value(version, version.champion, metric) is not None for version in versions)


def _differing_settings(versions: list[PublishedVersion]) -> list[tuple[str, list[str]]]:
    """Return the settings that are not the same in all versions, with each version's value."""
    names = dict.fromkeys(name for version in versions for name in version.settings)
    rows = [(name, [version.settings.get(name, ABSENT) for version in versions]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _history(versions: list[PublishedVersion]) -> list[tuple[MetricColumn, list[charts.Series]]]:
    """Return each metric of the champion and of popularity, from the oldest version to the newest."""
    oldest_first = list(reversed(versions))
    rows = []
    for metric in _metrics(oldest_first):
        champion = [_value(version, version.champion, metric.name) for version in oldest_first]
        baseline = [_value(version, "popularity", metric.name) for version in oldest_first]
        lines = [charts.Series("champion", champion, "champion")]
        if any(value is not None for value in baseline):
            lines.append(charts.Series("popularity", baseline, "baseline"))
        rows.append((metric, lines))
    return rows


def _value(version: PublishedVersion, model: str, metric: str) -> float | None:
    values: dict[str, float] = version.metrics["models"].get(model, {})
    return values.get(metric)
