"""The check of a request's `Host` against the allowed hosts, which defeats DNS rebinding."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.sansio.utils import host_is_trusted

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine: the only allowed hosts by default."""


def is_trusted(app: Flask, environ: WSGIEnvironment) -> bool:
    """Whether a request's `Host`, with or without a port, is one of `TRUSTED_HOSTS`."""
    return _is_trusted(environ.get("HTTP_HOST"), tuple(app.config["TRUSTED_HOSTS"] or ()))


@lru_cache(100)
def _is_trusted(host: str | None, trusted: tuple[str, ...]) -> bool:
    """Compare IPv6 addresses here: Werkzeug cuts them at the first colon. It checks the syntax of the rest."""
    address, bracket, _ = (host or "").partition("]")
    return host_is_trusted(host, None if f"{address}{bracket}" in trusted else trusted)
