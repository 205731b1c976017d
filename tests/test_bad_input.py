"""Invalid requests to the API and the pages get a 4xx response that names the error, never a 5xx."""

from __future__ import annotations

import http.client
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from support.published import ODD_IDS, TOKEN, publish
from werkzeug.test import TestResponse

from webapp import create_app

PROBLEM = "application/problem+json"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LONG = "x" * 10_000
ODD_DATASETS = ["", ".", "..", "../tiny", "tiny/", "TINY", "tiny\0", "'", "🎧", LONG]


def short_id(value: object) -> str:
    """Return the id of a parametrized case."""
    return repr(value)[:40]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of an application with one published version. Tests must not change it."""
    root = tmp_path_factory.mktemp("site")
    publish(root / "models")
    return create_app(
        root / "models", root / "data", {"TESTING": True, "TOKEN": TOKEN, "ALLOW_RUNS": True}
    ).test_client()


@pytest.fixture(autouse=True)
def _no_errors_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that logs an error."""
    yield
    assert [entry.getMessage() for entry in caplog.get_records("call") if entry.levelno >= logging.ERROR] == []


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """Return the problem document of a failed API response."""
    assert (answer.status_code, answer.mimetype) == (status, PROBLEM)
    assert answer.json is not None
    assert answer.json["status"] == status
    assert len(answer.data) < 5_000
    return answer.json


def page(answer: TestResponse, status: int) -> str:
    """Return the HTML of an error page."""
    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert 'class="message"' in answer.text
    assert len(answer.data) < 5_000
    return answer.text


