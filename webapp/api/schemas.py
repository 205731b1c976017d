"""Schemas of requests and responses. They validate requests and generate the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

DEFAULT_K, MAX_K = 10, 1_000
DEFAULT_LIMIT, MAX_LIMIT, MAX_PAGE = 20, 100, 100_000
MAX_TEXT = 500
"""Characters of an id or a search text."""

# -- requests ----------------------------------------------------------------------------------------------------------


def _check_digits(value: Any) -> Any:
    """Accept digits only; pydantic would read `1_0` in a query as ten."""
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdecimal()):
        raise ValueError("Input should be a whole number")
    return value


def _check_number(value: Any) -> Any:
    """Accept JSON numbers only; pydantic would read `true` and `"1"` as one."""
    if isinstance(value, bool | str):
        raise ValueError("Input should be a whole number")
    return value


def _check_unicode(text: str) -> str:
    """Reject half of a surrogate pair: JSON can express it, the store cannot search for it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("Input should be text, without half of a surrogate pair") from error
    return text


def _remove_default(schema: dict[str, Any]) -> None:
    """Remove the default null, which a query cannot express."""
    del schema["default"]


_QueryInt = Annotated[int, BeforeValidator(_check_digits)]
_BodyInt = Annotated[int, BeforeValidator(_check_number)]
_TrackId = Annotated[str, AfterValidator(_check_unicode)]
_Weight = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_DATASET = "Dataset; by default the one promoted last."


class _Request(BaseModel):
    """Rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")


class DatasetQuery(_Request):
    """The dataset."""

    dataset: str | SkipJsonSchema[None] = Field(None, description=_DATASET, json_schema_extra=_remove_default)


class ListQuery(DatasetQuery):
    """The length of a list."""

    k: _QueryInt = Field(
        DEFAULT_K, ge=1, le=MAX_K, description="Maximum number of tracks; a stored list may be shorter."
    )


class UsersQuery(DatasetQuery):
    """A page of users."""

    q: str = Field("", max_length=MAX_TEXT, description="Prefix of the user id.")
    after: str = Field("", max_length=MAX_TEXT, description="`next` of the previous page.")
    limit: _QueryInt = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Users per page.")


class TracksQuery(DatasetQuery):
    """A page of tracks."""

    q: str = Field("", max_length=MAX_TEXT, description="Words, or prefixes of words, of title or artist.")
    page: _QueryInt = Field(1, ge=1, le=MAX_PAGE, description="Page number.")
    limit: _QueryInt = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Tracks per page.")


class RunsQuery(DatasetQuery):
    """A page of runs."""

    page: _QueryInt = Field(1, ge=1, le=MAX_PAGE, description="Page number; page 1 has the newest runs.")
    limit: _QueryInt = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Runs per page.")


class NewUserBody(_Request):
    """The tracks that a new user heard."""

    dataset: str | None = Field(None, description=_DATASET)
    tracks: list[_TrackId] = Field(
        min_length=1, max_length=MAX_LIMIT, description="Track ids; a repeated id counts once."
    )
    weights: list[_Weight] | None = Field(
        None, description="Plays or rating of each track, in the order of `tracks`; by default all are equal."
    )
    k: _BodyInt = Field(DEFAULT_K, ge=1, le=MAX_K, description="Maximum number of recommendations.")

    @field_validator("weights")
    @classmethod
    def _check_length(cls, weights: list[float] | None, info: ValidationInfo) -> list[float] | None:
        tracks = info.data.get("tracks")  # absent if it is invalid itself
        if weights is not None and tracks is not None and len(weights) != len(tracks):
            raise ValueError("There should be as many weights as tracks")
        return weights

    @property
    def weights_by_track(self) -> dict[str, float]:
        """The weight of each track."""
        return dict(zip(self.tracks, self.weights or [1.0] * len(self.tracks), strict=True))


# -- responses ---------------------------------------------------------------------------------------------------------


class Track(BaseModel):
    """A track."""

    track_id: str
    title: str | None
    artist: str | None
    genre: str | None
    listeners: int = Field(description="Users who heard the track.")


class User(BaseModel):
    """A user."""

    user_id: str
    age: int | None
    country: str | None
    tracks_heard: int = Field(description="Tracks that the user heard.")
    tier: str = Field(description="What the recommendations are based on: model, content, segment or popularity.")


class RankedTrack(BaseModel):
    """A track in a ranked list."""

    rank: int
    track: Track
    score: float
    because: list[Track] = Field(description="Tracks the user heard that contributed most, if known.")


class Version(BaseModel):
    """A published version."""

    version: str
    sequence: int
    created_at: str
    served: bool
    champion: str
    counts: dict[str, int]
    metrics: dict[str, float] = Field(description="The champion's metrics.")


class Run(BaseModel):
    """A run of the pipeline."""

    run_id: str
    status: str
    started_at: str | None
    duration_s: float | None
    version: str | None
    stages: dict[str, int] = Field(description="Number of stages by status.")
    error: str | None


class _VersionedResponse(BaseModel):
    """The version that a response was read from."""

    dataset: str
    version: str


class UsersResponse(_VersionedResponse):
    """A page of users, ordered by id."""

    users: list[User]
    next: str | None = Field(description="Value of `after` for the next page; null on the last page.")


class UserResponse(_VersionedResponse):
    """A user."""

    user: User


class RecommendationsResponse(_VersionedResponse):
    """A user's recommendations, best first, without tracks that the user heard."""

    user: User
    recommendations: list[RankedTrack]


class NewUserResponse(_VersionedResponse):
    """Recommendations for a new user."""

    method: Literal["fold-in", "similar"] = Field(
        description="`fold-in`: scored by the model's factors; `similar`: by the summed similarity to the given tracks."
    )
    unknown_tracks: list[str] = Field(description="Given ids that are not in the version; they were ignored.")
    recommendations: list[RankedTrack]


class TracksResponse(_VersionedResponse):
    """A page of tracks, those with the most listeners first."""

    tracks: list[Track]
    total: int
    page: int


class TrackResponse(_VersionedResponse):
    """A track."""

    track: Track


class SimilarTracksResponse(_VersionedResponse):
    """The most similar tracks to a track, as learned by the champion."""

    track: Track
    similar: list[RankedTrack]


class VersionsResponse(BaseModel):
    """The published versions, newest first."""

    dataset: str
    pinned: bool = Field(description="Whether a rollback prevents runs from promoting.")
    versions: list[Version]


class MetricsResponse(_VersionedResponse):
    """Every candidate's metrics on the test set."""

    champion: str
    select_by: str
    models: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]]] = Field(
        description="95 % confidence intervals, by bootstrap over users."
    )
    curves: dict[str, dict[str, list[float]]] = Field(
        description="ndcg, recall and precision at list lengths 1, 2, …; empty if the version has none."
    )


class RunsResponse(BaseModel):
    """A page of runs, newest first."""

    dataset: str
    runs: list[Run]
    total: int
    page: int


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: dict[str, Any] = Field(default_factory=dict, description="Messages by invalid field.")
