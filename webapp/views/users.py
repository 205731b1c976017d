"""Searching users, and one user: recommendations and history."""

from __future__ import annotations

from collections import Counter

from flask import redirect, render_template
from flask.typing import ResponseReturnValue

from config.fallbacks import TIERS
from models.serving_records import ScoredTrack
from webapp.api.schemas import DEFAULT_K
from webapp.rendering import charts
from webapp.rendering.links import user_url
from webapp.serving.query_args import get_int, get_text
from webapp.serving.request_context import current_version
from webapp.serving.served_version import ServedVersion
from webapp.url_converters import fits_in_path

MAX_RESULTS = 20
MAX_K = 100
DEFAULT_HISTORY, MAX_HISTORY = 25, 1000
TOP_GENRES = 5


def users() -> ResponseReturnValue:
    """Search users by a prefix of their id; redirect to the user if the search text is an id."""
    served, query, after = current_version(), get_text("q"), get_text("after")
    variants = (query, query.strip())  # spaces may belong to the id, or come from the clipboard
    with served.store() as store:
        exact = None if after else next(filter(None, map(store.user, variants)), None)
        results = (
            []
            if exact
            else next(filter(None, (store.users(prefix, MAX_RESULTS + 1, after) for prefix in variants)), [])
        )
    if exact and fits_in_path(exact.user_id):
        return redirect(user_url(exact.user_id))
    if exact and (page := _user_page(served, exact.user_id)):
        return page
    return render_template(
        "users.html", served=served, query=query, results=results, max_results=MAX_RESULTS, after=after
    )


def user(user_id: str) -> ResponseReturnValue:
    """Show a user, or popular tracks if the user is unknown."""
    served = current_version()
    if page := _user_page(served, user_id):
        return page
    with served.store() as store:
        popular = store.popular(DEFAULT_K)
    max_score = charts.max_score(popular)
    page = render_template("unknown_user.html", served=served, user_id=user_id, popular=popular, max_score=max_score)
    return page, 404


def _user_page(served: ServedVersion, user_id: str) -> str | None:
    """Render a user's page; return None if the user is unknown."""
    k = get_int("k", DEFAULT_K, MAX_K)
    history_length = get_int("heard", DEFAULT_HISTORY, MAX_HISTORY)
    with served.store() as store:
        stored = store.user_with_list(user_id, k + 1)
        if stored is None:
            return None
        history = store.history(user_id, history_length)
    user, recommendations = stored
    return render_template(
        "user.html",
        served=served,
        user=user,
        tier=TIERS[user.tier],
        recommendations=recommendations[:k],
        max_score=charts.max_score(recommendations),
        has_more_recommendations=len(recommendations) > k and k < MAX_K,
        history=history,
        has_more_history=user.interactions > history_length and history_length < MAX_HISTORY,
        top_genres=_top_genres(history),
        k=k,
        api_args={"k": k} if k != DEFAULT_K else {},
        history_length=history_length,
        max_k=MAX_K,
        max_history=MAX_HISTORY,
    )


def _top_genres(history: list[ScoredTrack]) -> list[tuple[str, float]]:
    """Return the most frequent genres of the history with their shares."""
    counts = Counter(line.track.genre for line in history if line.track.genre)
    total = counts.total()
    return [(genre, count / total) for genre, count in counts.most_common(TOP_GENRES)]
