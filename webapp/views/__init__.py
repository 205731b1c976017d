"""HTML pages: every route and the view function that renders it. `webapp.security.access` lists who may use which."""

from __future__ import annotations

from flask import Blueprint

from webapp.views import (
    api_reference,
    data,
    leaderboard,
    login,
    manage_versions,
    overview,
    runs,
    start_run,
    tracks,
    try_it,
    users,
    versions,
)

pages = Blueprint("pages", __name__)
actions = Blueprint("actions", __name__)
auth = Blueprint("auth", __name__)

for rule, view in (
    ("/", overview.overview),
    ("/runs", runs.runs),
    ("/runs/<run_id>", runs.run),
    ("/graph.css", runs.graph_style),
    ("/versions", versions.versions),
    ("/versions/<version>", versions.version),
    ("/leaderboard", leaderboard.leaderboard),
    ("/data", data.data),
    ("/users", users.users),
    ("/users/<anytext:user_id>", users.user),
    ("/tracks", tracks.tracks),
    ("/tracks/<anytext:track_id>", tracks.track),
    ("/try", try_it.try_it),
    ("/api", api_reference.api),
):
    pages.add_url_rule(rule, view.__name__, view)

for method, rule, view in (
    ("GET", "/versions/<version>/promote", manage_versions.confirm_promote),
    ("POST", "/versions/<version>/promote", manage_versions.promote),
    ("GET", "/versions/<version>/roll-back", manage_versions.confirm_roll_back),
    ("POST", "/versions/<version>/roll-back", manage_versions.roll_back),
    ("GET", "/prune", manage_versions.confirm_prune),
    ("POST", "/prune", manage_versions.prune),
    ("GET", "/pipeline", start_run.new_run),
    ("POST", "/pipeline", start_run.start_run),
):
    actions.add_url_rule(rule, view.__name__, view, methods=[method])

for method, rule, view in (
    ("GET", "/login", login.login),
    ("POST", "/login", login.sign_in),
    ("POST", "/logout", login.sign_out),
):
    auth.add_url_rule(rule, view.__name__, view, methods=[method])
