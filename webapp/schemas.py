"""What goes into the API and comes out of it: validation and description are one.

What comes out is made by the functions that have the name of its model; the tests hold one against the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from config import runs
from config.redaction import redact
from models.store import Listed as StoredLine
from models.store import Track as StoredTrack
from models.store import User as StoredUser
from webapp.versions import Version as StoredVersion

MOST_LISTED, MOST_FOUND = 1_000, 100
LONGEST = 500


class _Query(BaseModel):
    """What may be asked; anything else is refused."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = Field(None, description="The dataset; by default the one promoted last.")


class DatasetQuery(_Query):
    """Which dataset."""


class ListQuery(_Query):
    """How long a list."""

    k: int = Field(10, ge=1, le=MOST_LISTED, description="Lines, at most; there are no more than are stored.")


class UsersQuery(_Query):
    """Whose id begins so."""

    q: str = Field("", max_length=LONGEST, description="How the id begins.")
    after: str = Field("", max_length=LONGEST, description="What the page before named as next.")
    limit: int = Field(20, ge=1, le=MOST_FOUND, description="Users a page.")


class TracksQuery(_Query):
    """Words of title or artist."""

    q: str = Field("", max_length=LONGEST, description="Words of title or artist, or how they begin.")
    page: int = Field(1, ge=1, le=100_000, description="Which page.")
    limit: int = Field(20, ge=1, le=MOST_FOUND, description="Tracks a page.")


class RunsQuery(_Query):
    """How many runs."""

    limit: int = Field(20, ge=1, le=MOST_FOUND, description="The newest so many.")


class Track(BaseModel):
    """A track, and how many users have heard it."""

    track_id: str
    title: str | None
    artist: str | None
    genre: str | None
    listeners: int


class User(BaseModel):
    """A user, and how many tracks they have heard."""

    user_id: str
    age: int | None
    country: str | None
    heard: int
    rung: str = Field(description="What the list stands on: model, content, segment or popularity.")


class Line(BaseModel):
    """A line of a list."""

    rank: int
    track: Track
    score: float
    because: list[Track] = Field(description="What the user heard that contributed most, if it is known.")


class Newcomer(_Query):
    """Somebody whom no model knows, by what they heard."""

    tracks: list[str] = Field(min_length=1, max_length=MOST_FOUND, description="Ids of tracks; each counts once.")
    weights: list[float] | None = Field(
        None, description="How often each was heard, or its rating: as many as tracks, above 0. All alike without it."
    )
    k: int = Field(10, ge=1, le=MOST_LISTED, description="Lines, at most.")

    @model_validator(mode="after")
    def _belong_together(self) -> Newcomer:
        weights = self.weights
        if weights is not None and (len(weights) != len(self.tracks) or not all(0 < w < math.inf for w in weights)):
            raise ValueError("weights must be as many numbers above 0 as there are tracks")
        return self

    @property
    def heard(self) -> dict[str, float]:
        """The weight of each track."""
        return dict(zip(self.tracks, self.weights or [1.0] * len(self.tracks), strict=True))


class _Answer(BaseModel):
    """What every answer says of where it comes from."""

    dataset: str
    version: str


class UserAnswer(_Answer):
    """A user."""

    user: User


class RecommendationsAnswer(_Answer):
    """A user's list, the best first; none of it heard before."""

    user: User
    recommendations: list[Line]


class NewcomerAnswer(_Answer):
    """A list for somebody whom no model knows."""

    by: Literal["fold-in", "similar"] = Field(description="How it was made: by the model's factors, or similar tracks.")
    unknown: list[str] = Field(description="Ids that the version has no track of; they were left out.")
    recommendations: list[Line]


class UsersAnswer(_Answer):
    """Some users, by id."""

    users: list[User]
    next: str | None = Field(description="Where the next page begins; null at the end.")


class TrackAnswer(_Answer):
    """A track."""

    track: Track


class SimilarAnswer(_Answer):
    """The tracks that are most similar to one, as far as the champion knows it."""

    track: Track
    similar: list[Line]


class TracksAnswer(_Answer):
    """Some tracks, the most heard first."""

    tracks: list[Track]
    total: int
    page: int


class Version(BaseModel):
    """A published version."""

    version: str
    sequence: int
    created_at: str
    served: bool
    champion: str
    counts: dict[str, int]
    metrics: dict[str, float] = Field(description="Of the champion.")


class VersionsAnswer(BaseModel):
    """The published versions, the newest first."""

    dataset: str
    pinned: bool = Field(description="Whether a rollback keeps runs from promoting.")
    versions: list[Version]


class MetricsAnswer(_Answer):
    """Every candidate's metrics on the test part."""

    champion: str
    select_by: str
    models: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]] = Field(description="95 % ones, by the bootstrap over users.")


class Run(BaseModel):
    """A run of the pipeline."""

    run: str
    status: str
    started: str | None
    duration_s: float | None
    version: str | None
    stages: dict[str, int] = Field(description="How many ended in each status.")
    error: str | None


class RunsAnswer(BaseModel):
    """The last runs, the newest first."""

    dataset: str
    runs: list[Run]


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: dict[str, Any] = Field(default_factory=dict, description="What is wrong with each field.")


# -- from what is stored -----------------------------------------------------------------------------------------------


def track(stored: StoredTrack) -> dict[str, Any]:
    """See Track."""
    return {
        "track_id": stored.track_id, "title": stored.title, "artist": stored.artist, "genre": stored.genre,
        "listeners": stored.popularity,
    }  # fmt: skip


def user(stored: StoredUser) -> dict[str, Any]:
    """See User."""
    return {
        "user_id": stored.user_id, "age": stored.age, "country": stored.country, "heard": stored.interactions,
        "rung": stored.rung,
    }  # fmt: skip


def lines(stored: Sequence[StoredLine]) -> list[dict[str, Any]]:
    """See Line."""
    return [
        {"rank": rank, "track": track(line.track), "score": line.number, "because": [track(t) for t in line.because]}
        for rank, line in enumerate(stored, 1)
    ]


def version(stored: StoredVersion, *, served: bool) -> dict[str, Any]:
    """See Version."""
    return {
        "version": stored.name, "sequence": stored.sequence, "created_at": stored.manifest["created_at"],
        "served": served, "champion": stored.champion, "counts": stored.counts,
        "metrics": stored.metrics["models"][stored.champion],
    }  # fmt: skip


def run(stored: runs.Run) -> dict[str, Any]:
    """See Run."""
    return {
        "run": stored.run, "status": stored.status, "started": stored.started, "duration_s": stored.duration_s,
        "version": stored.version, "stages": dict(stored.stages),
        "error": None if stored.error is None else redact(stored.error),
    }  # fmt: skip
