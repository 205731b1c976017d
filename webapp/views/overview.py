"""The overview: health, quality of the served version, changes since the version before, last runs."""

from __future__ import annotations

from itertools import dropwhile

from flask import render_template
from flask.typing import ResponseReturnValue

from run_records import reader
from run_records.recorded_run import RUNNING
from webapp.serving.dataset_health import dataset_health
from webapp.serving.published_versions import VersionDifference, read_versions
from webapp.serving.request_context import current_version, paths

MAX_RUNS = 5


def overview() -> ResponseReturnValue:
    """Show the overview."""
    served = current_version()
    runs = reader.last_runs(paths().runs(served.dataset), MAX_RUNS)
    versions = read_versions(served.registry)
    up_to_served = list(dropwhile(lambda version: version.name != served.version, versions))
    health = dataset_health(
        served,
        next((run for run in runs if run.status != RUNNING), None),
        pinned=served.registry.is_pinned(),
        newest_version=versions[0].name if versions else served.version,
    )
    return render_template(
        "overview.html",
        served=served,
        scoreboard=served.scoreboard,
        health=health,
        difference=VersionDifference(up_to_served[1], up_to_served[0]) if len(up_to_served) > 1 else None,
        runs=runs,
    )
