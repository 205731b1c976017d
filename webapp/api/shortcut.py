"""The look-up that programs make most, a user's recommendations as JSON, answered without Flask where all is plain.

Flask's routing, contexts and checks take two thirds of such an answer's time. So this knows one address, and leaves to
Flask whatever is out of the ordinary: another method, field or condition, an id with odd characters, a user that is not
there, a token that has to be shown, and anything that fails. Flask's answer would be the same: tests hold one against
the other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Flask

from webapp.api import endpoints, schemas
from webapp.security.headers import is_answered
from webapp.serving.version_cache import VersionCache

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ENDPOINT = "api.recommendations"

_PATH = re.compile(rf"{endpoints.PREFIX}/users/([\w:-]+)/recommendations", re.ASCII)
_QUERY = re.compile(r"(?:k=([1-9]\d{0,2}))?", re.ASCII)


def answer(app: Flask, environ: WSGIEnvironment) -> tuple[list[tuple[str, str]], bytes] | None:
    """Headers and body of what is asked for; None leaves it to Flask."""
    path, query = _PATH.fullmatch(environ["PATH_INFO"]), _QUERY.fullmatch(environ.get("QUERY_STRING", ""))
    if path is None or query is None or environ["REQUEST_METHOD"] != "GET" or "HTTP_IF_NONE_MATCH" in environ:
        return None
    if not app.config["READING_OPEN"] or not is_answered(app, environ):
        return None
    shelf: VersionCache = app.extensions["shelf"]
    try:
        here = shelf.served(shelf.datasets()[0])
        with here.store() as store:
            found = store.user_with_list(path[1], int(query[1] or schemas.LISTED))
        if found is None:
            return None
        user, lines = found
        body = endpoints.written(here, user=schemas.user(user), recommendations=schemas.lines(lines))
        return [("Content-Type", endpoints.JSON), ("Content-Length", str(len(body))), ("ETag", here.etag)], body
    except Exception:  # Flask will meet it, too, and knows what to say
        return None
