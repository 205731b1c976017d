"""The records that the serving store returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class StoredUser(NamedTuple):
    """A user of a published version."""

    user_id: str
    age: int | None
    country: str | None
    interactions: int
    """Number of tracks the user has heard."""
    tier: str
    """The tier of the fallback chain that made the user's list: a key of `config.fallbacks.TIERS`."""


@dataclass(slots=True)
class StoredTrack:
    """A track of a published version."""

    track_id: str
    title: str | None
    artist: str | None
    genre: str | None
    popularity: int
    """Number of users who have heard the track."""
    prepared: Any = field(default=None, repr=False, compare=False)
    """The result of the store's `prepare` for this track, cached with it."""


class ScoredTrack(NamedTuple):
    """An entry of a list: a track and its score. In a history, the score is the number of plays or the rating."""

    track: StoredTrack
    score: float
    explanation: tuple[StoredTrack, ...] = ()
    """The tracks of the user's history that contributed most to the score."""


class AudienceMember(NamedTuple):
    """A user whose list contains a track, and the track's rank and score in it."""

    user: StoredUser
    rank: int
    score: float