class TestApiQueries:
    @pytest.mark.parametrize(
        ("path", "field"),
        [
            ("users/u1/recommendations?k=1&k=1", "k"), ("users/u1/recommendations?k=%2B5", "k"),
            ("users/u1/recommendations?k=1_0", "k"), ("users/u1/recommendations?k=%205", "k"),
            ("users/u1/recommendations?k=1.0", "k"), ("users/u1/recommendations?k=%D9%A1", "k"),
            (f"users/u1/recommendations?k={'9' * 5_000}", "k"), ("users/u1/recommendations.csv?k=0", "k"),
            ("tracks/plain/similar?k=1001", "k"), ("users?limit=101", "limit"), ("runs?limit=0", "limit"),
            ("tracks?page=100001", "page"), (f"tracks?q={LONG}", "q"), (f"users?after={LONG}", "after"),
            ("users?dataset=tiny&dataset=tiny", "dataset"), ("versions?v=v1", "v"), ("metrics?%FF=1", "%FF"),
            ("versions/v1?=1", "_schema"), (f"runs?{LONG}=1", "x" * 500),
        ],
        ids=short_id,
    )  # fmt: skip
    def test_names_invalid_field(self, site: FlaskClient, path: str, field: str) -> None:
        assert list(problem(site.get(f"/api/v1/{path}"), 422)["errors"]) == [field]

    @pytest.mark.parametrize("name", ODD_DATASETS, ids=short_id)
    def test_names_unknown_dataset(self, site: FlaskClient, name: str) -> None:
        refusal = problem(site.get("/api/v1/users", query_string={"dataset": name}), 404)
        assert refusal["detail"].startswith(f"There is no dataset {name[:500]!r}")
        body = {"tracks": ["plain"], "dataset": name}
        assert problem(site.post("/api/v1/recommendations", json=body), 404)["detail"] == refusal["detail"]

    @pytest.mark.parametrize(
        "object_id", ["%FF", "..%2F..%2Fetc%2Fpasswd", "%2E%2E", "%22%27%60", "u1%00", "u1%2F", "u1 "], ids=short_id
    )
    def test_unknown_id_is_404(self, site: FlaskClient, object_id: str) -> None:
        for path in ("users/{}", "users/{}/recommendations.csv", "tracks/{}/similar", "versions/{}"):
            if object_id == "%2E%2E" and path.startswith("users"):
                continue  # a user has this id
            problem(site.get(f"/api/v1/{path.format(object_id)}"), 404)

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
    def test_unsupported_method_is_405_with_allow_header(self, site: FlaskClient, method: str) -> None:
        answer = site.open("/api/v1/users/u1", method=method)
        problem(answer, 405)
        assert set(answer.allow) == {"GET", "HEAD", "OPTIONS"}

    def test_refuses_untrusted_host(self, site: FlaskClient) -> None:
        for path in ("/api/v1/users", "/api/v1/nothing"):
            assert "host" in problem(site.get(path, headers={"Host": "evil.example"}), 400)["detail"]


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            (b"null", 422, "_schema"), (b"1", 422, "_schema"), (b'"plain"', 422, "_schema"), (b"{}", 422, "tracks"),
            (b'{"tracks": null}', 422, "tracks"), (b'{"tracks": [1]}', 422, "tracks.0"),
            (b'{"tracks": ["plain", ["plain"]]}', 422, "tracks.1"), (b'{"tracks": {"0": "plain"}}', 422, "tracks"),
            (b'{"tracks": ["plain", "\\ud800"]}', 422, "tracks.1"), (b'{"tracks": ["\\u0000", "%00"]}', 422, "tracks"),
            (b'{"tracks": ["plain"], "k": true}', 422, "k"), (b'{"tracks": ["plain"], "k": "3"}', 422, "k"),
            (b'{"tracks": ["plain"], "k": 1.5}', 422, "k"), (b'{"tracks": ["plain"], "k": NaN}', 422, "k"),
            (b'{"tracks": ["plain"], "k": null}', 422, "k"), (b'{"tracks": ["plain"], "k": 1e400}', 422, "k"),
            (b'{"tracks": ["plain"], "weights": [true]}', 422, "weights.0"),
            (b'{"tracks": ["plain"], "weights": ["2"]}', 422, "weights.0"),
            (b'{"tracks": ["plain"], "weights": [0]}', 422, "weights.0"),
            (b'{"tracks": ["plain"], "weights": [-Infinity]}', 422, "weights.0"),
            (b'{"tracks": ["plain"], "weights": [1e999]}', 422, "weights.0"),
            (b'{"tracks": ["plain"], "weights": [1' + b"0" * 400 + b"]}", 422, "weights.0"),
            (b'{"tracks": ["plain"], "weights": 1}', 422, "weights"),
            (b'{"tracks": ["plain"], "weights": []}', 422, "weights"),
            (b'{"tracks": ["plain", "plain"], "weights": [1]}', 422, "weights"),
            (b'{"tracks": ["plain"], "dataset": 1}', 422, "dataset"),
            (b'{"tracks": ["plain"], "' + b"x" * 60_000 + b'": 1}', 422, "x" * 500),
            (b'{"tracks": ["' + b"x" * 60_000 + b'"]}', 422, "tracks"), (b"{", 400, None), (b"\xff", 400, None),
            (b'{"tracks": ["\xff"]}', 400, None), (b"[" * 60_000, 400, None), (b'{"a":' * 10_000, 400, None),
            (b'{"k": ' + b"1" * 5_000 + b"}", 400, None), (b"tracks=plain", 400, None),
        ],
        ids=short_id,
    )  # fmt: skip
    def test_names_invalid_field(self, site: FlaskClient, body: bytes, status: int, field: str | None) -> None:
        refusal = problem(site.post("/api/v1/recommendations", data=body, content_type="application/json"), status)
        assert list(refusal["errors"]) == ([field] if field else [])
        assert "Value error" not in refusal["detail"]
        if not field:
            assert "JSON" in refusal["detail"]

    def test_refuses_body_field_in_query_string(self, site: FlaskClient) -> None:
        answer = site.post("/api/v1/recommendations?k=3", json={"tracks": ["plain"]})
        assert list(problem(answer, 422)["errors"]) == ["k"]

    @pytest.mark.parametrize(
        "kind", ["", "text/plain", "text/json", "multipart/form-data", "application/json-seq", "\0"], ids=short_id
    )
    def test_refuses_other_content_types(self, site: FlaskClient, kind: str) -> None:
        answer = site.post("/api/v1/recommendations", data='{"tracks": ["plain"]}', headers={"Content-Type": kind})
        assert "application/json" in problem(answer, 415)["detail"]

    def test_accepts_unusual_valid_bodies(self, site: FlaskClient) -> None:
        expected = site.post("/api/v1/recommendations", json={"tracks": ["plain"]}).json
        for body in (
            {"tracks": ["plain", "plain"]}, {"tracks": ["plain"], "k": 3.0}, {"tracks": ["plain"], "weights": None},
            {"tracks": ["plain"], "weights": [1e308]}, {"tracks": ["plain"], "weights": [5e-324], "dataset": "tiny"},
        ):  # fmt: skip
            assert site.post("/api/v1/recommendations", json=body).json == expected
        many = {"tracks": ["plain", *(f"gone {n}" for n in range(99))]}
        assert site.post("/api/v1/recommendations", json=many).json == expected | {"unknown_tracks": many["tracks"][1:]}


