"""What the routes' documentation says: examples of what is asked and answered, and of every error.

Knows OpenAPI's shapes; nothing of how an answer is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from playground.api.errors import MAX_BODY_BYTES, ErrorReply, error_body
from playground.api.sse import DONE, event
from playground.errors import (
    Forbidden,
    InternalError,
    InvalidKey,
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PlaygroundError,
    PlaygroundUnavailable,
)

Responses = dict[int | str, dict[str, Any]]

QUESTION = [{"role": "user", "content": "Where is my parcel?"}]
CONVERSATION = [{"role": "system", "content": "You are a helpful assistant."}, *QUESTION]
"""Messages for examples of what is asked."""

EXAMPLES: dict[int, PlaygroundError] = {
    error.status: error
    for error in (
        InvalidRequest("temperature: 3 is not allowed: it must be at most 2", param="temperature"),
        InvalidKey(),
        Forbidden("X-Org-Id: 'acme' is not an organization of this key", param="X-Org-Id"),
        ModelNotFound("There is no model 'me/nothing'.", param="model"),
        PayloadTooLarge(f"body: it is larger than {MAX_BODY_BYTES:,} bytes, which is the limit", param="body"),
        Overloaded("Too many answers are waiting: ask again in a moment."),
        InternalError("something broke in here; the log says what"),
        PlaygroundUnavailable(),
        ModelLoadFailed("me/large needs 61 GB, and 16 GB are free"),
    )
}


def documented(*statuses: int) -> Responses:
    """What a route's documentation says of its errors."""
    return {status: _told(EXAMPLES[status]) for status in statuses}


def missing(error: PlaygroundError) -> Responses:
    """The same of an error that only this route has."""
    return {error.status: _told(error)}


def _told(error: PlaygroundError) -> dict[str, Any]:
    return {
        "model": ErrorReply,
        "description": error.code,
        "content": {"application/json": {"example": error_body(error)}},
    }


RUNNING = documented(400, 401, 403, 404, 413, 429, 500, 501, 503)
LISTING = documented(401, 403, 500)


def answered(example: BaseModel, *chunks: BaseModel) -> Responses:
    """What a route answers; with `chunks`, also as a stream of events."""
    content: dict[str, Any] = {"application/json": {"example": example.model_dump(exclude_unset=True)}}
    if chunks:
        stream = "".join([*map(event, chunks), DONE])
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": stream}
    description = "The answer; with `stream: true` as server-sent events." if chunks else "The answer."
    return {200: {"model": type(example), "description": description, "content": content}}


def asked(**examples: dict[str, Any]) -> dict[str, Any]:
    """What a route is asked: bodies by what they show. For a route's `openapi_extra`."""
    named = {name: {"summary": name.replace("_", " ").capitalize(), "value": body} for name, body in examples.items()}
    return {"requestBody": {"content": {"application/json": {"examples": named}}}}


def true_document(api: FastAPI, routers: Iterable[APIRouter]) -> dict[str, Any]:
    """The document of `api` as FastAPI makes it, without the error body that this API does not have, and with
    what FastAPI drops from examples of answers: all that is null."""
    document = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
    routes = (route for router in routers for route in router.routes if isinstance(route, APIRoute))
    for route in filter(lambda route: route.include_in_schema, routes):
        for method in route.methods or ():
            responses = document["paths"][route.path_format][method.lower()]["responses"]
            responses.pop("422", None)
            for status, response in route.responses.items():
                for media_type, content in response.get("content", {}).items():
                    responses[str(status)]["content"][media_type]["example"] = content["example"]
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document
