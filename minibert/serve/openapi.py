"""The routes as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minibert import __version__

if TYPE_CHECKING:
    from minibert.serve.route import Route

_STATUSES = {
    "400": "the request makes no sense",
    "401": "a key is needed",
    "404": "no such model",
    "413": "more than a request may have",
    "429": "as much waits as may wait: ask again after Retry-After seconds",
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of some routes."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "minibert serve", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": route.summary, "responses": {"200": {"description": "the answer"}}}
    if not route.public:
        operation["security"] = [{}, {"key": []}]
    if "{" in route.path:
        name = route.path.partition("{")[2].rstrip("}")
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
    if route.fields is not None:
        schema = {
            "type": "object",
            "properties": {name: field.schema for name, field in route.fields.items()},
            "required": [name for name, field in route.fields.items() if field.needed],
        }
        content = {"application/json": {"schema": schema, "example": route.example}}
        operation["requestBody"] = {"required": True, "content": content}
        operation["responses"] |= {status: {"description": text} for status, text in _STATUSES.items()}
    return operation
