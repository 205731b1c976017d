"""Designed answers for what goes wrong: bad requests, pages that are not there, versions that cannot be read."""

from __future__ import annotations

import secrets

from flask import Flask, current_app, render_template
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from config.errors import StoreError


def register(app: Flask) -> None:
    """Installs the handlers."""
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(StoreError, _unreadable)
    app.register_error_handler(Exception, _failed)


def _refused(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    response = error.get_response()
    response.set_data(render_template("message.html", code=error.code, heading=error.name, text=error.description))
    response.content_type = "text/html; charset=utf-8"
    return response


def _unreadable(error: StoreError) -> ResponseReturnValue:
    current_app.logger.error("%s", error)
    return render_template("message.html", code=503, heading="The served version cannot be read", text=str(error)), 503


def _failed(error: Exception) -> ResponseReturnValue:
    """Tells the reader an id, and the log the same id with what happened."""
    error_id = secrets.token_hex(4)
    current_app.logger.error("Error %s", error_id, exc_info=error)
    return render_template("error.html", error_id=error_id), 500
