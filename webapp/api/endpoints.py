"""`/api/v1`: published versions and run records as JSON, read-only. Described at `/api/v1/openapi.json`."""

from __future__ import annotations

from typing import Any

import orjson
from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response, abort, request
from werkzeug.exceptions import BadRequest

from models.cold_start import recommend_for_new_user
from run_records import reader
from webapp.api import schemas, serializers
from webapp.api.csv_export import write_csv
from webapp.api.openapi import PREFIX
from webapp.api.problems import invalid_field, not_found
from webapp.serving.published_versions import find_version, read_versions
from webapp.serving.request_context import current_version, paths, runs_dataset
from webapp.serving.served_version import ServedVersion
from webapp.serving.track_json import track_json

JSON = "application/json"

blueprint = APIBlueprint("api", __name__, url_prefix=PREFIX, tag="Encore")


# -- users -------------------------------------------------------------------------------------------------------------


@blueprint.get("/users")
@blueprint.input(schemas.UsersQuery, location="query")
@blueprint.output(schemas.UsersResponse)
def users(query_data: schemas.UsersQuery) -> Response:
    """Find users by a prefix of their id."""
    served, limit = current_version(), query_data.limit
    with served.store() as store:
        matches = store.users(query_data.q, limit + 1, query_data.after)
    following = matches[limit - 1].user_id if len(matches) > limit else None
    return _versioned(served, users=[serializers.user(user) for user in matches[:limit]], next=following)


@blueprint.get("/users/<anytext:user_id>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.UserResponse)
def user(user_id: str, query_data: schemas.DatasetQuery) -> Response:
    """Get a user."""
    served = current_version()
    with served.store() as store:
        stored = store.user(user_id) or not_found("user", user_id)
    return _versioned(served, user=serializers.user(stored))


@blueprint.get("/users/<anytext:user_id>/recommendations")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(schemas.RecommendationsResponse)
def recommendations(user_id: str, query_data: schemas.ListQuery) -> Response:
    """Get a user's recommendations."""
    served = current_version()
    with served.store() as store:
        stored, lines = store.user_with_list(user_id, query_data.k) or not_found("user", user_id)
    return _versioned(served, user=serializers.user(stored), recommendations=serializers.ranked_tracks(lines))


@blueprint.get("/users/<anytext:user_id>/recommendations.csv")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(FileSchema(type="string"), content_type="text/csv")
def recommendations_csv(user_id: str, query_data: schemas.ListQuery) -> Response:
    """Get a user's recommendations as CSV; an apostrophe precedes text that a spreadsheet would run as a formula."""
    served = current_version()
    with served.store() as store:
        _, lines = store.user_with_list(user_id, query_data.k) or not_found("user", user_id)
    headers = {"Content-Disposition": "attachment"}
    return _with_etag(Response(write_csv(lines), mimetype="text/csv", headers=headers), served)


@blueprint.post("/recommendations")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.input(schemas.NewUserBody)
@blueprint.output(schemas.NewUserResponse)
def new_user_recommendations(query_data: schemas.DatasetQuery, json_data: schemas.NewUserBody) -> Response:
    """Recommend tracks to a new user from the tracks that they heard."""
    served = current_version(json_data.dataset)
    with served.store() as store:
        try:
            result = recommend_for_new_user(store, json_data.weights_by_track, json_data.k)
        except ValueError as error:
            raise invalid_field("json", "tracks", str(error)) from error
    content = {
        "method": "fold-in" if result.folded_in else "similar",
        "unknown_tracks": result.unknown,
        "recommendations": serializers.ranked_tracks(result.lines),
    }
    return Response(_versioned_json(served, **content), content_type=JSON)


# -- tracks ------------------------------------------------------------------------------------------------------------


@blueprint.get("/tracks")
@blueprint.input(schemas.TracksQuery, location="query")
@blueprint.output(schemas.TracksResponse)
def tracks(query_data: schemas.TracksQuery) -> Response:
    """Search tracks by words of title and artist."""
    served, limit = current_version(), query_data.limit
    with served.store() as store:
        matches = store.search_tracks(query_data.q, limit, limit * (query_data.page - 1))
        total = store.count_matches(query_data.q)
    return _versioned(served, tracks=[track_json(track) for track in matches], total=total, page=query_data.page)


@blueprint.get("/tracks/<anytext:track_id>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.TrackResponse)
def track(track_id: str, query_data: schemas.DatasetQuery) -> Response:
    """Get a track."""
    served = current_version()
    with served.store() as store:
        stored = store.track(track_id) or not_found("track", track_id)
    return _versioned(served, track=track_json(stored))


@blueprint.get("/tracks/<anytext:track_id>/similar")
@blueprint.input(schemas.ListQuery, location="query")
@blueprint.output(schemas.SimilarTracksResponse)
def similar_tracks(track_id: str, query_data: schemas.ListQuery) -> Response:
    """Get the most similar tracks to a track."""
    served = current_version()
    with served.store() as store:
        stored = store.track(track_id) or not_found("track", track_id)
        lines = store.similar(track_id, query_data.k)
    return _versioned(served, track=track_json(stored), similar=serializers.ranked_tracks(lines))


# -- versions and runs -------------------------------------------------------------------------------------------------


@blueprint.get("/versions")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.VersionsResponse)
def versions(query_data: schemas.DatasetQuery) -> Response:
    """List the published versions, newest first."""
    served = current_version()
    published = [
        serializers.version(version, served=version.name == served.version)
        for version in read_versions(served.registry)
    ]
    return _json({"dataset": served.dataset, "pinned": served.registry.is_pinned(), "versions": published})


@blueprint.get("/versions/<version>")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.Version)
def version(version: str, query_data: schemas.DatasetQuery) -> Response:
    """Get a published version."""
    served = current_version()
    published = find_version(served.registry, version) or not_found("version", version)
    return _json(serializers.version(published, served=version == served.version))


