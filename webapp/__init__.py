"""The web page and the JSON API: a Flask application over published versions and run records. Starts no JVM."""

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
from webapp import error_handlers, monitoring, views
from webapp.api import endpoints, openapi, problems
from webapp.rendering import charts, formats, links
from webapp.security import access, response_headers, sessions
from webapp.security.login_attempts import LoginAttempts
from webapp.security.trusted_hosts import LOOPBACK, is_trusted
from webapp.serving.version_cache import VersionCache
from webapp.url_converters import AnyTextConverter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.routing import MapAdapter

MAX_BODY_BYTES = 64 << 10

DEFAULTS: dict[str, Any] = {
    "TOKEN": None,  # the owner signs in with it; without it, nothing can be changed
    "PUBLIC_READ": True,  # whether reading is allowed without the token
    "ALLOW_RUNS": False,  # whether the page may start runs
    "LUIGID": ("127.0.0.1", 8082),
    "TRUSTED_HOSTS": list(LOOPBACK),
    "MAX_CONTENT_LENGTH": MAX_BODY_BYTES,
    "MAX_FORM_MEMORY_SIZE": MAX_BODY_BYTES,
    "SESSION_COOKIE_NAME": "encore",
    "SESSION_COOKIE_SAMESITE": "Strict",
    "PERMANENT_SESSION_LIFETIME": timedelta(seconds=sessions.LIFETIME_S),
    "SESSION_REFRESH_EACH_REQUEST": False,
}


class _App(APIFlask):
    """An APIFlask application that adds security headers to every response and counts it for `/metrics`."""

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started, count_request = time.perf_counter(), self.extensions["count_request"]

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            endpoint = environ["werkzeug.request"].endpoint or "none"
            count_request(endpoint, status, time.perf_counter() - started)
            return start_response(status, response_headers.add_security_headers(headers), *exc_info)

        return super().wsgi_app(environ, start)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request; Flask's own check of `Host` would reject all IPv6 addresses."""
        if request is None or not is_trusted(self, request.environ):
            return super().create_url_adapter(request)
        return self.url_map.bind_to_environ(request.environ, subdomain="")


def create_app(
    models_root: Path | None = None, data_root: Path | None = None, config: dict[str, Any] | None = None
) -> Flask:
    """Create the application.

    Args:
        models_root: the directory of the published versions; by default `models/` of this project.
        data_root: the directory whose `runs/` holds the run records; by default `data/` of this project.
        config: overrides of `DEFAULTS` and of Flask's settings. Without a `SECRET_KEY`, sessions end with the process.
    """
    app = _App(
        __name__,
        title="Encore",
        version="1",
        spec_path=f"{openapi.PREFIX}/openapi.json",
        docs_path=None,  # APIFlask's own page loads scripts from another site
        json_errors=False,
    )
    app.error_processor(problems.validation_problem)
    app.spec_processor(openapi.complete_spec)
    app.config.from_mapping(DEFAULTS | {"SECRET_KEY": secrets.token_bytes(32)} | (config or {}))
    default_paths = Paths()
    app.config["PATHS"] = Paths(data_root or default_paths.data_root, models_root or default_paths.models_root)
    app.extensions["version_cache"] = VersionCache(app.config["PATHS"].models_root)
    app.extensions["login_attempts"] = LoginAttempts()
    app.extensions["count_request"] = monitoring.register(app)
    app.session_interface = sessions.SecureSessions()
    app.url_map.converters["anytext"] = AnyTextConverter
    app.before_request(access.check_access)
    for blueprint in (views.pages, views.actions, views.auth, monitoring.blueprint, endpoints.blueprint):
        app.register_blueprint(blueprint)
    error_handlers.register(app)
    _configure_jinja(app)
    return app


def _configure_jinja(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(formats.FILTERS)
    app.jinja_env.globals.update(
        charts=charts,
        link=links.link,
        navigation=links.navigation,
        static=links.static,
        track_linker=links.track_linker,
        user_url=links.user_url,
    )
    app.jinja_env.globals["parts"] = app.jinja_env.get_template("_parts.html").module
    app.context_processor(_template_context)


def _template_context() -> dict[str, Any]:
    """Return the variables that every template uses."""
    return {
        "datasets": g.get("datasets", []),
        "dataset": g.get("dataset"),
        "signed_in": sessions.has_session(),
    }
