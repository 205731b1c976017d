"""`/api/v1`: what is published, as JSON. Reads only. Its description is `/api/v1/openapi.json`."""

from __future__ import annotations

from typing import Any, NoReturn

import orjson
from apiflask import APIBlueprint
from apiflask.exceptions import HTTPError
from apiflask.schemas import FileSchema
from flask import Response, abort, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException

from common.redaction import redact
from models.cold_start import recommend_for_new_user
from run_records import reader
from webapp.api import schemas
from webapp.api.csv_export import as_csv
from webapp.serving.request_context import current_version, of_runs, paths
from webapp.serving.version_cache import ServedVersion
from webapp.serving.version_comparison import find
from webapp.serving.version_comparison import versions as read_versions

PREFIX = "/api/v1"
JSON, PROBLEM = "application/json", "application/problem+json"

blueprint = APIBlueprint("api", __name__, url_prefix=PREFIX, tag="Encore")


def answer(here: ServedVersion, **facts: Any) -> Response:
    """An answer that hangs on a version alone. It is not validated again: the tests hold it against its description."""
    return _tagged(Response(written(here, **facts), content_type=JSON), here)


def written(here: ServedVersion, **facts: Any) -> bytes:
    """Some facts of a version, as JSON that says which one."""
    return orjson.dumps({"dataset": here.dataset, "version": here.version, **facts})


def _as_json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), content_type=JSON)


def _tagged(response: Response, here: ServedVersion) -> Response:
    """What depends on a version alone need not be sent again while that is served."""
    response.headers["ETag"] = here.etag
    if "HTTP_IF_NONE_MATCH" in request.environ:
        response.make_conditional(request)
    return response


@blueprint.get("/users")
@blueprint.input(schemas.UsersQuery, location="query")
@blueprint.output(schemas.UsersAnswer)
def users(query_data: schemas.UsersQuery) -> Response:
    """Finds users by the beginning of their id."""
    here, limit = current_version(), query_data.limit
    with here.store() as store:
        found = store.users(query_data.q, limit + 1, query_data.after)
    following = found[limit - 1].user_id if len(found) > limit else None
    return answer(here, users=[schemas.user(each) for each in found[:limit]], next=following)


