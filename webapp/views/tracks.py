"""Tracks: looked up by words, and one of them with what is similar and whom it is recommended to."""

from __future__ import annotations

from flask import abort, redirect, render_template
from flask.typing import ResponseReturnValue

from webapp.rendering import charts
from webapp.rendering.links import track_link
from webapp.rendering.url_converters import fits_in_path
from webapp.serving.query_args import LONGEST, get_text
from webapp.serving.request_context import current_version

MATCHES = 20
LISTED = 20


def tracks() -> ResponseReturnValue:
    """Looks tracks up by words of title and artist; a whole id goes straight to its track."""
    here, wanted = current_version(), get_text("q")
    with here.store() as store:
        found = store.search_tracks(wanted, MATCHES + 1)
        if known := store.track(wanted):
            if not found and fits_in_path(wanted):
                return redirect(track_link(wanted))
            found = [known, *(track for track in found if track != known)]
    return render_template("tracks.html", shown=here, wanted=wanted, found=found, matches=MATCHES)


def track(track_id: str) -> ResponseReturnValue:
    """A track: who made it, how many have heard it, what is similar, and whom it is recommended to."""
    here = current_version()
    with here.store() as store:
        found = store.track(track_id)
        if found is None:
            abort(404, f"There is no {here.item_label} {track_id[:LONGEST]!r} in the served version.")
        similar = store.similar(track_id, LISTED)
        lists, listeners = store.audience(track_id, LISTED)
    return render_template(
        "track.html", shown=here, track=found, similar=similar, highest=charts.highest(similar), lists=lists,
        listeners=listeners,
    )  # fmt: skip
