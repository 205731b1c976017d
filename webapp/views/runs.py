"""The runs of a dataset, and one run: its stages as a graph, settings and log."""

from __future__ import annotations

import socket
from pathlib import Path

from flask import Response, abort, current_app, render_template
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from common.redaction import redact
from run_records import reader
from run_records.critical_path import critical_path
from run_records.graph_drawing import draw_graph
from run_records.graph_style import STYLE
from webapp.serving.published_versions import flatten_settings, setting_differences
from webapp.serving.query_args import get_int
from webapp.serving.request_context import datasets, paths, runs_dataset, select_dataset

PAGE_SIZE, MAX_PAGE = 25, 100_000
LOG_LINES, LOG_BYTES = 60, 64 << 10
LUIGID_TIMEOUT_S = 0.2


def runs() -> ResponseReturnValue:
    """List the runs of a dataset, newest first."""
    dataset, page = runs_dataset(), get_int("page", 1, MAX_PAGE)
    runs, total = reader.page_of_runs(paths().runs(dataset), page, PAGE_SIZE)
    if page > 1 and not runs:
        abort(404, f"There is no page {page} of runs.")
    return render_template(
        "runs.html",
        name=dataset,
        link_args={} if dataset in datasets() else {"dataset": dataset},
        runs=runs,
        total=total,
        page=page,
        has_more=total > page * PAGE_SIZE,
        luigid=_luigid_url(),
    )


def run(run_id: str) -> ResponseReturnValue:
    """Show a run."""
    select_dataset()
    record = next((file for file in paths().runs("").glob("*/*.jsonl") if file.stem == run_id), None)
    if record is None:
        if (output := _output_of_starting_run(run_id)) is not None:
            return render_template("starting.html", run_id=run_id, output=output)
        abort(404, f"There is no run {run_id[:80]!r}.")
    run = reader.read_run(record)
    earlier = [file for file in record.parent.glob("*.jsonl") if file.stem < run_id]  # an id begins with its time
    previous = reader.read_run(max(earlier)) if earlier else None
    settings = flatten_settings(run.settings)
    changed = [f"[{section}] {key}" for section, keys in run.changed_settings.items() for key in keys]
    graph = Markup(draw_graph(run, styled=False)) if run.stages else None  # draw_graph escapes
    return render_template(
        "run.html",
        run=run,
        previous=previous,
        differences=setting_differences(flatten_settings(previous.settings), settings)
        if previous and previous.settings and settings
        else [],
        changed=[(name, settings[name]) for name in changed if name in settings],
        critical_path=critical_path(run),
        graph=graph,
        log=_last_lines(record.with_suffix(".log")),
        luigid=_luigid_url(),
    )


def graph_style() -> ResponseReturnValue:
    """Return the style sheet of the graph."""
    return Response(STYLE, mimetype="text/css", headers={"Cache-Control": "max-age=3600"})


def _last_lines(log: Path) -> str:
    """Return the end of a log with secrets redacted; empty if it does not exist."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - LOG_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return redact("\n".join(lines[-LOG_LINES:]))


def _output_of_starting_run(run_id: str) -> str | None:
    """Return the output of a run that the page started and that has no record yet, if any."""
    output = next((file for file in paths().runs("").glob("*/*.out") if file.stem == run_id), None)
    return None if output is None else _last_lines(output)


def _luigid_url() -> str | None:
    """Return the address of luigid's page; None if luigid does not answer."""
    host, port = current_app.config["LUIGID"]
    try:
        socket.create_connection((host, port), LUIGID_TIMEOUT_S).close()
    except OSError:
        return None
    return f"http://{host}:{port}/static/visualiser/index.html"
