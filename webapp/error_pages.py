"""Designed answers for what goes wrong: bad requests, pages that are not there, versions that cannot be read."""

from __future__ import annotations

import secrets

from flask import Flask, current_app, g, render_template
from flask.logging import default_handler
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, SecurityError

from common.errors import StoreError
from common.full_disk import describe_full_disk, is_disk_full
from common.log_lines import LineFormatter
from common.redaction import redact
from run_records import reader
from webapp.api import endpoints
from webapp.serving.request_context import NothingPublished, paths, version_cache

RUNS = 10
_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


def register(app: Flask) -> None:
    """Installs the handlers, and keeps secrets out of the log."""
    default_handler.setFormatter(LineFormatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s"))
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(NothingPublished, _nothing_published)
    app.register_error_handler(StoreError, _unreadable)
    app.register_error_handler(Exception, _failed)


def _refused(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    if isinstance(error, SecurityError):
        error.description = "This host is not answered to: use the one that the page named when it was started."
        if not endpoints.is_asked():  # of a host that is not ours no address can be written
            return f"{error.description}\n", 400, _PLAIN
    if endpoints.is_asked():
        return endpoints.of_http(error)
    response = error.get_response()
    text = redact(error.description or "")
    response.set_data(render_template("message.html", code=error.code, heading=error.name, text=text))
    response.content_type = "text/html; charset=utf-8"
    return response


def _nothing_published(error: NothingPublished) -> ResponseReturnValue:
    """Says how to begin; a first run that failed is shown, or nobody would see it."""
    if endpoints.is_asked():
        return endpoints.problem(404, "Not Found", str(error))
    recorded = sorted(paths().runs("").glob("*/"))
    recent = reader.newest_first([run for directory in recorded for run in reader.last_runs(directory, RUNS)])
    return render_template("empty.html", runs=recent[:RUNS])


def _unreadable(error: StoreError) -> ResponseReturnValue:
    """Answers from the last good version, if there is one."""
    current_app.logger.error("%s", error)
    if _another_serves(str(error)):
        return current_app.dispatch_request()
    text = redact(str(error))
    if endpoints.is_asked():
        return endpoints.problem(503, "The served version cannot be read", text)
    return render_template("message.html", code=503, heading="The served version cannot be read", text=text), 503


def _failed(error: Exception) -> ResponseReturnValue:
    """Tells the reader an id, and the log the same id with what happened; unless it was a damaged version's doing."""
    error_id = secrets.token_hex(4)
    current_app.logger.error("Error %s", error_id, exc_info=error)
    if "shown" in g and (fault := version_cache().fault(g.shown)):
        return _unreadable(StoreError(fault))
    if is_disk_full(error):
        return _without_room(error)
    if endpoints.is_asked():
        return endpoints.problem(500, "Internal error", f"The server's log has the reason under {error_id}.")
    return render_template("error.html", error_id=error_id), 500


def _without_room(error: Exception) -> ResponseReturnValue:
    title, text = "No room is left", redact(f"{describe_full_disk(error, paths().models_root)}.")
    if endpoints.is_asked():
        return endpoints.problem(507, title, text)
    return render_template("message.html", code=507, heading=title, text=text), 507


def _another_serves(why: str) -> bool:
    """Gives the version up that the request read, and says whether the request can be answered from another."""
    given_up = g.pop("shown", None)
    return given_up is not None and version_cache().give_up(given_up, why)
