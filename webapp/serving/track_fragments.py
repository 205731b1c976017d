"""What answers say of a track, made once: lists name the same ones again and again."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

import orjson
from markupsafe import escape

from models.serving_records import StoredTrack
from webapp.rendering.url_converters import fits_in_path


class Prepared(NamedTuple):
    """A track, ready to be put into an answer: as JSON, see `schemas.Track`, and in pieces of HTML."""

    json: orjson.Fragment
    in_path: str
    """Its id as a part of an address; empty where it cannot stand in one."""
    own_id: str
    title: str
    artist: str
    genre: str
    """These are empty where they are not known."""


def prepare(track: StoredTrack) -> Prepared:
    """Makes it; a store that is opened with this keeps it."""
    described = {
        "track_id": track.track_id, "title": track.title, "artist": track.artist, "genre": track.genre,
        "listeners": track.popularity,
    }  # fmt: skip
    written = (_html(text or "") for text in (track.track_id, track.title, track.artist, track.genre))
    json = bytes(memoryview(orjson.dumps(described)))  # a copy: what orjson makes keeps 4 kB for a hundred bytes
    in_path = quote(track.track_id, safe="") if fits_in_path(track.track_id) else ""
    return Prepared(orjson.Fragment(json), in_path, *written)


def of(track: StoredTrack) -> Prepared:
    """What was prepared of a track, or is now."""
    found: Prepared | None = track.prepared
    return found or prepare(track)


def _html(text: str) -> str:
    """A text with what HTML would take for its own escaped; the same text where there is no such thing."""
    escaped = str(escape(text))
    return text if escaped == text else escaped
