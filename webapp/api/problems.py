"""The API's error responses: problem documents as in RFC 9457."""

from __future__ import annotations

from typing import NoReturn

from apiflask.exceptions import HTTPError
from flask import Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException

from common.redaction import redact
from webapp.api import schemas

PROBLEM = "application/problem+json"

MAX_ERRORS, MAX_ERROR_CHARS, MAX_DETAIL_CHARS = 20, schemas.MAX_TEXT, 1_000
"""Limits of what a response repeats of the request."""

_PYDANTIC_PREFIX = "Value error, "


def is_api_request() -> bool:
    """Whether the current request is for the API."""
    return request.path.startswith("/api/")


def problem(status: int, title: str, detail: str, errors: dict[str, object] | None = None) -> Response:
    """Return a problem document."""
    document = schemas.Problem(title=title, status=status, detail=redact(detail), errors=errors or {})
    response = jsonify(document.model_dump())
    response.status_code, response.mimetype = status, PROBLEM
    return response


def http_problem(error: HTTPException) -> Response:
    """Return an HTTP error as a problem document with the error's own headers, such as `Allow`."""
    response = problem(error.code or 500, error.name, error.description or "")
    response.headers.extend((name, value) for name, value in error.get_headers() if name not in response.headers)
    return response


def validation_problem(error: HTTPError) -> Response:
    """Return a validation error as a problem document that names each invalid field."""
    fields = [field for location in error.detail.values() for field in location.items()] if error.detail else []
    errors = {
        name[:MAX_ERROR_CHARS]: [message.removeprefix(_PYDANTIC_PREFIX)[:MAX_ERROR_CHARS] for message in messages]
        for name, messages in fields[:MAX_ERRORS]
    }
    detail = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in errors.items()) or str(error.message)
    return problem(error.status_code, str(error.message), detail[:MAX_DETAIL_CHARS], dict(errors))


def invalid_field(location: str, field: str, message: str) -> HTTPError:
    """Return the error that validation raises for a field in `query` or `json`."""
    return HTTPError(422, "Validation error", {location: {field: [message]}})


def not_found(kind: str, wanted: str) -> NoReturn:
    """Raise 404 for a user, track or version that does not exist."""
    abort(404, f"There is no {kind} {wanted[: schemas.MAX_TEXT]!r}.")
