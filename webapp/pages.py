"""The pages: each view reads what it shows and hands it to a template."""

from __future__ import annotations

from typing import Any, cast

from apiflask import APIFlask
from flask import Blueprint, abort, current_app, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from config import runs
from config.rungs import RUNGS
from models.newcomer import recommend_to_newcomer
from models.store import Listed, Store, User
from webapp import charts
from webapp.choosing import chosen, paths
from webapp.reading import Published, health
from webapp.routing import fits_in_path

MATCHES = 20
RUNS = 10
LISTED, MOST_LISTED = 10, 100
HEARD, MOST_HEARD = 25, 1000
LONGEST_ID = 500
MOST_PICKED, SUGGESTED = 50, 10

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def overview() -> ResponseReturnValue:
    """The served version: how good it is, what it was made from, and what the last runs did."""
    here = chosen()
    if here is None:
        return _nothing_published()
    recent = runs.last_runs(paths().runs(here.dataset), RUNS)
    return render_template("overview.html", shown=here, board=here.scoreboard, runs=recent, charts=charts)


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """Looks users up by the beginning of their id; a whole id goes straight to its user."""
    here = chosen()
    if here is None:
        return _nothing_published()
    wanted = request.args.get("q", "")
    if len(wanted) > LONGEST_ID:
        abort(400, f"An id of more than {LONGEST_ID} characters cannot be looked up.")
    with here.store() as store:
        for user_id in (wanted, wanted.strip()):  # blanks may be part of an id, or come from the clipboard
            if user := store.user(user_id):
                return redirect(user_link(user_id)) if fits_in_path(user_id) else _user_page(here, store, user)
        found = store.users(wanted, MATCHES + 1) or store.users(wanted.strip(), MATCHES + 1)
    return render_template("users.html", shown=here, wanted=wanted, found=found, matches=MATCHES)


@blueprint.get("/users/<anytext:user_id>")
def user(user_id: str) -> ResponseReturnValue:
    """A user: what they heard, and what they should hear next."""
    here = chosen()
    if here is None:
        return _nothing_published()
    with here.store() as store:
        if found := store.user(user_id):
            return _user_page(here, store, found)
        popular = store.popular(LISTED)
    return render_template(
        "unknown_user.html", shown=here, user_id=user_id, popular=popular, highest=_highest(popular), charts=charts
    ), 404


@blueprint.get("/tracks")
def tracks() -> ResponseReturnValue:
    """Looks tracks up by words of title and artist; a whole id goes straight to its track."""
    here = chosen()
    if here is None:
        return _nothing_published()
    wanted = request.args.get("q", "")
    if len(wanted) > LONGEST_ID:
        abort(400, f"Of more than {LONGEST_ID} characters no track can be looked up.")
    with here.store() as store:
        found = store.find_tracks(wanted, MATCHES + 1)
        if known := store.track(wanted):
            if not found and fits_in_path(wanted):
                return redirect(track_link(wanted))
            found = [known, *(track for track in found if track != known)]
    return render_template("tracks.html", shown=here, wanted=wanted, found=found, matches=MATCHES)


@blueprint.get("/tracks/<anytext:track_id>")
def track(track_id: str) -> ResponseReturnValue:
    """A track: who made it, how many have heard it, and what is similar."""
    here = chosen()
    if here is None:
        return _nothing_published()
    with here.store() as store:
        found = store.track(track_id)
        if found is None:
            abort(404, f"There is no {here.item_label} {track_id[:LONGEST_ID]!r} in the served version.")
        similar = store.similar(track_id, MOST_LISTED)
    return render_template(
        "track.html", shown=here, track=found, similar=similar, highest=_highest(similar), charts=charts
    )


