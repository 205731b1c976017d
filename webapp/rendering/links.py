"""Addresses of pages: they stay with the dataset that is shown."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from flask import g, request, url_for
from markupsafe import Markup, escape

from webapp.rendering.url_converters import fits_in_path

PAGES = {
    "overview": ("Overview",),
    "runs": ("Runs", "pages.run"),
    "versions": ("Models", "pages.version"),
    "leaderboard": ("Leaderboard",),
    "data": ("Data",),
    "users": ("Users", "pages.user"),
    "tracks": ("Tracks", "pages.track"),
    "try_it": ("Try it",),
    "changes.pipeline": ("Pipeline", "changes.start"),
    "api": ("API",),
}
"""What the header leads to: names, and further endpoints that belong there."""

_IDS = ("user_id", "track_id")
_GAP = "\x01"
"""Stands for an id in an address, where it is written as `%01`."""


def link(endpoint: str, **values: Any) -> str:
    """A page's address; the endpoint is that of a page, or with its blueprint's name.

    Args:
        values: of what the address hangs on; a `dataset` among them is meant instead of the one that is shown.
    """
    dataset = values.pop("dataset", None) or _dataset()
    if not values:
        return _plain(endpoint, dataset, request.script_root)
    for name in _IDS:
        if name in values:
            before, after = _around(endpoint, name, dataset, request.script_root)
            query = urlencode({key: value for key, value in values.items() if key != name})
            sign = "" if not query else "&" if after else "?"
            return f"{before}{quote(values[name], safe='')}{after}{sign}{query}"
    return url_for(_whole(endpoint), dataset=dataset, **values)


def navigation() -> list[tuple[Markup, str, bool]]:
    """The pages in the header: their addresses, their names, and whether the request is for one that belongs there."""
    return _navigation(request.endpoint, _dataset(), request.script_root)


def user_link(user_id: str, **values: Any) -> str:
    """A user's page; ids that cannot stand in a path go through the look-up."""
    if fits_in_path(user_id):
        return link("user", user_id=user_id, **values)
    return link("users", q=user_id, **values)


def track_link(track_id: str) -> str:
    """A track's page; ids that cannot stand in a path go through the look-up."""
    return link("track", track_id=track_id) if fits_in_path(track_id) else link("tracks", q=track_id)


def around_track() -> tuple[str, str]:
    """What is before a track's id in the address of its page, and after it, as HTML."""
    before, after = _around("track", "track_id", _dataset(), request.script_root)
    return escape(before), escape(after)


def static(filename: str) -> str:
    """The address of a file in `static/`."""
    return _static(filename, request.script_root)


def _dataset() -> str | None:
    """The dataset that addresses have to name: none where there is only one."""
    return g.get("dataset") if len(g.get("datasets", ())) > 1 else None


def _whole(endpoint: str) -> str:
    return endpoint if "." in endpoint else f"pages.{endpoint}"


# The routes are always the same, so an address hangs on nothing but these arguments.


@lru_cache(1_000)
def _navigation(here: str | None, dataset: str | None, script_root: str) -> list[tuple[Markup, str, bool]]:
    return [
        (escape(_plain(endpoint, dataset, script_root)), name, here in (_whole(endpoint), *others))
        for endpoint, (name, *others) in PAGES.items()
    ]


@lru_cache(1_000)
def _plain(endpoint: str, dataset: str | None, script_root: str) -> str:
    return url_for(_whole(endpoint), dataset=dataset)


@lru_cache(1_000)
def _around(endpoint: str, name: str, dataset: str | None, script_root: str) -> tuple[str, str]:
    """What is before an id in an address, and after it."""
    values: dict[str, Any] = {name: _GAP, "dataset": dataset}
    before, _, after = url_for(_whole(endpoint), **values).partition(quote(_GAP))
    return before, after


@lru_cache(1_000)
def _static(filename: str, script_root: str) -> str:
    return url_for("static", filename=filename)