class TestPages:
    @pytest.mark.parametrize(
        ("path", "status", "message"),
        [
            ("/users/u1?k=1&k=1", 400, "k is given 2 times"), ("/users/u1?heard=1.5", 400, "heard = "),
            ("/users/u1?k=%D9%A1", 400, "k = "), ("/users/u1?k=%C2%B2", 400, "k = "), ("/users?q=a&q=b", 400, "q is"),
            (f"/users?after={LONG}", 400, "after may have at most 500"),
            (f"/try?q={LONG}", 400, "q may have at most 500"),
            ("/runs?page=0", 400, "page = "), ("/runs?page=1e1", 400, "page = "), ("/runs?page=99999", 404, "no page"),
            ("/leaderboard?by=%00", 400, "no metric"), (f"/leaderboard?by={LONG}", 400, "no metric"),
            ("/leaderboard?by=rmse&by=rmse", 400, "by is given 2"), ("/?dataset=tiny&dataset=x", 400, "dataset is"),
            ("/tracks/%00", 404, "no song"), ("/tracks/%FF", 404, "no song"), (f"/tracks/{LONG}", 404, "no song"),
            ("/versions/%2E%2E", 404, "no version"), (f"/versions/{LONG}", 404, "no version"),
            ("/runs/..", 404, "no run"),
            ("/runs/%00", 404, "no run"), ("/runs/..%2F..%2Fx", 404, "not found"), ("/static/%00", 404, "not found"),
            ("/static/..%2F__init__.py", 404, "not found"), ("/prune?keep=0", 400, "keep = "),
            ("/versions/%00/promote", 404, "no version"), (f"/versions/{LONG}/roll-back", 404, "no version"),
            *[(f"/data?dataset={quote(name)}", 404, "no dataset") for name in ODD_DATASETS],
        ],
        ids=short_id,
    )  # fmt: skip
    def test_page_names_invalid_input(self, site: FlaskClient, path: str, status: int, message: str) -> None:
        assert message in page(site.get(path, headers=BEARER), status)

    @pytest.mark.parametrize("user", ["%00", "%FF", "%22", "..%2F..", "u1%2F", LONG], ids=short_id)
    def test_unknown_user_is_404(self, site: FlaskClient, user: str) -> None:
        answer = site.get(f"/users/{user}")
        assert (answer.status_code, answer.mimetype) == (404, "text/html")
        assert "Unknown user" in answer.text

    @pytest.mark.parametrize(
        ("path", "form", "status", "message"),
        [
            ("/prune", {"keep": "²"}, 400, "keep = "), ("/prune", {"keep": "9" * 5_000}, 400, "keep = "),
            ("/prune", {}, 400, "keep = "), ("/prune", {"keep": ["5", "1"]}, 400, "keep is given 2 times"),
            ("/versions/v1/promote", {"expected": "\0"}, 409, "came first"),
            ("/versions/%2E%2E/promote", {}, 404, "no version"), ("/pipeline", {"name": "\0"}, 400, "no description"),
            ("/pipeline", {"name": LONG}, 400, "no description"), ("/login", {"token": "x" * 70_000}, 413, "exceeds"),
            ("/try", {}, 405, "not allowed"),
        ],
        ids=short_id,
    )  # fmt: skip
    def test_form_names_invalid_field(
        self, site: FlaskClient, path: str, form: dict[str, Any], status: int, message: str
    ) -> None:
        assert message in page(site.post(path, data=form, headers=BEARER), status)

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"\xff\x00", "application/x-www-form-urlencoded"), (b"token=%FF%00", "application/x-www-form-urlencoded"),
            (b"--x\r\nbroken", "multipart/form-data; boundary=x"), (b"x", "multipart/form-data"),
            (b'{"token": 1}', "application/json"), (b"token=\x00", "\0"),
        ],
        ids=short_id,
    )  # fmt: skip
    def test_malformed_login_is_401(self, bare: FlaskClient, body: bytes, kind: str) -> None:
        assert bare.post("/login", data=body, headers={"Content-Type": kind}).status_code == 401


