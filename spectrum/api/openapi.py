"""The OpenAPI document of the routes, with Cloudflare's envelope and errors in place of FastAPI's own."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from spectrum.api.routes.schemas import resolved

_PARAMETER = re.compile(r"\{(\w+)\}")
_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "integer", "minimum": 1000},
        "message": {"type": "string"},
        "source": {"type": "object", "properties": {"pointer": {"type": "string"}}},
        "error_chain": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
            },
        },
    },
}
_FAILURE = {
    "type": "object",
    "required": ["success", "errors", "messages", "result"],
    "properties": {
        "success": {"type": "boolean", "const": False},
        "errors": {"type": "array", "items": _ERROR, "minItems": 1},
        "messages": {"type": "array"},
        "result": {"type": "null"},
    },
}
_REFERENCE = {"$ref": "#/components/schemas/Failure"}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    found: dict[str, Any] = resolved(app.openapi())
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Failure"] = _FAILURE
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operation in _operations(found):
        responses = operation["responses"]
        responses.pop("422", None)
        responses["default"] = {
            "description": "Nothing was changed.",
            "content": {"application/json": {"schema": _REFERENCE}},
        }
        operation["security"] = [{"token": []}]
        _declare(path, operation)
    return found


def _operations(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in found.get("paths", {}).items():
        for operation in item.values():
            yield path, operation


def _declare(path: str, operation: dict[str, Any]) -> None:
    """Add the path parameters that a dependency reads by itself."""
    parameters = operation.setdefault("parameters", [])
    known = {one["name"] for one in parameters if one["in"] == "path"}
    for name in _PARAMETER.findall(path):
        if name not in known:
            parameters.append({"name": name, "in": "path", "required": True, "schema": _ID})
