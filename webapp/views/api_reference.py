"""The API reference, generated from the OpenAPI description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from apiflask import APIFlask
from flask import current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.api.endpoints import JSON
from webapp.api.problems import PROBLEM
from webapp.serving.request_context import select_dataset

JsonSchema = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation."""

    name: str
    location: str
    """`path`, `query` or `body`."""
    schema: JsonSchema
    required: bool


@dataclass(frozen=True)
class Operation:
    """An operation of the API."""

    method: str
    path: str
    summary: str
    parameters: list[Parameter]
    response_fields: list[str]
    """The response's fields, with the fields of nested objects in brackets; empty if it is not JSON."""


def api() -> ResponseReturnValue:
    """Show all operations."""
    select_dataset()
    spec = cast(APIFlask, current_app).spec
    assert isinstance(spec, dict)
    operations = [
        Operation(
            method.upper(),
            path,
            operation["summary"].rstrip("."),
            _parameters(spec, operation),
            _response_fields(spec, operation),
        )
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]
    return render_template(
        "api.html",
        operations=operations,
        problems=sorted(_problems(spec).items()),
        openapi_version=spec["openapi"],
        spec_url=url_for("openapi.spec"),
    )


def _problems(spec: JsonSchema) -> dict[str, str]:
    """Return the description of each error status."""
    return {
        status: response["description"]
        for methods in spec["paths"].values()
        for operation in methods.values()
        for status, response in sorted(operation["responses"].items())
        if PROBLEM in response.get("content", {})
    }


def _parameters(spec: JsonSchema, operation: JsonSchema) -> list[Parameter]:
    parameters = [
        Parameter(parameter["name"], parameter["in"], parameter["schema"], parameter["in"] == "path")
        for parameter in operation["parameters"]
    ]
    body = _resolve(spec, operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {}))
    required = body.get("required", [])
    return parameters + [
        Parameter(name, "body", schema, name in required) for name, schema in body.get("properties", {}).items()
    ]


def _response_fields(spec: JsonSchema, operation: JsonSchema) -> list[str]:
    schema = operation["responses"]["200"]["content"].get(JSON, {}).get("schema", {})
    fields = []
    for name, field in _resolve(spec, schema).get("properties", {}).items():
        nested = _resolve(spec, field.get("items", field)).get("properties")
        fields.append(f"{name} ({', '.join(nested)})" if nested else name)
    return fields


def _resolve(spec: JsonSchema, schema: JsonSchema) -> JsonSchema:
    """Return a schema, following its `$ref` if it has one."""
    if "$ref" not in schema:
        return schema
    target: JsonSchema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return target