@blueprint.get("/metrics")
@blueprint.input(schemas.DatasetQuery, location="query")
@blueprint.output(schemas.MetricsResponse)
def metrics(query_data: schemas.DatasetQuery) -> Response:
    """Get every candidate's metrics, their confidence intervals, and the metrics by list length."""
    served = current_version()
    content = {key: served.metrics.get(key, {}) for key in ("models", "intervals", "curves")}
    return _versioned(
        served, champion=served.metrics["champion"], select_by=served.metrics.get("select_by", ""), **content
    )


@blueprint.get("/runs")
@blueprint.input(schemas.RunsQuery, location="query")
@blueprint.output(schemas.RunsResponse)
def runs(query_data: schemas.RunsQuery) -> Response:
    """List the runs, newest first."""
    dataset, page = runs_dataset(), query_data.page
    recorded, total = reader.page_of_runs(paths().runs(dataset), page, query_data.limit)
    return _json({"dataset": dataset, "runs": [serializers.run(run) for run in recorded], "total": total, "page": page})


# -- requests and responses --------------------------------------------------------------------------------------------


@blueprint.before_request
def _check_request() -> None:
    """Reject a repeated query field and a body that is not a JSON object, which validation would accept in part."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise invalid_field("query", name, "Given more than once")
    if request.method != "POST":
        return
    if not request.is_json:
        abort(415, "The body must be JSON: set Content-Type: application/json.")
    try:
        body = request.get_json()
    except (BadRequest, RecursionError):  # RecursionError: deeply nested lists
        abort(400, "The body is not valid JSON.")
    if not isinstance(body, dict):
        raise invalid_field("json", "_schema", "The body must be a JSON object")


def _versioned(served: ServedVersion, **content: Any) -> Response:
    """Return a response that depends on the served version alone. Not validated: the tests compare it to its schema."""
    return _with_etag(Response(_versioned_json(served, **content), content_type=JSON), served)


def _versioned_json(served: ServedVersion, **content: Any) -> bytes:
    return orjson.dumps({"dataset": served.dataset, "version": served.version, **content})


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), content_type=JSON)


def _with_etag(response: Response, served: ServedVersion) -> Response:
    """Add the version's `ETag`; answer 304 if the client has that version's response already."""
    response.headers["ETag"] = served.etag
    if "HTTP_IF_NONE_MATCH" in request.environ:
        response.make_conditional(request)
    return response
