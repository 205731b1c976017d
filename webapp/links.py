"""Addresses of pages: they stay with the dataset that is shown."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote

from flask import g, request, url_for
from markupsafe import Markup, escape

from models.store import Track
from webapp.routing import fits_in_path

_GAP = "\x01"
"""Stands for an id in an address, where it is written as `%01`."""


def link(endpoint: str, **values: Any) -> str:
    """A page's address; the endpoint is that of a page, or with its blueprint's name."""
    if not values:
        return _plain(endpoint, _dataset(), request.script_root)
    if dataset := _dataset():
        values.setdefault("dataset", dataset)
    return url_for(_whole(endpoint), **values)


def user_link(user_id: str, **values: Any) -> str:
    """A user's page; ids that cannot stand in a path go through the look-up."""
    if fits_in_path(user_id):
        return link("user", user_id=user_id, **values)
    return link("users", q=user_id, **values)


def track_name(track: Track) -> Markup:
    """A track's title, or its id where it has none, as a link to its page.

    A page has up to a hundred of them, and a macro would take four times as long.
    """
    address, own_id, title = track_link(track.track_id), track.track_id, track.title
    if not own_id.isalnum():  # else there is nothing in them to escape
        address, own_id = escape(address), escape(own_id)
    name = f'<bdi title="id {own_id}">{escape(title)}</bdi>' if title else f'<code class="id">{own_id}</code>'
    return Markup(f'<a href="{address}">{name}</a>')


def track_link(track_id: str) -> str:
    """A track's page; ids that cannot stand in a path are looked up."""
    if not fits_in_path(track_id):
        return link("tracks", q=track_id)
    around = g.get("around_track")
    if around is None:
        around = g.around_track = _around_track(_dataset(), request.script_root)
    before, after = around
    return f"{before}{quote(track_id, safe='')}{after}"


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
def _plain(endpoint: str, dataset: str | None, script_root: str) -> str:
    return url_for(_whole(endpoint), dataset=dataset)


@lru_cache(1_000)
def _around_track(dataset: str | None, script_root: str) -> tuple[str, str]:
    before, _, after = url_for("pages.track", track_id=_GAP, dataset=dataset).partition(quote(_GAP))
    return before, after


@lru_cache(1_000)
def _static(filename: str, script_root: str) -> str:
    return url_for("static", filename=filename)
