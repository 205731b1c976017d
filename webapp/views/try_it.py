"""Recommendations for the visitor, from tracks that they pick. The picks are in the address; nothing is stored."""

from __future__ import annotations

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue

from models.cold_start import recommend_for_new_user
from webapp.rendering import charts
from webapp.serving.query_args import get_text
from webapp.serving.request_context import current_version

LIST_LENGTH = 10
MAX_PICKS, MAX_SUGGESTIONS = 50, 10


def try_it() -> ResponseReturnValue:
    """Show the picks, tracks to add, and the recommendations."""
    served, query, track_ids = current_version(), get_text("q"), list(dict.fromkeys(request.args.getlist("t")))
    if len(track_ids) > MAX_PICKS:
        abort(400, f"Pick at most {MAX_PICKS} {served.item_label}s.")
    with served.store() as store:
        picks = [track for track_id in track_ids if (track := store.track(track_id))]
        matches = store.search_tracks(query, MAX_SUGGESTIONS + len(picks))
        heard = {track.track_id: 1.0 for track in picks}
        result = recommend_for_new_user(store, heard, LIST_LENGTH) if heard else None
    return render_template(
        "try.html",
        served=served,
        query=query,
        suggestions=[track for track in matches if track not in picks][:MAX_SUGGESTIONS],
        picks=picks,
        pick_ids=list(heard),
        result=result,
        max_score=charts.max_score(result.lines) if result else 0.0,
    )
