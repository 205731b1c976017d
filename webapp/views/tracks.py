"""Searching tracks, and one track: similar tracks and the users it is recommended to."""

from __future__ import annotations

from flask import abort, redirect, render_template
from flask.typing import ResponseReturnValue

from webapp.rendering import charts
from webapp.rendering.links import track_url
from webapp.serving.query_args import MAX_LENGTH, get_text
from webapp.serving.request_context import current_version
from webapp.url_converters import fits_in_path

MAX_RESULTS = 20
LIST_LENGTH = 20


def tracks() -> ResponseReturnValue:
    """Search tracks by words of title and artist; redirect to the track if the search text is an id."""
    served, query = current_version(), get_text("q")
    with served.store() as store:
        results = store.search_tracks(query, MAX_RESULTS + 1)
        if exact := store.track(query):
            if not results and fits_in_path(query):
                return redirect(track_url(query))
            results = [exact, *(track for track in results if track != exact)]
    return render_template("tracks.html", served=served, query=query, results=results, max_results=MAX_RESULTS)


def track(track_id: str) -> ResponseReturnValue:
    """Show a track."""
    served = current_version()
    with served.store() as store:
        track = store.track(track_id)
        if track is None:
            abort(404, f"The served version has no {served.item_label} {track_id[:MAX_LENGTH]!r}.")
        similar = store.similar(track_id, LIST_LENGTH)
        audience_size, audience = store.audience(track_id, LIST_LENGTH)
    return render_template(
        "track.html",
        served=served,
        track=track,
        similar=similar,
        max_score=charts.max_score(similar),
        audience_size=audience_size,
        audience=audience,
    )
