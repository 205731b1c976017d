"""The page that starts a run of the pipeline."""

from __future__ import annotations

import threading

from flask import abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from common.errors import UserError
from common.redaction import redact
from config.dataset import shipped
from webapp import run_launcher
from webapp.serving.request_context import NothingPublished, current_version, paths, select_dataset


def new_run() -> ResponseReturnValue:
    """Show the form for a run."""
    return _form()


def start_run() -> ResponseReturnValue:
    """Start a run and show its page."""
    if not current_app.config["ALLOW_RUNS"]:
        abort(403, "This page cannot start runs. Start it with --allow-runs.")
    settings_text, as_of = request.form.get("settings", ""), request.form.get("as_of", "")
    dataset = request.form.get("name", "")
    if dataset not in shipped():
        abort(400, f"There is no description of a dataset {dataset[:40]!r}.")
    try:
        settings = run_launcher.parse_settings(settings_text, _editable_settings())
        run_id, process = run_launcher.launch(paths(), dataset, settings, as_of)
    except UserError as error:
        return _form(settings_text, as_of, dataset, redact(str(error))), 409
    threading.Thread(target=process.wait, daemon=True).start()  # reaps the process when it ends
    return redirect(url_for("pages.run", run_id=run_id))


def _form(settings_text: str = "", as_of: str = "", chosen: str | None = None, error: str | None = None) -> str:
    select_dataset()
    return render_template(
        "pipeline.html",
        is_allowed=current_app.config["ALLOW_RUNS"],
        descriptions=shipped(),
        settings=_editable_settings(),
        settings_text=settings_text,
        as_of=as_of,
        chosen=chosen,
        error=error,
        active_run=run_launcher.active_run(paths()),
    )


def _editable_settings() -> dict[str, str]:
    try:
        return run_launcher.editable_settings(current_version().manifest.get("settings", {}))
    except NothingPublished:
        return {}
