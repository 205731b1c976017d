"""Addresses of pages: they stay with the dataset that is shown."""

from __future__ import annotations

from typing import Any

from flask import g, url_for

from webapp.routing import fits_in_path


def link(endpoint: str, **values: Any) -> str:
    """A page's address; the endpoint is that of a page, or with its blueprint's name."""
    if len(g.get("datasets", [])) > 1 and g.get("dataset"):
        values.setdefault("dataset", g.dataset)
    return url_for(endpoint if "." in endpoint else f"pages.{endpoint}", **values)


def user_link(user_id: str, **values: Any) -> str:
    """A user's page; ids that cannot stand in a path go through the look-up."""
    if fits_in_path(user_id):
        return link("user", user_id=user_id, **values)
    return link("users", q=user_id, **values)


def track_link(track_id: str) -> str:
    """A track's page; ids that cannot stand in a path are looked up."""
    return link("track", track_id=track_id) if fits_in_path(track_id) else link("tracks", q=track_id)
