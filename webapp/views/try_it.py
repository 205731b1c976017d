"""Recommendations for whoever is looking, from a few tracks that they pick; everything is in the address."""

from __future__ import annotations

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue

from models.cold_start import recommend_for_new_user
from webapp.rendering import charts
from webapp.serving.query_args import get_text
from webapp.serving.request_context import current_version

LISTED = 10
MOST_PICKED, SUGGESTED = 50, 10


def try_it() -> ResponseReturnValue:
    """What somebody new would be recommended."""
    here, wanted, picked = current_version(), get_text("q"), list(dict.fromkeys(request.args.getlist("t")))
    if len(picked) > MOST_PICKED:
        abort(400, f"At most {MOST_PICKED} {here.item_label}s can be tried.")
    with here.store() as store:
        there = [track for track_id in picked if (track := store.track(track_id))]
        found = [track for track in store.search_tracks(wanted, SUGGESTED + len(there)) if track not in there]
        heard = {track.track_id: 1.0 for track in there}
        welcome = recommend_for_new_user(store, heard, LISTED) if heard else None
    return render_template(
        "try.html", shown=here, wanted=wanted, found=found[:SUGGESTED], picked=there, welcome=welcome,
        highest=charts.highest(welcome.lines) if welcome else 0.0, ids=list(heard),
    )  # fmt: skip
