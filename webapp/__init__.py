"""The admin page and the API: what is published, and what the last runs did. No JVM is started here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apiflask import APIFlask
from flask import Flask, Request, g

from config.paths import Paths
from webapp import error_pages, views
from webapp.api import endpoints
from webapp.rendering import charts, formats, links, track_rows
from webapp.rendering.url_converters import AnyText
from webapp.security import access
from webapp.security import headers as security_headers
from webapp.serving import monitoring
from webapp.serving.version_cache import VersionCache
from webapp.views import actions

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.routing import MapAdapter

MOST_BYTES = 64 << 10
"""Of a request's body."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""What a machine calls itself: the only hosts that are answered to, unless others are named."""

DEFAULTS: dict[str, Any] = {
    "TOKEN": None,  # what the owner signs in with; without it nothing can be changed
    "READING_OPEN": True,  # whether everybody who reaches the page may read it
    "MAY_RUN": False,  # whether runs can be started from the page
    "LUIGID": ("127.0.0.1", 8082),
    "TRUSTED_HOSTS": list(LOOPBACK),
    "MAX_CONTENT_LENGTH": MOST_BYTES,
    "MAX_FORM_MEMORY_SIZE": MOST_BYTES,
    "SESSION_COOKIE_NAME": "encore",
    "SESSION_COOKIE_SAMESITE": "Strict",
    "PERMANENT_SESSION_LIFETIME": timedelta(seconds=access.LIFETIME_S),
    "SESSION_REFRESH_EACH_REQUEST": False,
}


class _App(APIFlask):
    """An APIFlask application that adds security headers to every response and counts it for `/metrics`."""

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        started, count_request = time.perf_counter(), self.extensions["count_request"]

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            endpoint = environ["werkzeug.request"].endpoint or "none"
            count_request(endpoint, status, time.perf_counter() - started)
            return start_response(status, security_headers.hardened(headers), *exc_info)

        return super().wsgi_app(environ, start)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """See Flask, which would refuse all IPv6 addresses."""
        if request is None or not security_headers.is_answered(self, request.environ):
            return super().create_url_adapter(request)
        return self.url_map.bind_to_environ(request.environ, subdomain="")


def create_app(
    models_root: Path | None = None, data_root: Path | None = None, config: dict[str, Any] | None = None
) -> Flask:
    """Makes the application.

    Args:
        models_root: where versions are published; None: the project's own `models/`.
        data_root: where the run records are; None: the project's own `data/`.
        config: Flask's settings, and those of `DEFAULTS`, where they are to be others. Without a `SECRET_KEY`,
            sessions end with the process.
    """
    # Its own handlers of errors, and its page of documentation, which loads from elsewhere, are left out.
    app = _App(
        __name__,
        title="Encore",
        version="1",
        spec_path=f"{endpoints.PREFIX}/openapi.json",
        docs_path=None,
        json_errors=False,
    )
    app.error_processor(endpoints.refused)
    app.spec_processor(endpoints.described)
    app.config.from_mapping(DEFAULTS | {"SECRET_KEY": secrets.token_bytes(32)} | (config or {}))
    standard = Paths()
    app.config["PATHS"] = Paths(data_root or standard.data_root, models_root or standard.models_root)
    app.extensions.update(shelf=VersionCache(app.config["PATHS"].models_root), attempts=access.Attempts())
    app.session_interface = access.Sessions()
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(formats.FILTERS)
    app.url_map.converters["anytext"] = AnyText
    app.extensions["count_request"] = monitoring.register(app)
    app.before_request(access.decide)
    for blueprint in (views.blueprint, actions.blueprint, monitoring.blueprint, endpoints.blueprint):
        app.register_blueprint(blueprint)
    app.jinja_env.globals.update(
        charts=charts,
        link=links.link,
        navigation=links.navigation,
        user_link=links.user_link,
        static=links.static,
        track_name=track_rows.track_name,
        track_rows=track_rows.track_rows,
        any_known=track_rows.any_known,
    )
    app.jinja_env.globals["parts"] = app.jinja_env.get_template("_parts.html").module
    app.context_processor(_for_templates)
    error_pages.register(app)
    return app


def _for_templates() -> dict[str, Any]:
    return {
        "datasets": g.get("datasets", []),
        "dataset": g.get("dataset"),
        "signed_in": access.in_session(),
    }
