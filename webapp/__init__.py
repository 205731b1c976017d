"""The admin page: shows what is published and what the last runs did. Reads only, and never starts a JVM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask

from config.paths import Paths
from webapp import errors, formats, pages, security
from webapp.routing import AnyText


def create_app(
    models_root: Path | None = None, data_root: Path | None = None, test_config: dict[str, Any] | None = None
) -> Flask:
    """Makes the application.

    Args:
        models_root: where versions are published; None: the project's own `models/`.
        data_root: where the run records are; None: the project's own `data/`.
        test_config: further Flask settings.
    """
    app = Flask(__name__)
    standard = Paths()
    app.config["PATHS"] = Paths(data_root or standard.data_root, models_root or standard.models_root)
    app.config.from_mapping(test_config or {})
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(formats.FILTERS)
    app.url_map.converters["anytext"] = AnyText
    app.register_blueprint(pages.blueprint)
    errors.register(app)
    app.after_request(security.harden)
    return app
