"""Users: looked up by the beginning of their id, and one of them with history and recommendations."""

from __future__ import annotations

from collections import Counter

from flask import redirect, render_template
from flask.typing import ResponseReturnValue

from config.fallbacks import TIERS
from models.serving_records import ScoredTrack
from webapp.api.schemas import LISTED
from webapp.rendering import charts
from webapp.rendering.links import user_link
from webapp.rendering.url_converters import fits_in_path
from webapp.serving.query_args import get_int, get_text
from webapp.serving.request_context import current_version
from webapp.serving.version_cache import ServedVersion

MATCHES = 20
MOST_LISTED = 100
HEARD, MOST_HEARD = 25, 1000
TASTES = 5


def users() -> ResponseReturnValue:
    """Looks users up by the beginning of their id; a whole id goes straight to its user."""
    here, wanted, after = current_version(), get_text("q"), get_text("after")
    ways = (wanted, wanted.strip())  # blanks may be part of an id, or come from the clipboard
    with here.store() as store:
        known = None if after else next(filter(None, map(store.user, ways)), None)
        found = [] if known else next(filter(None, (store.users(way, MATCHES + 1, after) for way in ways)), [])
    if known and fits_in_path(known.user_id):
        return redirect(user_link(known.user_id))
    if known and (page := _page(here, known.user_id)):
        return page
    return render_template("users.html", shown=here, wanted=wanted, found=found, matches=MATCHES, after=after)


def user(user_id: str) -> ResponseReturnValue:
    """A user: what they heard, and what they should hear next."""
    here = current_version()
    if page := _page(here, user_id):
        return page
    with here.store() as store:
        popular = store.popular(LISTED)
    return render_template(
        "unknown_user.html", shown=here, user_id=user_id, popular=popular, highest=charts.highest(popular),
    ), 404  # fmt: skip


def _page(here: ServedVersion, user_id: str) -> str | None:
    """A user's page; None where there is no such user."""
    k = get_int("k", LISTED, MOST_LISTED)
    heard = get_int("heard", HEARD, MOST_HEARD)
    with here.store() as store:
        found = store.user_with_list(user_id, k + 1)
        if found is None:
            return None
        history = store.history(user_id, heard)
    user, recommendations = found
    return render_template(
        "user.html",
        shown=here,
        user=user,
        tier=TIERS[user.tier],
        recommendations=recommendations[:k],
        highest=charts.highest(recommendations),
        more_recommendations=len(recommendations) > k and k < MOST_LISTED,
        history=history,
        more_history=user.interactions > heard and heard < MOST_HEARD,
        tastes=_tastes(history),
        k=k,
        longer={"k": k} if k != LISTED else {},
        heard=heard,
        limits={"k": MOST_LISTED, "heard": MOST_HEARD},
    )


def _tastes(history: list[ScoredTrack]) -> list[tuple[str, float]]:
    """The genres that a user heard most of, with their shares of what is shown of the history."""
    counts = Counter(line.track.genre for line in history if line.track.genre)
    total = counts.total()
    return [(genre, count / total) for genre, count in counts.most_common(TASTES)]
