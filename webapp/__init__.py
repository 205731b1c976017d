"""The admin page and the API: what is published, and what the last runs did. They only read, and start no JVM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apiflask import APIFlask
from flask import Flask

from config.paths import Paths
from webapp import api, errors, formats, pages, security
from webapp.routing import AnyText

MOST_BYTES = 64 << 10
"""Of a request's body."""


def create_app(
    models_root: Path | None = None, data_root: Path | None = None, test_config: dict[str, Any] | None = None
) -> Flask:
    """Makes the application.

    Args:
        models_root: where versions are published; None: the project's own `models/`.
        data_root: where the run records are; None: the project's own `data/`.
        test_config: further Flask settings.
    """
    # Its own handlers of errors, and its page of documentation, which loads from elsewhere, are left out.
    app = APIFlask(
        __name__, title="Encore", version="1", spec_path=f"{api.PREFIX}/openapi.json", docs_path=None, json_errors=False
    )
    app.error_processor(api.refused)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.spec_processor(api.described)
    standard = Paths()
    app.config["PATHS"] = Paths(data_root or standard.data_root, models_root or standard.models_root)
    app.config.from_mapping(test_config or {})
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(formats.FILTERS)
    app.url_map.converters["anytext"] = AnyText
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    errors.register(app)
    app.after_request(security.harden)
    return app
