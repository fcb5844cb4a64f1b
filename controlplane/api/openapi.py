"""The API's OpenAPI description, made from the table of operations and their models."""

from __future__ import annotations

import json
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from controlplane import __version__
from controlplane.api.models import Wrong
from controlplane.api.operations import Operation, operations
from controlplane.api.problems import CONTENT_TYPE

PATH = "/api/v1/openapi.json"
_REFS = "#/components/schemas/{model}"
_ABOUT = (
    "What a control plane knows, read-only. Who may ask is decided as for the debug pages: callers on loopback who name"
    " this machine in Host. Lists have `next`, which is the parameter `after` of their next page, null at the end."
)

Json = dict[str, Any]


@cache
def document() -> str:
    """Return the description as JSON text."""
    answers: list[type[BaseModel]] = [Wrong]
    for each in operations():
        answers += {each.answer, *((each.posts(),) if each.posts is not None else ())}
    _, schemas = models_json_schema([(model, "serialization") for model in dict.fromkeys(answers)], ref_template=_REFS)
    described: Json = {
        "openapi": "3.1.0",
        "info": {"title": "controlplane", "version": __version__, "description": _ABOUT},
        "paths": {each.path: {"post" if each.posts is not None else "get": _operation(each)} for each in operations()},
        "components": {"schemas": schemas["$defs"]},
    }
    return json.dumps(described, indent=1) + "\n"


def _operation(of: Operation) -> Json:
    found: Json = {
        "summary": of.summary,
        "operationId": of.path.removeprefix("/api/v1/").replace("/", "_").replace("{", "").replace("}", ""),
        "parameters": list(_parameters(of)),
        "responses": {"200": _good(of), **{str(status): _bad(status) for status in of.errors}},
    }
    if of.tagged:
        found["responses"]["304"] = {"description": "As it was: `If-None-Match` had the `ETag` of before"}
    if of.posts is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(of.posts())}}}
    return found


def _good(of: Operation) -> Json:
    if of.streamed:
        return {"description": of.summary, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    schema = _list_of(of.answer) if of.listed else _ref(of.answer)
    return {"description": of.summary, "content": {"application/json": {"schema": schema}}}


def _bad(status: int) -> Json:
    return {"description": HTTPStatus(status).phrase, "content": {CONTENT_TYPE: {"schema": _ref(Wrong)}}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REFS.format(model=model.__name__)}


def _list_of(model: type[BaseModel]) -> Json:
    return {
        "type": "object",
        "required": ["items", "next", "total"],
        "additionalProperties": False,
        "properties": {
            "items": {"type": "array", "items": _ref(model)},
            "next": {"type": ["string", "null"]},
            "total": {"type": "integer", "description": "How many there are in all"},
        },
    }


def _parameters(of: Operation) -> list[Json]:
    schema = of.asks.model_json_schema()
    defs, required = schema.get("$defs", {}), set(schema.get("required", ()))
    found = []
    for name, value in schema.get("properties", {}).items():
        in_path = f"{{{name}}}" in of.path
        kind = {key: each for key, each in _resolved(value, defs).items() if key not in {"title", "description"}}
        found.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": in_path or name in required,
                "description": value.get("description", ""),
                "schema": kind,
            }
        )
    return found


def _resolved(value: Json, defs: Json) -> Json:
    """Return a schema without references; what may be absent is absent in a query, not null."""
    options = [each for each in value.get("anyOf", ()) if each.get("type") != "null"]
    if options:
        value = options[0]
    if "$ref" in value:
        value = defs[value["$ref"].rpartition("/")[2]]
    return value
