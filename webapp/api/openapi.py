"""Completes the OpenAPI description that APIFlask generates: problem responses, `ETag` and 304."""

from __future__ import annotations

from typing import Any

from webapp.api import schemas
from webapp.api.problems import PROBLEM

PREFIX = "/api/v1"

PROBLEMS = {
    "400": "The request cannot be parsed, or its host is not allowed.",
    "401": "Reading requires the token: `Authorization: Bearer …`.",
    "404": "It does not exist, or nothing has been published.",
    "422": "A field is invalid; `errors` names it.",
    "429": "Too many wrong tokens came from this address.",
    "500": "Internal error; the server's log has the cause under the id in `detail`.",
    "503": "The served version cannot be read.",
}

BODY_PROBLEMS = {
    "400": "The request or its JSON body cannot be parsed.",
    "403": "A browser sent this request from another site.",
    "413": "The body is larger than 64 kB.",
    "415": "The Content-Type is not application/json.",
}

_WITHOUT_ETAG = (f"{PREFIX}/versions", f"{PREFIX}/runs")
"""Operations that do not depend on the served version alone."""

_ETAG = {"schema": {"type": "string"}, "description": "Identifies the served version."}


def complete_spec(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
    """Add the problem responses, the `ETag` header and the 304 response to each operation."""
    assert isinstance(spec, dict)
    components = spec["components"]["schemas"]
    for unused in ("HTTPError", "ValidationError"):  # APIFlask's own error responses
        components.pop(unused, None)
    components["Problem"] = schemas.Problem.model_json_schema()
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            for status, description in (PROBLEMS | BODY_PROBLEMS if method == "post" else PROBLEMS).items():
                responses[status] = {"description": description, "content": content}
            if method == "post":
                operation["requestBody"]["required"] = True
            elif not path.startswith(_WITHOUT_ETAG):
                responses["200"]["headers"] = {"ETag": _ETAG}
                responses["304"] = {"description": "The client's copy, named in `If-None-Match`, is current."}
    return spec