@blueprint.get("/users/<anytext:user_id>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.UserAnswer)
def user(user_id: str, query_data: schemas.DatasetQuery) -> Response:
    """A user."""
    here = current_version()
    with here.store() as store:
        found = store.user(user_id) or _unknown("user", user_id)
    return answer(here, user=schemas.user(found))


@blueprint.get("/users/<anytext:user_id>/recommendations")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(schemas.RecommendationsAnswer)
def recommendations(user_id: str, query_data: schemas.ListQuery) -> Response:
    """A user's recommendations."""
    here = current_version()
    with here.store() as store:
        found, lines = store.user_with_list(user_id, query_data.k) or _unknown("user", user_id)
    return answer(here, user=schemas.user(found), recommendations=schemas.lines(lines))


@blueprint.get("/users/<anytext:user_id>/recommendations.csv")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(FileSchema(type="string"), content_type="text/csv")
def recommendations_csv(user_id: str, query_data: schemas.ListQuery) -> Response:
    """A user's recommendations as CSV; texts that a spreadsheet would take for a formula begin with an apostrophe."""
    here = current_version()
    with here.store() as store:
        _, lines = store.user_with_list(user_id, query_data.k) or _unknown("user", user_id)
    return _tagged(Response(as_csv(lines), mimetype="text/csv", headers={"Content-Disposition": "attachment"}), here)


@blueprint.post("/recommendations")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.input(schemas.NewUserBody)
@blueprint.output(schemas.NewcomerAnswer)
def newcomer(query_data: schemas.DatasetQuery, json_data: schemas.NewUserBody) -> Response:
    """Recommends something to somebody new, from the tracks that they name."""
    here = current_version(json_data.dataset)
    with here.store() as store:
        try:
            found = recommend_for_new_user(store, json_data.heard, json_data.k)
        except ValueError as error:
            raise _wrong("json", "tracks", str(error)) from error
    by = "fold-in" if found.folded_in else "similar"
    made = {"by": by, "unknown": found.unknown, "recommendations": schemas.lines(found.lines)}
    return Response(written(here, **made), content_type=JSON)


@blueprint.get("/tracks")
@blueprint.input(schemas.TracksQuery, location="query")
@blueprint.output(schemas.TracksAnswer)
def tracks(query_data: schemas.TracksQuery) -> Response:
    """Finds tracks by words of title and artist."""
    here, limit = current_version(), query_data.limit
    with here.store() as store:
        found = store.search_tracks(query_data.q, limit, limit * (query_data.page - 1))
        total = store.count_matches(query_data.q)
    return answer(here, tracks=[schemas.track(each) for each in found], total=total, page=query_data.page)


@blueprint.get("/tracks/<anytext:track_id>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.TrackAnswer)
def track(track_id: str, query_data: schemas.DatasetQuery) -> Response:
    """A track."""
    here = current_version()
    with here.store() as store:
        found = store.track(track_id) or _unknown("track", track_id)
    return answer(here, track=schemas.track(found))


@blueprint.get("/tracks/<anytext:track_id>/similar")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(schemas.SimilarAnswer)
def similar(track_id: str, query_data: schemas.ListQuery) -> Response:
    """The tracks that are most similar to one."""
    here = current_version()
    with here.store() as store:
        found = store.track(track_id) or _unknown("track", track_id)
        lines = store.similar(track_id, query_data.k)
    return answer(here, track=schemas.track(found), similar=schemas.lines(lines))


@blueprint.get("/versions")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.VersionsAnswer)
def versions(query_data: schemas.DatasetQuery) -> Response:
    """The published versions, the newest first."""
    here = current_version()
    made = [schemas.version(each, served=each.name == here.version) for each in read_versions(here.registry)]
    return _as_json({"dataset": here.dataset, "pinned": here.registry.is_pinned(), "versions": made})


@blueprint.get("/versions/<version>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.VersionSchema)
def version(version: str, query_data: schemas.DatasetQuery) -> Response:
    """A published version."""
    here = current_version()
    found = find(here.registry, version) or _unknown("version", version)
    return _as_json(schemas.version(found, served=version == here.version))


@blueprint.get("/metrics")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.MetricsAnswer)
def metrics(query_data: schemas.DatasetQuery) -> Response:
    """Every candidate's metrics, with their intervals, and at every length of list."""
    here = current_version()
    found = {key: here.metrics.get(key, {}) for key in ("models", "intervals", "curves")}
    return answer(here, champion=here.metrics["champion"], select_by=here.metrics.get("select_by", ""), **found)


@blueprint.get("/runs")
@blueprint.input(schemas.RunsQuery, location="query")
@blueprint.output(schemas.RunsAnswer)
def last_runs(query_data: schemas.RunsQuery) -> Response:
    """The last runs, the newest first."""
    name, page = of_runs(), query_data.page
    found, total = reader.page_of_runs(paths().runs(name), page, query_data.limit)
    return _as_json({"dataset": name, "runs": [schemas.run(each) for each in found], "total": total, "page": page})


@blueprint.before_request
def _understood() -> None:
    """Refuses what would be taken for something else: a field that is there twice, a body that is no JSON object."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise _wrong("query", name, "Given more than once")
    if request.method != "POST":
        return
    if not request.is_json:
        abort(415, "The body must be JSON: say Content-Type: application/json.")
    try:
        body = request.get_json()
    except (BadRequest, RecursionError):  # the latter of lists in lists in lists …
        abort(400, "The body is no JSON.")
    if not isinstance(body, dict):
        raise _wrong("json", "_schema", "The body must be a JSON object")


def _wrong(where: str, field: str, says: str) -> HTTPError:
    """As validation would refuse a field."""
    return HTTPError(422, "Validation error", {where: {field: [says]}})


def _unknown(what: str, wanted: str) -> NoReturn:
    abort(404, f"There is no {what} {wanted[: schemas.LONGEST]!r}.")


# -- errors ------------------------------------------------------------------------------------------------------------


def is_asked() -> bool:
    """Whether the request is one to the API."""
    return request.path.startswith("/api/")


def problem(status: int, title: str, detail: str, errors: dict[str, object] | None = None) -> Response:
    """An answer that says what went wrong."""
    said = schemas.ProblemSchema(title=title, status=status, detail=redact(detail), errors=errors or {})
    response = jsonify(said.model_dump())
    response.status_code, response.mimetype = status, PROBLEM
    return response


def described(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
    """The description with what the framework does not know: which problems there are, and when nothing is sent."""
    assert isinstance(spec, dict)
    known = spec["components"]["schemas"]
    for unused in ("HTTPError", "ValidationError"):  # what the framework itself would answer
        known.pop(unused, None)
    known["Problem"] = schemas.ProblemSchema.model_json_schema()
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            for status, said in (_PROBLEMS | _OF_BODIES if method == "post" else _PROBLEMS).items():
                answers[status] = {"description": said, "content": content}
            if method == "post":
                operation["requestBody"]["required"] = True
            elif not path.startswith(_CHANGING):
                answers["200"]["headers"] = {"ETag": _TAG}
                answers["304"] = {"description": "It is what `If-None-Match` names."}
    return spec


_PROBLEMS = {
    "400": "The request cannot be read, or asks a host that is not answered to.",
    "401": "Only who brings the token may read here: `Authorization: Bearer …`.",
    "404": "There is no such thing, or nothing has been published.",
    "422": "A field is wrong: `errors` names it.",
    "429": "Too many wrong tokens came from this address.",
    "500": "Something is broken: the server's log says what, under the id in `detail`.",
    "503": "The served version cannot be read.",
}

_OF_BODIES = {
    "400": "The body is no JSON, or the request cannot be read.",
    "403": "A browser sent this from another site.",
    "413": "The body is larger than 64 kB.",
    "415": "The body is not said to be JSON.",
}

_CHANGING = (f"{PREFIX}/versions", f"{PREFIX}/runs")
"""What does not hang on the served version alone."""

_TAG = {"schema": {"type": "string"}, "description": "Stands for the version that is served."}


def refused(error: HTTPError) -> Response:
    """The answer to what validation refuses: it names each field."""
    found = [field for where in error.detail.values() for field in where.items()] if error.detail else []
    fields = {name[:_SAID]: [each.removeprefix(_PREFIX)[:_SAID] for each in says] for name, says in found[:_MOST_SAID]}
    told = "; ".join(f"{name}: {' '.join(says)}" for name, says in fields.items()) or str(error.message)
    return problem(error.status_code, str(error.message), told[:1_000], dict(fields))


_PREFIX = "Value error, "  # of pydantic's, before a sentence of ours
_SAID, _MOST_SAID = schemas.LONGEST, 20
"""Characters of what is said of a field, and fields, at most: they may be whatever was sent."""


def of_http(error: HTTPException) -> Response:
    """The same of an error of HTTP, with the headers that belong to it: which methods are allowed, for instance."""
    response = problem(error.code or 500, error.name, error.description or "")
    response.headers.extend((name, value) for name, value in error.get_headers() if name not in response.headers)
    return response
