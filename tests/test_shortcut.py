"""The shortcut of the API's look-up: it answers what Flask would answer, and leaves to Flask what is not plain."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from support.published import TOKEN, publish
from werkzeug.test import TestResponse

from models import registry
from webapp import create_app
from webapp.api import shortcut

LIST = "/api/v1/users/u1/recommendations"
PLAIN: list[dict[str, Any]] = [
    {"path": LIST},
    {"path": LIST, "query_string": "k=1"},
    {"path": LIST, "query_string": "k=999"},
    {"path": LIST, "headers": {"Host": "127.0.0.1:8000", "Accept": "text/html", "Cookie": "encore=x"}},
    {"path": LIST, "base_url": "https://[::1]:8443/"},
]
ODD: list[dict[str, Any]] = [
    *({"path": LIST, "query_string": query} for query in (
        "k=0", "k=01", "k=1000", "k=1&k=2", "k=%31", "k=1 ", "k=\N{ARABIC-INDIC DIGIT ONE}", "dataset=tiny",
        "dataset=gone", "x=1",
    )),
    *({"path": LIST, "method": method} for method in ("HEAD", "POST", "OPTIONS")),
    {"path": LIST, "headers": {"If-None-Match": '"tiny-v1-0"'}},
    *({"path": LIST, "headers": {"Host": host}} for host in (
        "elsewhere.example", "127.0.0.1:x", "[::2]", "[::1", "[::1]elsewhere.example", "[::1]:x", "x[::1]", "",
    )),
    *({"path": path} for path in (f"{LIST}.csv", f"{LIST}/", f"{LIST}%0A", f"/{LIST}", f"{LIST}/recommendations")),
    *({"path": f"/api/v1/users/{user}/recommendations"} for user in (
        "nobody", "", "..", "%2e%2e", "a%2Fb", "%F0%9F%8E%A7%20%C3%BC",
    )),
]  # fmt: skip


def told(answer: TestResponse) -> tuple[int, list[tuple[str, str]], bytes]:
    """What a client sees of an answer."""
    return answer.status_code, sorted(answer.headers), answer.data


@pytest.fixture
def app(roots: tuple[Path, Path]) -> Flask:
    """A page that answers to its own machine alone, as the usual one does."""
    publish(roots[0])
    return create_app(*roots)


def without_flask(app: Flask, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A client of a page that can answer nothing but what the shortcut does."""
    monkeypatch.setattr(app, "full_dispatch_request", lambda: Response("Flask was asked", 418))
    return app.test_client()


@pytest.mark.parametrize("asked", [*PLAIN, *ODD], ids=str)
def test_the_answer_is_that_of_flask(app: Flask, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(app.test_client().open(**asked))
    monkeypatch.setattr(shortcut, "answer", lambda *_: None)
    assert found == told(app.test_client().open(**asked))


@pytest.mark.parametrize("asked", PLAIN, ids=str)
def test_flask_is_not_asked_for_what_is_plain(
    app: Flask, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert without_flask(app, monkeypatch).open(**asked).status_code == 200


@pytest.mark.parametrize("asked", ODD, ids=str)
def test_what_is_odd_is_left_to_flask(app: Flask, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_flask(app, monkeypatch).open(**asked).status_code in (418, 400)


def test_where_a_token_is_needed_to_read_it_is_asked_for(app: Flask) -> None:
    app.config.update(READING_OPEN=False, TOKEN=TOKEN)
    client = app.test_client()
    assert client.get(LIST).status_code == 401
    assert client.get(LIST, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(LIST, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_promotion_is_seen_at_once(app: Flask, roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    publish(roots[0], version="v2")
    client = without_flask(app, monkeypatch)
    for before, version in itertools.pairwise(["v2", "v1", "v2"]):
        registry.promote(roots[0] / "tiny", version, expected=before, by="user")
        assert orjson.loads(client.get(LIST).data)["version"] == version


def test_what_the_shortcut_answers_is_counted(app: Flask) -> None:
    client = app.test_client()
    for _ in range(3):
        client.get(LIST)
    counted = 'encore_requests_total{endpoint="api.recommendations",status="200"} 3.0'
    assert counted in client.get("/metrics").text


def test_its_endpoint_is_flask_s(app: Flask) -> None:
    (rule,) = (rule for rule in app.url_map.iter_rules() if rule.endpoint == shortcut.ENDPOINT)
    assert rule.rule == "/api/v1/users/<anytext:user_id>/recommendations"
