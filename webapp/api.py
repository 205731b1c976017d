"""`/api/v1`: what is published, as JSON. Reads only. Its description is `/api/v1/openapi.json`."""

from __future__ import annotations

from typing import Any, NoReturn

from apiflask import APIBlueprint
from apiflask.exceptions import HTTPError
from flask import Response, abort, g, jsonify, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException

from config import runs
from config.durable import read_json
from config.redaction import redact
from models import registry
from models.newcomer import recommend_to_newcomer
from webapp import schemas
from webapp.choosing import chosen, paths
from webapp.reading import Published

PREFIX = "/api/v1"
PROBLEM = "application/problem+json"

blueprint = APIBlueprint("api", __name__, url_prefix=PREFIX, tag="Encore")


def shown(dataset: str | None = None) -> Published:
    """What the request is about: the version that is served, of a dataset that is named in the query, or here."""
    found = chosen(dataset)
    if found is None:
        abort(404, "Nothing has been published yet.")
    return found


def served() -> Published:
    """The same, for an answer that depends on nothing but that version: see `_tag`."""
    found = shown()
    g.etag = f"{found.dataset}-{found.version}"
    return found


@blueprint.get("/users")
@blueprint.input(schemas.UsersQuery, location="query")
@blueprint.output(schemas.UsersAnswer)
def users(query_data: schemas.UsersQuery) -> BaseModel:
    """Finds users by the beginning of their id."""
    here = served()
    with here.store() as store:
        found = store.users(query_data.q, query_data.limit + 1, query_data.after)
    there, more = found[: query_data.limit], len(found) > query_data.limit
    return schemas.UsersAnswer(
        dataset=here.dataset, version=here.version, users=[schemas.User.of(user) for user in there],
        next=there[-1].user_id if more else None,
    )  # fmt: skip


