"""The data quality report of a version: rows kept and rejected, distributions, checks."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue

from webapp.serving.request_context import current_version

POPULAR_TRACKS = 10


def data() -> ResponseReturnValue:
    """Show the report."""
    served = current_version()
    with served.store() as store:
        popular = store.popular(POPULAR_TRACKS)
    return render_template("data.html", served=served, profile=served.profile, popular=popular)
