"""The page about the API, made from its own description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from apiflask import APIFlask
from flask import current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.api.endpoints import JSON, PROBLEM
from webapp.serving.request_context import for_the_header

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """What is given to an operation."""

    name: str
    where: str
    """`path`, `query` or `body`."""
    schema: Schema
    needed: bool


@dataclass(frozen=True)
class Operation:
    """One thing that the API can be asked."""

    method: str
    path: str
    summary: str
    fields: list[Field]
    gives: list[str]
    """The fields of its answer, those of what is listed in them in brackets; empty where it is no JSON."""


def api() -> ResponseReturnValue:
    """What the API can be asked."""
    for_the_header()
    spec = cast(APIFlask, current_app).spec
    assert isinstance(spec, dict)
    operations = [
        Operation(method.upper(), path, each["summary"].rstrip("."), _given(spec, each), _answered(spec, each))
        for path, methods in spec["paths"].items()
        for method, each in methods.items()
    ]
    problems = {
        status: answer["description"]
        for methods in spec["paths"].values()
        for each in methods.values()
        for status, answer in sorted(each["responses"].items())
        if PROBLEM in answer.get("content", {})
    }
    return render_template(
        "api.html", operations=operations, problems=sorted(problems.items()), version=spec["openapi"],
        source=url_for("openapi.spec"),
    )  # fmt: skip


def _given(spec: Schema, operation: Schema) -> list[Field]:
    found = [Field(each["name"], each["in"], each["schema"], each["in"] == "path") for each in operation["parameters"]]
    body = _resolved(spec, operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {}))
    needed = body.get("required", [])
    return found + [Field(name, "body", each, name in needed) for name, each in body.get("properties", {}).items()]


def _answered(spec: Schema, operation: Schema) -> list[str]:
    schema = operation["responses"]["200"]["content"].get(JSON, {}).get("schema", {})
    found = []
    for name, each in _resolved(spec, schema).get("properties", {}).items():
        within = _resolved(spec, each.get("items", each)).get("properties")
        found.append(f"{name} ({', '.join(within)})" if within else name)
    return found


def _resolved(spec: Schema, schema: Schema) -> Schema:
    """A schema, or the one that it refers to."""
    if "$ref" not in schema:
        return schema
    found: Schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
