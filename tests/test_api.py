"""The API: responses, refusals and the OpenAPI description."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from pydantic import BaseModel
from support.published import CURVES, HOSTILE, TRACKS, USERS, publish, record, stage, started

from models.registry import VersionRegistry
from models.serving_store import FILE
from webapp.api import schemas

PLAIN = {"track_id": "plain", "title": "Plain song", "artist": "Somebody", "genre": "folk", "listeners": 9}


def ask(client: FlaskClient, path: str, **query: Any) -> Any:
    """Return the JSON of a successful response."""
    answer = client.get(f"/api/v1/{path}", query_string=query)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    return answer.json


def refusal(client: FlaskClient, status: int, path: str, **query: Any) -> Any:
    """Return the problem document of a failed response."""
    answer = client.get(f"/api/v1/{path}", query_string=query)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.json is not None
    assert answer.json["status"] == status
    return answer.json


class TestUsers:
    def test_recommendations_have_titles_scores_and_explanations(self, client: FlaskClient) -> None:
        response = ask(client, "users/u1/recommendations")
        assert response["user"] == {"user_id": "u1", "age": None, "country": "NO", "tracks_heard": 1, "tier": "content"}
        assert (response["dataset"], response["version"]) == ("tiny", "v1")
        first, second = response["recommendations"]
        assert (first["rank"], first["track"]["track_id"], first["score"]) == (1, "untitled", 0.75)
        assert first["because"] == [PLAIN]
        assert second["track"]["title"] == HOSTILE
        assert second["because"] == []
        assert len(ask(client, "users/u1/recommendations", k=1)["recommendations"]) == 1

    @pytest.mark.parametrize(
        "user", [user for user in USERS if user != ".."]
    )  # clients resolve it before they send the request
    def test_finds_user_with_odd_id(self, client: FlaskClient, user: str) -> None:
        assert ask(client, f"users/{quote(user, safe='')}")["user"]["user_id"] == user

    def test_users_are_paginated(self, client: FlaskClient) -> None:
        user_ids, after = [], ""
        while True:
            page = ask(client, "users", limit=5, after=after)
            user_ids += [user["user_id"] for user in page["users"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert user_ids == USERS
        assert [user["user_id"] for user in ask(client, "users", q="u1")["users"]] == ["u1", "u10"]


class TestTracks:
    def test_track_and_similar_tracks(self, client: FlaskClient) -> None:
        assert ask(client, "tracks/plain")["track"] == PLAIN
        (line,) = ask(client, "tracks/plain/similar")["similar"]
        assert (line["rank"], line["track"]["track_id"], line["score"]) == (1, "hostile", 0.875)
        assert ask(client, "tracks/hostile/similar")["similar"] == []

    def test_track_search_is_paginated(self, client: FlaskClient) -> None:
        pages = [ask(client, "tracks", q="somebody", limit=1, page=page) for page in (1, 2, 3)]
        assert [[track["track_id"] for track in page["tracks"]] for page in pages] == [["plain"], ["hostile"], []]
        assert [page["total"] for page in pages] == [2, 2, 2]
        assert ask(client, "tracks")["total"] == len(TRACKS)


class TestNewUsers:
    """Recommendations for new users."""

    def test_dataset_in_query(self, client: FlaskClient) -> None:
        path = "/api/v1/recommendations?dataset={}"
        assert client.post(path.format("tiny"), json={"tracks": ["plain"]}).status_code == 200
        assert client.post(path.format("gone"), json={"tracks": ["plain"]}).status_code == 404

    def test_sums_similarities_without_factors(self, client: FlaskClient) -> None:
        answer = client.post("/api/v1/recommendations", json={"tracks": ["plain", "gone"]})
        assert answer.json is not None
        assert (answer.status_code, answer.json["method"], answer.json["unknown_tracks"]) == (200, "similar", ["gone"])
        (line,) = answer.json["recommendations"]
        assert (line["track"]["track_id"], line["score"]) == ("hostile", 0.875)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"tracks": []}, "tracks"), ({"tracks": ["gone"]}, "tracks"), ({}, "tracks"),
            ({"tracks": "plain"}, "tracks"), ({"tracks": ["plain"], "k": 0}, "k"),
            ({"tracks": ["plain"], "colour": 1}, "colour"),
            ({"tracks": ["plain"], "weights": [1, 2]}, "weights"), ({"tracks": ["plain"] * 101}, "tracks"),
            ({"tracks": ["plain"], "weights": [-1]}, "weights.0"), ([1], "_schema"),
        ],
    )  # fmt: skip
    def test_refuses_invalid_field(self, client: FlaskClient, body: Any, field: str) -> None:
        answer = client.post("/api/v1/recommendations", json=body)
        assert answer.json is not None
        assert (answer.status_code, list(answer.json["errors"])) == (422, [field])

    @pytest.mark.parametrize(
        ("data", "kind", "status"),
        [
            ("{", "application/json", 400), ("tracks=plain", "application/x-www-form-urlencoded", 415),
            ('{"tracks": ["' + "x" * 70_000 + '"]}', "application/json", 413), ("", "application/json", 400),
            ('{"tracks": ["plain"], "weights": [NaN]}', "application/json", 422),
        ],
    )  # fmt: skip
    def test_refuses_body_that_is_not_json(self, client: FlaskClient, data: str, kind: str, status: int) -> None:
        answer = client.post("/api/v1/recommendations", data=data, content_type=kind)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


class TestVersionsAndRuns:
    def test_versions_name_the_served_one(
        self,
        roots: tuple[Path, Path],
        client: FlaskClient,
    ) -> None:
        publish(roots[0], version="v2")
        response = ask(client, "versions")
        assert [(version["version"], version["served"]) for version in response["versions"]] == [
            ("v2", True),
            ("v1", False),
        ]
        assert ask(client, "versions/v1")["champion"] == "als"
        assert ask(client, "metrics")["models"]["als"]["ndcg@10"] == 0.25

    def test_metrics_have_curves_if_measured(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        assert ask(client, "metrics")["curves"] == {}
        publish(roots[0], version="v2", metrics={"curves": CURVES})
        assert ask(client, "metrics")["curves"] == CURVES

    def test_runs_have_stages_and_error(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        record(roots[1], "r1", {"event": "run_started", "run": "r1", "dataset": "tiny", "at": "2026-11-24T10:00:00Z"},
               stage("Split", "failed", "It is broken."))  # fmt: skip
        (run,) = ask(client, "runs")["runs"]
        assert run["stages"] == {"failed": 1}
        assert "It is broken." in run["error"]

    def test_runs_are_paginated(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        for name in ("r1", "r2", "r3"):
            record(roots[1], name, started("2026-11-24T10:00:00Z"))
        pages = [ask(client, "runs", limit=2, page=page) for page in (1, 2, 3)]
        assert [[run["run_id"] for run in page["runs"]] for page in pages] == [["r3", "r2"], ["r1"], []]
        assert [page["total"] for page in pages] == [3, 3, 3]

    def test_runs_of_dataset_without_versions(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        record(roots[1], "r9", stage("Ingest", "failed", "No such column."), dataset="new")
        (run,) = ask(client, "runs", dataset="new")["runs"]
        assert "No such column." in run["error"]
        page = client.get("/runs?dataset=new").text
        assert "1 run of new" in page and "No such column." in page
        assert client.get("/runs?dataset=gone").status_code == 404
        assert 'href="/runs?dataset=new"' in client.get("/runs/r9").text

    def test_a_promotion_takes_effect_at_the_next_request(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        publish(roots[0], version="v2")
        for before, version in itertools.pairwise(["v2", "v1", "v2"]):
            VersionRegistry(roots[0] / "tiny").promote(version, expected=before, by="user")
            assert ask(client, "users/u1/recommendations")["version"] == version

    def test_requests_are_counted_by_endpoint(self, client: FlaskClient) -> None:
        for _ in range(3):
            client.get("/api/v1/users/u1/recommendations")
        counted = 'encore_requests_total{endpoint="api.recommendations",status="200"} 3.0'
        assert counted in client.get("/metrics").text

    def test_etag_gives_304(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        tag = client.get("/api/v1/users/u1").headers["ETag"]
        again = client.get("/api/v1/users/u1", headers={"If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")
        publish(roots[0], version="v2")
        assert client.get("/api/v1/users/u1", headers={"If-None-Match": tag}).status_code == 200
        assert "ETag" not in client.get("/api/v1/runs").headers


class TestRefusals:
    @pytest.mark.parametrize("k", ["0", "-1", str(10**9), "abc", "1.5", ""])
    def test_refuses_invalid_k(self, client: FlaskClient, k: str) -> None:
        document = refusal(client, 422, "users/u1/recommendations", k=k)
        assert list(document["errors"]) == ["k"]
        assert document["detail"].startswith("k: ")

    def test_refuses_unknown_field(self, client: FlaskClient) -> None:
        assert list(refusal(client, 422, "users", colour="red")["errors"]) == ["colour"]

    @pytest.mark.parametrize("object_id", ["nobody", "a\0b", "x" * 10_000, "'; DROP TABLE users", "🎧"])
    def test_unknown_object_is_404(self, client: FlaskClient, object_id: str) -> None:
        for path in ("users/{}", "users/{}/recommendations", "tracks/{}", "tracks/{}/similar", "versions/{}"):
            assert len(refusal(client, 404, path.format(quote(object_id, safe="")))["detail"]) < 600
        assert refusal(client, 404, "nothing")
        assert refusal(client, 404, "users", dataset="../tiny")["detail"].startswith("There is no dataset '../tiny'.")

    def test_refuses_post(self, client: FlaskClient) -> None:
        answer = client.post("/api/v1/users")
        assert (answer.status_code, answer.mimetype) == (405, "application/problem+json")

    def test_nothing_published(self, bare: FlaskClient) -> None:
        assert refusal(bare, 404, "users")["detail"] == "Nothing has been published yet."

    def test_damaged_version_is_503(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        (roots[0] / "tiny" / "v1" / FILE).write_bytes(b"damaged")
        assert "cannot be read" in refusal(client, 503, "users/u1")["detail"]


class TestDescription:
    def test_description_covers_all_routes(self, client: FlaskClient) -> None:
        spec = client.get("/api/v1/openapi.json").json
        assert spec is not None
        assert spec["openapi"].startswith("3.1")
        rules = {rule.rule for rule in client.application.url_map.iter_rules() if rule.endpoint.startswith("api.")}
        assert len(spec["paths"]) == len(rules) == 12
        for operations in spec["paths"].values():
            (operation,) = operations.values()
            assert {"200", "400", "401", "404", "422", "503"} <= operation["responses"].keys()
        assert {"403", "413", "415"} <= spec["paths"]["/api/v1/recommendations"]["post"]["responses"].keys()

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("users", schemas.UsersResponse), ("users/u1", schemas.UserResponse),
            ("tracks/plain", schemas.TrackResponse),
            ("users/u1/recommendations", schemas.RecommendationsResponse), ("tracks", schemas.TracksResponse),
            ("tracks/plain/similar", schemas.SimilarTracksResponse), ("versions", schemas.VersionsResponse),
            ("versions/v1", schemas.Version), ("metrics", schemas.MetricsResponse), ("runs", schemas.RunsResponse),
        ],
    )  # fmt: skip
    def test_responses_match_their_schemas(self, client: FlaskClient, path: str, kind: type[BaseModel]) -> None:
        kind.model_validate(ask(client, path), strict=False, extra="forbid")

    def test_reference_page_shows_every_operation(self, client: FlaskClient) -> None:
        page = client.get("/api").text
        assert page.count("<code>GET /api/v1/") == 11
        assert "<code>POST /api/v1/recommendations</code>" in page
        assert "From 1 to 1,000." in page
        assert "Track ids; a repeated id counts once. From 1 to 100." in page
        assert "unknown_tracks, recommendations (rank, track, score, because)." in page
        assert "A field is invalid" in page
