"""The pages. Each view reads what it shows and hands it to a template; this is the list of them."""

from __future__ import annotations

from flask import Blueprint

from webapp.views import api_reference, data, leaderboard, overview, runs, tracks, try_it, users, versions

blueprint = Blueprint("pages", __name__)

for rule, view in (
    ("/", overview.overview),
    ("/runs", runs.runs),
    ("/runs/<run_id>", runs.run),
    ("/graph.css", runs.graph_style),
    ("/models", versions.versions),
    ("/models/<version>", versions.version),
    ("/leaderboard", leaderboard.leaderboard),
    ("/data", data.data),
    ("/users", users.users),
    ("/users/<anytext:user_id>", users.user),
    ("/tracks", tracks.tracks),
    ("/tracks/<anytext:track_id>", tracks.track),
    ("/try", try_it.try_it),
    ("/api", api_reference.api),
):
    blueprint.add_url_rule(rule, view.__name__, view)
