"""Error responses: an HTML page, or a problem document for the API."""

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
from webapp.api.problems import http_problem, is_api_request, problem
from webapp.serving.request_context import NothingPublished, paths, version_cache

MAX_RUNS = 10
HOST_NOT_ALLOWED = "Host not allowed. Use the address that was printed when the page started, or add --trusted-host."
UNREADABLE = "The served version cannot be read"

_PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def register(app: Flask) -> None:
    """Install the error handlers, and redact secrets in Flask's log."""
    default_handler.setFormatter(LineFormatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s"))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NothingPublished, _nothing_published)
    app.register_error_handler(StoreError, _unreadable_version)
    app.register_error_handler(Exception, _internal_error)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    if isinstance(error, SecurityError):
        error.description = HOST_NOT_ALLOWED
        if not is_api_request():  # without a trusted host, url_for cannot build the links of a page
            return f"{error.description}\n", 400, _PLAIN_TEXT
    if is_api_request():
        return http_problem(error)
    response = error.get_response()
    text = redact(error.description or "")
    response.set_data(render_template("message.html", code=error.code, heading=error.name, text=text))
    response.content_type = "text/html; charset=utf-8"
    return response


def _nothing_published(error: NothingPublished) -> ResponseReturnValue:
    """Show how to publish a first version, and the runs so far: the first one may have failed."""
    if is_api_request():
        return problem(404, "Not Found", str(error))
    directories = sorted(paths().runs("").glob("*/"))
    runs = reader.newest_first([run for directory in directories for run in reader.last_runs(directory, MAX_RUNS)])
    return render_template("empty.html", runs=runs[:MAX_RUNS])


def _unreadable_version(error: StoreError) -> ResponseReturnValue:
    """Answer the request from the last good version, or report the error without one."""
    current_app.logger.error("%s", error)
    if _fall_back(str(error)):
        return current_app.dispatch_request()
    return _report(503, UNREADABLE, redact(str(error)))


def _internal_error(error: Exception) -> ResponseReturnValue:
    """Log the error under an id and show that id. A damaged version or a full disk is reported as such."""
    error_id = secrets.token_hex(4)
    current_app.logger.error("Error %s", error_id, exc_info=error)
    if "served_version" in g and (corruption := version_cache().find_corruption(g.served_version)):
        return _unreadable_version(StoreError(corruption))
    if is_disk_full(error):
        return _report(507, "No space left on disk", redact(f"{describe_full_disk(error, paths().models_root)}."))
    if is_api_request():
        return problem(500, "Internal error", f"See the server's log for error {error_id}.")
    return render_template("error.html", error_id=error_id), 500


def _report(status: int, title: str, text: str) -> ResponseReturnValue:
    if is_api_request():
        return problem(status, title, text)
    return render_template("message.html", code=status, heading=title, text=text), status


def _fall_back(reason: str) -> bool:
    """Mark the request's version as bad, and return whether another version can answer the request."""
    bad = g.pop("served_version", None)
    return bad is not None and version_cache().mark_bad(bad, reason)
