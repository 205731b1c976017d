"""Links between pages. Each link keeps the selected dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from flask import g, request, url_for
from markupsafe import Markup, escape

from models.serving_records import StoredTrack
from webapp.url_converters import fits_in_path

NAVIGATION = {
    "overview": ("Overview",),
    "runs": ("Runs", "pages.run"),
    "versions": ("Versions", "pages.version"),
    "leaderboard": ("Leaderboard",),
    "data": ("Data",),
    "users": ("Users", "pages.user"),
    "tracks": ("Tracks", "pages.track"),
    "try_it": ("Try it",),
    "actions.new_run": ("Pipeline", "actions.start_run"),
    "api": ("API",),
}
"""The entries of the page header by endpoint: title, then further endpoints that highlight the entry."""

CACHED_LINKS, CACHED_TRACKS = 1_000, 20_000

_ID_ARGS = ("user_id", "track_id")
_PLACEHOLDER = "\x01"
"""Marks the place of an id in a URL, where it is written as `%01`."""


def link(endpoint: str, **values: Any) -> str:
    """Return the URL of an endpoint. Without a blueprint's name, the endpoint is one of the `pages` blueprint.

    Args:
        values: arguments of the route and the query; `dataset` overrides the selected dataset.
    """
    dataset = values.pop("dataset", None) or _dataset_arg()
    if not values:
        return _url(endpoint, dataset, request.script_root)
    for name in _ID_ARGS:
        if name in values:
            before, after = _url_around_id(endpoint, name, dataset, request.script_root)
            query = urlencode({key: value for key, value in values.items() if key != name})
            separator = "" if not query else "&" if after else "?"
            return f"{before}{quote(values[name], safe='')}{after}{separator}{query}"
    return url_for(_full_name(endpoint), dataset=dataset, **values)


def navigation() -> list[tuple[Markup, str, bool]]:
    """Return URL, title and whether it is the current page for each entry of the header."""
    return _navigation(request.endpoint, _dataset_arg(), request.script_root)


def user_url(user_id: str, **values: Any) -> str:
    """Return the URL of a user's page; of the search, if the id cannot be part of a path."""
    if fits_in_path(user_id):
        return link("user", user_id=user_id, **values)
    return link("users", q=user_id, **values)


def track_url(track_id: str) -> str:
    """Return the URL of a track's page; of the search, if the id cannot be part of a path."""
    return link("track", track_id=track_id) if fits_in_path(track_id) else link("tracks", q=track_id)


def track_linker() -> Callable[[StoredTrack], Markup]:
    """Return a function that links a track's title, or its id, to its page.

    A table looks the request's dataset up once, not for each of its links.
    """
    dataset, script_root = _dataset_arg(), request.script_root
    return lambda track: _track_link(track.track_id, track.title, dataset, script_root)


def static(filename: str) -> str:
    """Return the URL of a file in `static/`."""
    return _static(filename, request.script_root)


def _dataset_arg() -> str | None:
    """Return the dataset that links must name; None if there is only one."""
    return g.get("dataset") if len(g.get("datasets", ())) > 1 else None


def _full_name(endpoint: str) -> str:
    return endpoint if "." in endpoint else f"pages.{endpoint}"


# Cached: building URLs takes most of a page's time otherwise. The routes are fixed, so a URL depends on these arguments
# alone.


@lru_cache(CACHED_LINKS)
def _navigation(current: str | None, dataset: str | None, script_root: str) -> list[tuple[Markup, str, bool]]:
    return [
        (escape(_url(endpoint, dataset, script_root)), title, current in (_full_name(endpoint), *others))
        for endpoint, (title, *others) in NAVIGATION.items()
    ]


@lru_cache(CACHED_LINKS)
def _url(endpoint: str, dataset: str | None, script_root: str) -> str:
    return url_for(_full_name(endpoint), dataset=dataset)


@lru_cache(CACHED_LINKS)
def _url_around_id(endpoint: str, id_arg: str, dataset: str | None, script_root: str) -> tuple[str, str]:
    """Return the parts of a URL before and after the id."""
    values: dict[str, Any] = {id_arg: _PLACEHOLDER, "dataset": dataset}
    before, _, after = url_for(_full_name(endpoint), **values).partition(quote(_PLACEHOLDER))
    return before, after


@lru_cache(CACHED_TRACKS)
def _track_link(track_id: str, title: str | None, dataset: str | None, script_root: str) -> Markup:
    name = (
        Markup('<bdi title="id {}">{}</bdi>').format(track_id, title)
        if title
        else Markup('<code class="id">{}</code>').format(track_id)
    )
    return Markup('<a href="{}">{}</a>').format(track_url(track_id), name)


@lru_cache(CACHED_LINKS)
def _static(filename: str, script_root: str) -> str:
    return url_for("static", filename=filename)
