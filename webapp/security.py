"""The headers that keep a page to its own origin, and text from the data from becoming more than text."""

from __future__ import annotations

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

_ALWAYS = [*HEADERS.items()]


def hardened(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of an answer with those that all have; and unless they say otherwise, no cache keeps it."""
    if any(name == "Cache-Control" for name, _ in headers):
        return headers + _ALWAYS
    return [*headers, ("Cache-Control", "no-cache"), *_ALWAYS]