@blueprint.get("/try")
def try_it() -> ResponseReturnValue:
    """Recommendations for whoever is looking, from a few tracks that they pick; everything is in the address."""
    here = chosen()
    if here is None:
        return _nothing_published()
    wanted, picked = request.args.get("q", ""), list(dict.fromkeys(request.args.getlist("t")))
    if len(wanted) > LONGEST_ID or len(picked) > MOST_PICKED:
        abort(400, f"Words of at most {LONGEST_ID} characters, and at most {MOST_PICKED} tracks, can be tried.")
    with here.store() as store:
        found = [track for track in store.find_tracks(wanted, MATCHES) if track.track_id not in picked]
        there = [track for track_id in picked if (track := store.track(track_id))]
        heard = {track.track_id: 1.0 for track in there}
        welcome = recommend_to_newcomer(store, heard, LISTED) if heard else None
    return render_template(
        "try.html", shown=here, wanted=wanted, found=found[:SUGGESTED], picked=there, welcome=welcome,
        highest=_highest(welcome.lines) if welcome else 0.0, charts=charts, ids=list(heard),
    )  # fmt: skip


@blueprint.get("/api")
def api() -> ResponseReturnValue:
    """What the API can be asked, from its own description."""
    chosen()  # for the header
    spec = cast(APIFlask, current_app).spec
    assert isinstance(spec, dict)
    return render_template("api.html", spec=spec, source=url_for("openapi.spec"))


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Whether everything that is promoted can be read."""
    versions, faults = health(paths().models_root)
    if faults:
        return {"status": "unreadable", "datasets": versions, "error": " ".join(faults)}, 503
    return {"status": "ok" if versions else "empty", "datasets": versions}


@blueprint.app_context_processor
def _links() -> dict[str, Any]:
    return {
        "link": link,
        "user_link": user_link,
        "track_link": track_link,
        "datasets": g.get("datasets", []),
        "dataset": g.get("dataset"),
    }


def link(endpoint: str, **values: Any) -> str:
    """A URL that stays with the dataset that is shown."""
    if len(g.get("datasets", [])) > 1 and g.get("dataset"):
        values.setdefault("dataset", g.dataset)
    return url_for(f"pages.{endpoint}", **values)


def user_link(user_id: str, **values: Any) -> str:
    """A user's page; ids that cannot stand in a path go through the look-up."""
    if fits_in_path(user_id):
        return link("user", user_id=user_id, **values)
    return link("users", q=user_id, **values)


def track_link(track_id: str) -> str:
    """A track's page; ids that cannot stand in a path are looked up."""
    return link("track", track_id=track_id) if fits_in_path(track_id) else link("tracks", q=track_id)


def _user_page(here: Published, store: Store, user: User) -> str:
    k = _whole("k", LISTED, MOST_LISTED)
    heard = _whole("heard", HEARD, MOST_HEARD)
    recommendations = store.recommendations(user.user_id, k + 1)
    return render_template(
        "user.html",
        shown=here,
        user=user,
        rung=RUNGS[user.rung],
        recommendations=recommendations[:k],
        highest=_highest(recommendations),
        more_recommendations=len(recommendations) > k and k < MOST_LISTED,
        history=store.history(user.user_id, heard),
        more_history=user.interactions > heard and heard < MOST_HEARD,
        k=k,
        heard=heard,
        limits={"k": MOST_LISTED, "heard": MOST_HEARD},
        charts=charts,
    )


def _nothing_published() -> str:
    """Says how to begin; a first run that failed is shown, or nobody would see it."""
    recorded = sorted(paths().runs("").glob("*/"))
    recent = [run for directory in recorded for run in runs.last_runs(directory, RUNS)]
    recent.sort(key=lambda run: run.started or "", reverse=True)
    return render_template("empty.html", runs=recent[:RUNS])


def _whole(name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` in the query."""
    text = request.args.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        abort(400, f"{name} = {text[:40]!r} is not a whole number from 1 to {most:,}.")
    return int(text)


def _highest(lines: list[Listed]) -> float:
    return max((line.number for line in lines), default=0.0)
