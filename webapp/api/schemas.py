"""What goes into the API and comes out of it: validation and description are one.

What comes out is made by the functions that have the name of its model; the tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from common.redaction import redact
from models.serving_records import ScoredTrack as StoredLine
from models.serving_records import StoredTrack as StoredTrack
from models.serving_records import StoredUser as StoredUser
from run_records.recorded_run import RecordedRun
from webapp.serving import track_fragments
from webapp.serving.version_comparison import VersionFacts as StoredVersion

LISTED, MOST_LISTED, MOST_FOUND = 10, 1_000, 100
LONGEST = 500


def _digits(value: Any) -> Any:
    """Text from a query, if it is a number as people write it; else pydantic would take `1_0` for ten."""
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdecimal()):
        raise ValueError("Input should be a whole number")
    return value


def _number(value: Any) -> Any:
    """What is a number in JSON; else pydantic would take `true` for one."""
    if isinstance(value, bool | str):
        raise ValueError("Input should be a whole number")
    return value


def _whole_characters(text: str) -> str:
    """Text that can be looked up: JSON can also write half a character."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("Input should be text, without half of a surrogate pair") from error
    return text


def _without_default(schema: dict[str, Any]) -> None:
    """In a query there is no null."""
    del schema["default"]


Whole = Annotated[int, BeforeValidator(_digits)]
Text = Annotated[str, AfterValidator(_whole_characters)]
Weight = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_DATASET = "The dataset; by default the one promoted last."


class NoQuery(BaseModel):
    """What may be asked; anything else is refused."""

    model_config = ConfigDict(extra="forbid")


class DatasetQuery(NoQuery):
    """Which dataset."""

    dataset: str | SkipJsonSchema[None] = Field(None, description=_DATASET, json_schema_extra=_without_default)


class ListQuery(DatasetQuery):
    """How long a list."""

    k: Whole = Field(LISTED, ge=1, le=MOST_LISTED, description="Lines, at most; there are no more than are stored.")


class UsersQuery(DatasetQuery):
    """Whose id begins so."""

    q: str = Field("", max_length=LONGEST, description="How the id begins.")
    after: str = Field("", max_length=LONGEST, description="What the page before named as next.")
    limit: Whole = Field(20, ge=1, le=MOST_FOUND, description="Users a page.")


class TracksQuery(DatasetQuery):
    """Words of title or artist."""

    q: str = Field("", max_length=LONGEST, description="Words of title or artist, or how they begin.")
    page: Whole = Field(1, ge=1, le=100_000, description="Which page.")
    limit: Whole = Field(20, ge=1, le=MOST_FOUND, description="Tracks a page.")


class RunsQuery(DatasetQuery):
    """How many runs."""

    page: Whole = Field(1, ge=1, le=100_000, description="Which page, the newest first.")
    limit: Whole = Field(20, ge=1, le=MOST_FOUND, description="Runs a page.")


class TrackSchema(BaseModel):
    """A track, and how many users have heard it."""

    track_id: str
    title: str | None
    artist: str | None
    genre: str | None
    listeners: int


class UserSchema(BaseModel):
    """A user, and how many tracks they have heard."""

    user_id: str
    age: int | None
    country: str | None
    heard: int
    tier: str = Field(description="What the list stands on: model, content, segment or popularity.")


class RecommendationSchema(BaseModel):
    """A line of a list."""

    rank: int
    track: TrackSchema
    score: float
    because: list[TrackSchema] = Field(description="What the user heard that contributed most, if it is known.")


class NewUserBody(NoQuery):
    """Somebody whom no model knows, by what they heard."""

    dataset: str | None = Field(None, description=_DATASET)
    tracks: list[Text] = Field(min_length=1, max_length=MOST_FOUND, description="Ids of tracks; each counts once.")
    weights: list[Weight] | None = Field(
        None, description="How often each was heard, or its rating: as many as tracks. All alike without it."
    )
    k: Annotated[int, BeforeValidator(_number)] = Field(LISTED, ge=1, le=MOST_LISTED, description="Lines, at most.")

    @field_validator("weights")
    @classmethod
    def _belong_together(cls, weights: list[float] | None, info: ValidationInfo) -> list[float] | None:
        tracks = info.data.get("tracks")  # absent if they are wrong themselves
        if weights is not None and tracks is not None and len(weights) != len(tracks):
            raise ValueError("There should be as many weights as tracks")
        return weights

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

    user: UserSchema


class RecommendationsAnswer(_Answer):
    """A user's list, the best first; none of it heard before."""

    user: UserSchema
    recommendations: list[RecommendationSchema]


class NewcomerAnswer(_Answer):
    """A list for somebody whom no model knows."""

    by: Literal["fold-in", "similar"] = Field(description="How it was made: by the model's factors, or similar tracks.")
    unknown: list[str] = Field(description="Ids that the version has no track of; they were left out.")
    recommendations: list[RecommendationSchema]


class UsersAnswer(_Answer):
    """Some users, by id."""

    users: list[UserSchema]
    next: str | None = Field(description="Where the next page begins; null at the end.")


class TrackAnswer(_Answer):
    """A track."""

    track: TrackSchema


class SimilarAnswer(_Answer):
    """The tracks that are most similar to one, as far as the champion knows it."""

    track: TrackSchema
    similar: list[RecommendationSchema]


class TracksAnswer(_Answer):
    """Some tracks, the most heard first."""

    tracks: list[TrackSchema]
    total: int
    page: int


class VersionSchema(BaseModel):
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
    versions: list[VersionSchema]


class MetricsAnswer(_Answer):
    """Every candidate's metrics on the test part."""

    champion: str
    select_by: str
    models: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]]] = Field(
        description="95 % ones, by the bootstrap over users."
    )
    curves: dict[str, dict[str, list[float]]] = Field(
        description="ndcg, recall and precision at lists of 1, 2, … tracks; none of versions that do not have them."
    )


class RunSchema(BaseModel):
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
    runs: list[RunSchema]
    total: int
    page: int


class ProblemSchema(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: dict[str, Any] = Field(default_factory=dict, description="What is wrong with each field.")


# -- from what is stored -----------------------------------------------------------------------------------------------


def track(stored: StoredTrack) -> orjson.Fragment:
    """See Track."""
    return track_fragments.of(stored).json


def user(stored: StoredUser) -> dict[str, Any]:
    """See User."""
    return {
        "user_id": stored.user_id, "age": stored.age, "country": stored.country, "heard": stored.interactions,
        "tier": stored.tier,
    }  # fmt: skip


def lines(stored: Sequence[StoredLine]) -> list[dict[str, Any]]:
    """See Line."""
    return [
        {"rank": rank, "track": track(found), "score": number, "because": list(map(track, because))}
        for rank, (found, number, because) in enumerate(stored, 1)
    ]


def version(stored: StoredVersion, *, served: bool) -> dict[str, Any]:
    """See Version."""
    return {
        "version": stored.name, "sequence": stored.sequence, "created_at": stored.manifest["created_at"],
        "served": served, "champion": stored.champion, "counts": stored.counts,
        "metrics": stored.metrics["models"][stored.champion],
    }  # fmt: skip


def run(stored: RecordedRun) -> dict[str, Any]:
    """See Run."""
    return {
        "run": stored.id, "status": stored.status, "started": stored.started, "duration_s": stored.duration_s,
        "version": stored.version, "stages": dict(stored.status_counts),
        "error": None if stored.error is None else redact(stored.error),
    }  # fmt: skip