@blueprint.get("/users/<anytext:user_id>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.UserAnswer)
def user(user_id: str, query_data: schemas.DatasetQuery) -> BaseModel:
    """A user."""
    here = served()
    with here.store() as store:
        found = store.user(user_id) or _unknown("user", user_id)
    return schemas.UserAnswer(dataset=here.dataset, version=here.version, user=schemas.User.of(found))


@blueprint.get("/users/<anytext:user_id>/recommendations")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(schemas.RecommendationsAnswer)
def recommendations(user_id: str, query_data: schemas.ListQuery) -> BaseModel:
    """A user's recommendations."""
    here = served()
    with here.store() as store:
        found = store.user(user_id) or _unknown("user", user_id)
        lines = store.recommendations(user_id, query_data.k)
    return schemas.RecommendationsAnswer.model_construct(
        dataset=here.dataset, version=here.version, user=schemas.User.of(found),
        recommendations=schemas.Line.all(lines),
    )  # fmt: skip


@blueprint.post("/recommendations")
@blueprint.input(schemas.Newcomer)
@blueprint.output(schemas.NewcomerAnswer)
def newcomer(json_data: schemas.Newcomer) -> BaseModel:
    """Recommends something to somebody new, from the tracks that they name."""
    here = shown(json_data.dataset)
    with here.store() as store:
        try:
            found = recommend_to_newcomer(store, json_data.heard, json_data.k)
        except ValueError as error:
            raise HTTPError(422, "Validation error", {"json": {"tracks": [str(error)]}}) from error
    return schemas.NewcomerAnswer.model_construct(
        dataset=here.dataset, version=here.version, by="fold-in" if found.folded_in else "similar",
        unknown=found.unknown, recommendations=schemas.Line.all(found.lines),
    )  # fmt: skip


@blueprint.get("/tracks")
@blueprint.input(schemas.TracksQuery, location="query")
@blueprint.output(schemas.TracksAnswer)
def tracks(query_data: schemas.TracksQuery) -> BaseModel:
    """Finds tracks by words of title and artist."""
    here, limit = served(), query_data.limit
    with here.store() as store:
        found = store.find_tracks(query_data.q, limit, limit * (query_data.page - 1))
        total = store.count_tracks(query_data.q)
    return schemas.TracksAnswer(
        dataset=here.dataset, version=here.version, tracks=[schemas.Track.of(track) for track in found], total=total,
        page=query_data.page,
    )  # fmt: skip


@blueprint.get("/tracks/<anytext:track_id>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.TrackAnswer)
def track(track_id: str, query_data: schemas.DatasetQuery) -> BaseModel:
    """A track."""
    here = served()
    with here.store() as store:
        found = store.track(track_id) or _unknown("track", track_id)
    return schemas.TrackAnswer(dataset=here.dataset, version=here.version, track=schemas.Track.of(found))


@blueprint.get("/tracks/<anytext:track_id>/similar")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(schemas.SimilarAnswer)
def similar(track_id: str, query_data: schemas.ListQuery) -> BaseModel:
    """The tracks that are most similar to one."""
    here = served()
    with here.store() as store:
        found = store.track(track_id) or _unknown("track", track_id)
        lines = store.similar(track_id, query_data.k)
    return schemas.SimilarAnswer.model_construct(
        dataset=here.dataset, version=here.version, track=schemas.Track.of(found), similar=schemas.Line.all(lines)
    )


@blueprint.get("/versions")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.VersionsAnswer)
def versions(query_data: schemas.DatasetQuery) -> BaseModel:
    """The published versions."""
    here = shown()
    root = here.directory.parent
    found = [_version(here, name) for name in registry.versions(root)]
    found.sort(key=lambda version: -version.sequence)
    return schemas.VersionsAnswer(dataset=here.dataset, pinned=here.pinned, versions=found)


@blueprint.get("/versions/<version>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.Version)
def version(version: str, query_data: schemas.DatasetQuery) -> BaseModel:
    """A published version."""
    here = shown()
    if version not in registry.versions(here.directory.parent):
        _unknown("version", version)
    return _version(here, version)


@blueprint.get("/metrics")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.MetricsAnswer)
def metrics(query_data: schemas.DatasetQuery) -> BaseModel:
    """Every candidate's metrics."""
    here = served()
    found = {key: here.metrics.get(key, {}) for key in ("models", "intervals")}
    return schemas.MetricsAnswer(
        dataset=here.dataset, version=here.version, champion=here.metrics["champion"],
        select_by=here.metrics.get("select_by", ""), **found,
    )  # fmt: skip


@blueprint.get("/runs")
@blueprint.input(schemas.RunsQuery, location="query")
@blueprint.output(schemas.RunsAnswer)
def last_runs(query_data: schemas.RunsQuery) -> BaseModel:
    """The last runs."""
    here = shown()
    found = [
        schemas.Run(
            run=run.run, status=run.status, started=run.started, duration_s=run.duration_s, version=run.version,
            stages=dict(run.stages), error=None if run.error is None else redact(run.error),
        )
        for run in runs.last_runs(paths().runs(here.dataset), query_data.limit)
    ]  # fmt: skip
    return schemas.RunsAnswer(dataset=here.dataset, runs=found)


@blueprint.before_request
def _only_json() -> None:
    if request.method == "POST" and not request.is_json:
        abort(415, "The body must be JSON: say Content-Type: application/json.")


@blueprint.after_request
def _tag(response: Response) -> Response:
    """What depends on the served version alone need not be sent again while that is served."""
    if response.status_code == 200 and "etag" in g:
        response.set_etag(g.etag)
        response.make_conditional(request)
    return response


def _version(here: Published, name: str) -> schemas.Version:
    directory = here.directory.parent / name
    manifest, measured = registry.manifest(directory), read_json(directory / "metrics.json")
    return schemas.Version(
        version=name, sequence=manifest["sequence"], created_at=manifest["created_at"], served=name == here.version,
        champion=measured["champion"], counts=manifest["counts"], metrics=measured["models"][measured["champion"]],
    )  # fmt: skip


def _unknown(what: str, wanted: str) -> NoReturn:
    abort(404, f"There is no {what} {wanted[: schemas.LONGEST]!r}.")


# -- errors ------------------------------------------------------------------------------------------------------------


def is_asked() -> bool:
    """Whether the request is one to the API."""
    return request.path.startswith("/api/")


def problem(status: int, title: str, detail: str, errors: dict[str, object] | None = None) -> Response:
    """An answer that says what went wrong."""
    said = schemas.Problem(title=title, status=status, detail=redact(detail), errors=errors or {})
    response = jsonify(said.model_dump())
    response.status_code, response.mimetype = status, PROBLEM
    return response


def described(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
    """The description with what every operation may answer besides: problems."""
    assert isinstance(spec, dict)
    spec["components"]["schemas"]["Problem"] = schemas.Problem.model_json_schema()
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in spec["paths"].values():
        for operation in operations.values():
            for status, said in _PROBLEMS.items():
                operation["responses"][status] = {"description": said, "content": content}
    return spec


_PROBLEMS = {
    "404": "There is no such thing, or nothing has been published.",
    "422": "A field of the query is wrong: `errors` names it.",
    "503": "The served version cannot be read.",
}


def refused(error: HTTPError) -> Response:
    """The answer to what validation refuses: it names each field."""
    fields = {name: says for where in error.detail.values() for name, says in where.items()} if error.detail else {}
    told = "; ".join(f"{name}: {' '.join(says)}" for name, says in fields.items()) or str(error.message)
    return problem(error.status_code, str(error.message), told[:1_000], fields)


def of_http(error: HTTPException) -> Response:
    """The same of an error of HTTP."""
    return problem(error.code or 500, error.name, error.description or "")
