"""Designed answers for what goes wrong: bad requests, pages that are not there, versions that cannot be read."""

from __future__ import annotations

import secrets

from flask import Flask, current_app, render_template
from flask.logging import default_handler
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from config.errors import StoreError
from config.logs import LineFormatter
from config.redaction import redact
from webapp import api


def register(app: Flask) -> None:
    """Installs the handlers, and keeps secrets out of the log."""
    default_handler.setFormatter(LineFormatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s"))
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(StoreError, _unreadable)
    app.register_error_handler(Exception, _failed)


def _refused(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    if api.is_asked():
        return api.of_http(error)
    response = error.get_response()
    text = redact(error.description or "")
    response.set_data(render_template("message.html", code=error.code, heading=error.name, text=text))
    response.content_type = "text/html; charset=utf-8"
    return response


def _unreadable(error: StoreError) -> ResponseReturnValue:
    current_app.logger.error("%s", error)
    text = redact(str(error))
    if api.is_asked():
        return api.problem(503, "The served version cannot be read", text)
    return render_template("message.html", code=503, heading="The served version cannot be read", text=text), 503


def _failed(error: Exception) -> ResponseReturnValue:
    """Tells the reader an id, and the log the same id with what happened."""
    error_id = secrets.token_hex(4)
    current_app.logger.error("Error %s", error_id, exc_info=error)
    if api.is_asked():
        return api.problem(500, "Internal error", f"The server's log has the reason under {error_id}.")
    return render_template("error.html", error_id=error_id), 500