@pytest.mark.parametrize("odd", [*ODD_IDS, "'", "%", "%00", "a\0b", ".", "y" * 3_000], ids=short_id)
def test_track_with_odd_id_is_found(roots: tuple[Path, Path], bare: FlaskClient, odd: str) -> None:
    publish(roots[0], ids=[odd, "untitled", "hostile"])
    escaped = quote(odd, safe="")
    track = bare.get(f"/api/v1/tracks/{escaped}").json
    assert track is not None
    assert track["track"]["track_id"] == odd
    assert bare.get(f"/api/v1/tracks/{escaped}/similar").status_code == 200
    assert bare.get(f"/tracks/{escaped}").status_code == 200
    assert "0.875" in bare.get("/try", query_string={"t": odd}).text
    answer = bare.post("/api/v1/recommendations", json={"tracks": [odd]}).json
    assert answer is not None
    assert [line["track"]["track_id"] for line in answer["recommendations"]] == ["hostile"]


def test_server_refuses_large_bodies_with_413(roots: tuple[Path, Path]) -> None:
    publish(roots[0])
    command = [sys.executable, "-m", "webapp", "--port", "0", "--models", str(roots[0]), "--data", str(roots[1])]
    large = json.dumps({"tracks": ["x" * 70_000]}).encode()
    piped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with piped as server, ExitStack() as ends:
        try:
            assert server.stdout and server.stderr
            port = re.search(r":(\d+)/", server.stdout.readline())
            assert port
            connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=10)
            ends.callback(connection.close)

            def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str | None, str]:
                chunked = body is not None and not isinstance(body, bytes)
                connection.request(method, path, body, headers, encode_chunked=chunked)
                answer = connection.getresponse()
                return answer.status, answer.headers["Content-Type"], answer.read().decode()

            def post(body: Any) -> tuple[int, str | None, str]:
                encoding = {} if isinstance(body, bytes) else {"Transfer-Encoding": "chunked"}
                return ask("POST", "/api/v1/recommendations", body, **{"Content-Type": "application/json"}, **encoding)

            for body in (large, (large[at : at + 1_000] for at in range(0, len(large), 1_000))):
                status, content_type, text = post(body)
                assert (status, content_type, json.loads(text)["title"]) == (413, PROBLEM, "Request Entity Too Large")
            assert post(iter([b'{"tracks": ', b'["plain"]}']))[0] == 200
            assert post(iter([b"[" * 60_000]))[:2] == (400, PROBLEM)
            assert ask("GET", "/api/v1/users/%ff%00%2e%2e")[:2] == (404, PROBLEM)
            assert ask("GET", "/api/v1/users/u1", Host="evil.example")[:2] == (400, PROBLEM)
            assert ask("GET", "/users/u1?k=1&k=2")[:2] == (400, "text/html; charset=utf-8")
            assert ask("GET", "/api/v1/users/u1")[0] == 200
        finally:
            server.terminate()
        assert "Traceback" not in server.stderr.read()
