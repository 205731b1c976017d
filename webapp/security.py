"""The headers that keep a page to its own origin, and text from the data from becoming more than text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # No other site learns where a reader comes from. Under `no-referrer` a browser would not say of our own forms that
    # they are ours, and every page has one: to sign out.
    "Referrer-Policy": "same-origin",
}

_KEPT = ("text/html", "application/json", "application/problem+json", "text/csv")


def hardened(start_response: StartResponse) -> StartResponse:
    """Wraps what a WSGI application begins its answer with, so that the headers are added, whatever made it."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
        return start_response(status, [*headers, *HEADERS.items()], *exc_info)

    return start


def keep_fresh(response: Response) -> Response:
    """No cache keeps what may have changed."""
    if response.mimetype in _KEPT:
        response.headers.setdefault("Cache-Control", "no-cache")
    return response
