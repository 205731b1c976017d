"""The runs of a dataset, and one of them as a picture."""

from __future__ import annotations

import socket
from pathlib import Path

from flask import Response, abort, current_app, render_template
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from common.redaction import redact
from run_records import reader as records
from run_records.critical_path import critical_path
from run_records.graph_drawing import draw_graph
from run_records.graph_style import STYLE
from webapp.serving.query_args import get_int
from webapp.serving.request_context import datasets, for_the_header, of_runs, paths
from webapp.serving.version_comparison import differing, flat

A_PAGE = 25
MOST_PAGES = 100_000
TAIL_LINES, TAIL_BYTES = 60, 64 << 10
PROBE_S = 0.2


def runs() -> ResponseReturnValue:
    """The runs of a dataset, newest first."""
    name, page = of_runs(), get_int("page", 1, MOST_PAGES)
    found, total = records.page_of_runs(paths().runs(name), page, A_PAGE)
    if page > 1 and not found:
        abort(404, f"There is no page {page} of runs.")
    return render_template(
        "runs.html",
        name=name,
        of={} if name in datasets() else {"dataset": name},
        runs=found,
        total=total,
        page=page,
        more=total > page * A_PAGE,
        luigid=_luigid(),
    )


def run(run_id: str) -> ResponseReturnValue:
    """A run: its stages as a graph and as a table, its settings, the end of its log."""
    for_the_header()
    record = next((file for file in paths().runs("").glob("*/*.jsonl") if file.stem == run_id), None)
    if record is None:
        if (said := _starting(run_id)) is not None:
            return render_template("starting.html", run_id=run_id, said=said)
        abort(404, f"There is no run {run_id[:80]!r}.")
    this = records.read_run(record)
    earlier = [file for file in record.parent.glob("*.jsonl") if file.stem < run_id]  # an id begins with its time
    before = records.read_run(max(earlier)) if earlier else None
    settings = flat(this.settings)
    names = [f"[{section}] {key}" for section, keys in this.changed_settings.items() for key in keys]
    return render_template(
        "run.html",
        run=this,
        before=before,
        differences=differing(flat(before.settings), settings) if before and before.settings and settings else [],
        changed=[(name, settings[name]) for name in names if name in settings],
        critical=critical_path(this),
        picture=Markup(draw_graph(this, styled=False)) if this.stages else None,  # draw() escapes what it writes
        tail=_tail(record.with_suffix(".log")),
        luigid=_luigid(),
    )


def graph_style() -> ResponseReturnValue:
    """How the picture of a run looks."""
    return Response(STYLE, mimetype="text/css", headers={"Cache-Control": "max-age=3600"})


def _tail(log: Path) -> str:
    """The last lines of a log, without secrets; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return redact("\n".join(lines[-TAIL_LINES:]))


def _starting(run_id: str) -> str | None:
    """What a run that was started from the page has said before its record began; None of one that was not."""
    said = next((file for file in paths().runs("").glob("*/*.out") if file.stem == run_id), None)
    return None if said is None else _tail(said)


def _luigid() -> str | None:
    """The address of luigid's page, if luigid answers."""
    host, port = current_app.config["LUIGID"]
    try:
        socket.create_connection((host, port), PROBE_S).close()
    except OSError:
        return None
    return f"http://{host}:{port}/static/visualiser/index.html"
