"""The page about the API, made from its own description."""

from __future__ import annotations

from typing import cast

from apiflask import APIFlask
from flask import current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.choosing import for_the_header


def api() -> ResponseReturnValue:
    """What the API can be asked."""
    for_the_header()
    spec = cast(APIFlask, current_app).spec
    assert isinstance(spec, dict)
    return render_template("api.html", spec=spec, source=url_for("openapi.spec"))
