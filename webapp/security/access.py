"""Access control: `check_access` runs before every request. An endpoint that `ACCESS` does not list needs the token.

Reading is public if the page listens on a loopback address only. Changing anything always requires the token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import SecurityError, Unauthorized

from webapp.security.sessions import BEARER, is_owner, require_configured_token

ANYONE, READER, OWNER = "anyone", "reader", "owner"

ACCESS = {
    ANYONE: ("static", "monitoring.healthz", "monitoring.readyz", "auth.login", "auth.sign_in", "auth.sign_out"),
    READER: (
        "monitoring.metrics",
        "pages.overview", "pages.runs", "pages.run", "pages.graph_style", "pages.versions", "pages.version",
        "pages.leaderboard", "pages.data", "pages.users", "pages.user", "pages.tracks", "pages.track", "pages.try_it",
        "pages.api",
        "openapi.spec", "api.users", "api.user", "api.recommendations", "api.recommendations_csv",
        "api.new_user_recommendations", "api.tracks", "api.track", "api.similar_tracks", "api.versions", "api.version",
        "api.metrics", "api.runs",
    ),
    OWNER: (
        "actions.confirm_promote", "actions.promote", "actions.confirm_roll_back", "actions.roll_back",
        "actions.confirm_prune", "actions.prune", "actions.new_run", "actions.start_run",
    ),
}  # fmt: skip
"""Endpoints by the role that they require. A test compares them to the routes."""

_ROLES = {endpoint: role for role, endpoints in ACCESS.items() for endpoint in endpoints}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def check_access() -> ResponseReturnValue | None:
    """Return None if the request is allowed; else redirect to the sign-in page or raise 401 or 403."""
    if isinstance(request.routing_exception, SecurityError):  # untrusted host: Flask answers 400
        return None
    if request.method not in _SAFE_METHODS:
        _refuse_cross_site()
    role = _ROLES.get(request.endpoint or "", OWNER if request.endpoint else READER)
    if role == ANYONE or (role == READER and current_app.config["PUBLIC_READ"]) or is_owner():
        return None
    require_configured_token()
    if request.path.startswith("/api/") or request.method != "GET":
        text = "This requires the token. Send Authorization: Bearer <token>, or sign in at /login."
        raise Unauthorized(text, None, BEARER)
    return redirect(url_for("auth.login", next=request.full_path.rstrip("?")))


def _refuse_cross_site() -> None:
    """Raise 403 for a form that another site sent. Only browsers send these headers; only they have sessions."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin") or (origin is not None and urlsplit(origin).netloc != request.host):
        abort(403, "This request came from another site. Open this page directly and try again.")
