"""The OpenAPI description, made of the operations and the types that they take and give."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from pydantic.json_schema import models_json_schema

from pipeline_assets.serve.answers import Problem
from pipeline_assets.serve.api import JSON, OPERATIONS, Operation
from pipeline_assets.serve.queries import Query

if TYPE_CHECKING:
    from pydantic import BaseModel

REFUSED = {
    "400": "A parameter is wrong",
    "404": "There is no such item",
    "413": "The body is too large",
    "415": "Not a format that is read",
    "422": "The picture cannot be decoded",
    "503": "Busy, or the index or a database cannot be used now",
    "504": "Not answered in time",
}
REF = "#/components/schemas/{model}"


def description() -> dict[str, Any]:
    """The whole description."""
    answers: list[type[BaseModel]] = [Problem]
    answers += [each.answer for each in OPERATIONS if each.answer is not None]
    shapes: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (answer, "serialization") for answer in answers
    ]
    _, found = models_json_schema(shapes, ref_template=REF)
    schemas = found["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pipeline-assets",
            "version": version("pipeline-assets"),
            "description": "Search over enriched items, and how good they are. Read-only.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(each: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "parameters": _parameters(each.query),
        "responses": {
            "200": {"description": each.summary, "content": {each.gives: {"schema": _given(each)}}},
            **{status: _refused(why) for status, why in REFUSED.items()},
        },
    }
    if each.takes:
        picture = {"schema": {"type": "string", "format": "binary"}}
        said["requestBody"] = {"required": True, "content": dict.fromkeys(each.takes, picture)}
    return said


def _given(each: Operation) -> Mapping[str, Any]:
    if each.answer is None:
        return {"type": "string"}
    return {"$ref": REF.format(model=each.answer.__name__)}


def _refused(why: str) -> dict[str, Any]:
    schema = {"$ref": REF.format(model=Problem.__name__)}
    return {"description": why, "content": {JSON: {"schema": schema}}}


def _parameters(query: type[Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema()
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.pop("description"),
            "schema": {key: value for key, value in field.items() if key != "title"},
        }
        for name, field in schema["properties"].items()
    ]
