"""The headers that keep a page to its own origin, and text from the data from becoming more than text."""

from __future__ import annotations

from flask import Response

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

REFERRER = "Referrer-Policy"
OWN_FORMS = {REFERRER: "same-origin"}
"""For pages with forms that change something: under `no-referrer` a browser would not say that they are ours."""

_KEPT = ("text/html", "application/json", "application/problem+json", "text/csv")


def harden(response: Response) -> Response:
    """Adds the headers to a response."""
    response.headers.update(HEADERS)
    response.headers.setdefault(REFERRER, "no-referrer")
    if response.mimetype in _KEPT:
        response.headers.setdefault("Cache-Control", "no-cache")
    return response
