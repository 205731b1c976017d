"""Tests of the API that schemathesis generates from its OpenAPI description, with valid and invalid requests."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from support.published import CURVES, TOKEN, TRACKS, USERS, publish, record, stage, started

from webapp import create_app


def _often(names: str, probability: float) -> dict[str, Any]:
    return {"dictionary": names, "probability": probability}


SETTINGS: dict[str, Any] = {
    "seed": 31,
    "generation": {"mode": "all", "deterministic": True, "max-examples": 40},
    "dictionaries": {
        "users": {
            "values": [user for user in USERS if user != ".."]
        },  # clients resolve it before they send the request
        "tracks": {"values": TRACKS},
        "versions": {"values": ["v1", "v2"]},
        "datasets": {"values": ["tiny"]},
        "words": {"values": ["song", "some", "u", "u1"]},
    },
    # Existing ids are mixed with generated ones; otherwise almost all responses would be 404.
    "parameters": {
        "path.user_id": _often("users", 0.7),
        "path.track_id": _often("tracks", 0.7),
        "path.version": _often("versions", 0.7),
        "query.dataset": _often("datasets", 0.8),
        "query.q": _often("words", 0.5),
        "body.dataset": _often("datasets", 0.8),
        "body.tracks[*]": _often("tracks", 0.7),
    },
    # A schema cannot express that a track is known or that there is one weight per track.
    "operations": [
        {
            "include-path": "/api/v1/recommendations",
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 404, 422]}},
        }
    ],
}

DESCRIPTION = schemathesis.openapi.from_wsgi(
    "/api/v1/openapi.json", create_app(), config=schemathesis.Config.from_dict(SETTINGS)
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An application with two versions and a run."""
    root = tmp_path_factory.mktemp("conformance")
    publish(root / "models")
    facts = {"select_by": "ndcg@10", "intervals": {"als": {"ndcg@10": [0.2, 0.3]}}, "curves": CURVES}
    publish(root / "models", version="v2", metrics=facts)
    record(root / "data", "r1", started("2026-11-24T10:00:00Z"), stage("Split", "failed", "It is broken."))
    return create_app(root / "models", root / "data", {"TOKEN": TOKEN})


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest) -> Iterator[dict[str, Counter[int]]]:
    """Count each operation's response statuses; fail if an operation got too few 200, 422 or 404 responses."""
    status_counts: dict[str, Counter[int]] = defaultdict(Counter)
    failed = request.session.testsfailed
    yield status_counts
    for operation, statuses in status_counts.items() if request.session.testsfailed == failed else ():
        assert min(statuses[200], statuses[422], 5 * statuses[404]) >= 5, (operation, statuses)


@DESCRIPTION.parametrize()
def test_operation_conforms_to_description(
    case: schemathesis.Case, app: Flask, answers: dict[str, Counter[int]]
) -> None:
    response = case.call_and_validate(app=app)
    if case.method != "OPTIONS":
        answers[case.operation.label][response.status_code] += 1


def test_description_is_valid_openapi() -> None:
    spec = DESCRIPTION.raw_schema
    assert spec["openapi"].startswith("3.1.")
    DESCRIPTION.validate()
    for schema in spec["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator(schema | {"components": spec["components"]})
    referenced = set(re.findall(r"'#/components/schemas/([^']+)'", str(spec)))
    assert referenced == set(spec["components"]["schemas"])
