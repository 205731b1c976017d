"""The front page: whether all is well, how good what is served is, and what changed."""

from __future__ import annotations

from itertools import dropwhile

from flask import render_template
from flask.typing import ResponseReturnValue

from run_records import reader as records
from webapp.serving.dataset_health import dataset_health
from webapp.serving.request_context import current_version, paths
from webapp.serving.version_comparison import SettingDifference, versions

RUNS = 5


def overview() -> ResponseReturnValue:
    """The served version: how good it is, what it was made from, and what the last runs did."""
    here = current_version()
    recent = records.last_runs(paths().runs(here.dataset), RUNS)
    made = versions(here.registry)
    older = list(dropwhile(lambda version: version.name != here.version, made))  # the served one, and those before it
    return render_template(
        "overview.html",
        shown=here,
        board=here.scoreboard,
        condition=dataset_health(
            here,
            next((run for run in recent if run.status != "running"), None),
            pinned=here.registry.is_pinned(),
            newest=made[0].name if made else here.version,
        ),
        change=SettingDifference(before=older[1], now=older[0]) if len(older) > 1 else None,
        runs=recent,
    )
