"""Tracks as pre-rendered JSON: the same popular tracks appear in most lists."""

from __future__ import annotations

import orjson

from models.serving_records import StoredTrack


def render_track_json(track: StoredTrack) -> orjson.Fragment:
    """Return a track's JSON, as `schemas.Track` describes it. A store that is opened with this function caches it."""
    content = {
        "track_id": track.track_id, "title": track.title, "artist": track.artist, "genre": track.genre,
        "listeners": track.popularity,
    }  # fmt: skip
    return orjson.Fragment(bytes(memoryview(orjson.dumps(content))))  # a copy: orjson's own buffer keeps 4 kB alive


def track_json(track: StoredTrack) -> orjson.Fragment:
    """Return a track's cached JSON, or render it."""
    cached: orjson.Fragment | None = track.prepared
    return cached or render_track_json(track)
