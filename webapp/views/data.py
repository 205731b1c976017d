"""The listening data behind a version: what was kept of it, how it is distributed, and what was checked."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue

from webapp.serving.request_context import current_version

MOST_PLAYED = 10


def data() -> ResponseReturnValue:
    """The quality report."""
    here = current_version()
    with here.store() as store:
        popular = store.popular(MOST_PLAYED)
    return render_template("data.html", shown=here, profile=here.profile, popular=popular)
