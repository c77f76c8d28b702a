"""One error body for every route, and how everything that can go wrong becomes it.

Knows the hierarchy of `playground.errors` and what FastAPI and pydantic raise; nothing of any route.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from playground.api.fields import KEPT_ID, TOKEN_ID
from playground.errors import (
    MAX_SHOWN_CHARS,
    InternalError,
    InvalidKey,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
    PlaygroundError,
    shortened,
)

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024
RETRY_AFTER_SECONDS = 5
# The words of the clients' own error classes.
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_BODY_RULE = "body: it must be a JSON object in UTF-8, sent with Content-Type: application/json"
_MAX_PROBLEMS = 8
# What pydantic finds, in the words that a person would use; a pattern has words of its own.
_RULES = {
    "string_type": "it must be a string",
    "string_unicode": "it must be text: half of a surrogate pair is no character",
    "string_too_short": "it must not be empty",
    TOKEN_ID: "keys must be token ids",
    KEPT_ID: "it must be an id as the list gives it",
    "string_too_long": "it must have at most {max_length} characters",
    "int_type": "it must be a whole number, written without a point",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it must be a whole number, and a shorter one",
    "float_type": "it must be a number",
    "finite_number": "it must be a finite number",
    "bool_type": "it must be true or false",
    "literal_error": "it must be {expected}",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
    "list_type": "it must be a list",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "too_short": "it must have at least {min_length}",
    "too_long": "at most {max_length} are allowed",
}


class ErrorDetail(BaseModel):
    """What is wrong. `param` names the field, if there is one."""

    code: str
    message: str
    type: str
    param: str | None


class ErrorReply(BaseModel):
    """The body of every error."""

    error: ErrorDetail


def error_body(error: PlaygroundError) -> dict[str, Any]:
    """The body that clients of both vendors read."""
    kind = "server_error" if error.status >= 500 else _TYPES.get(error.status, "invalid_request_error")
    detail = ErrorDetail(code=error.code, message=error.message, type=kind, param=error.param)
    return ErrorReply(error=detail).model_dump()


def error_response(error: PlaygroundError) -> JSONResponse:
    """An error as an HTTP answer."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, InvalidKey):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(error), error.status, headers)


def renamed(error: PlaygroundError, **names: str) -> PlaygroundError:
    """The same error told of the field that the client knows, where it names one of `names`."""
    name = names.get(error.param or "")
    if name is None:
        return error
    told = error.message.removeprefix(f"{error.param}: ")
    # A new one: an engine may keep the other and raise it again.
    return type(error)(error.message if told == error.message else f"{name}: {told}", param=name)


class NoSuchRoute(PlaygroundError):
    """No route has this address, or not with this method; `status` is HTTP's own."""

    code = "not_found"

    def __init__(self, status: int, request: Request) -> None:
        super().__init__(f"{request.method} {shortened(request.url.path)}: there is no such route; /docs lists them")
        self.status = status


def add_handlers(app: FastAPI) -> None:
    """Whatever a route raises leaves as the one body."""

    @app.exception_handler(PlaygroundError)
    async def known(_: Request, error: PlaygroundError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(_invalid(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        response = error_response(_refused(request, error))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        log.error("a route broke", exc_info=error)
        return error_response(InternalError("something broke in here; the log says what"))


def _refused(request: Request, error: HTTPException) -> PlaygroundError:
    if error.status_code == 413:
        return PayloadTooLarge(f"body: it is larger than {MAX_BODY_BYTES:,} bytes, which is the limit", param="body")
    if error.status_code in (404, 405):
        return NoSuchRoute(error.status_code, request)
    # FastAPI hides behind its own what was raised where a body is read.
    if isinstance(error.__cause__, PlaygroundError):
        return error.__cause__
    return InvalidRequest(_BODY_RULE, param="body")


def _invalid(problems: Sequence[Any]) -> InvalidRequest:
    """What is wrong with a body, as far as one error can carry it; names the first field."""
    told = [_problem(problem) for problem in problems[:_MAX_PROBLEMS]]
    messages = list(dict.fromkeys(message for _, message in told))
    if len(problems) > _MAX_PROBLEMS:
        messages.append(f"and {len(problems) - _MAX_PROBLEMS:,} problems more")
    return InvalidRequest("; ".join(messages), param=told[0][0])


def _problem(problem: dict[str, Any]) -> tuple[str, str]:
    """The field and the sentence of one problem that pydantic found."""
    place = [str(part) for part in problem["loc"][1:] if part != "[key]"]
    if not place:
        return "body", f"body: {problem['msg']}" if problem["type"] == "rule" else _BODY_RULE
    param = shortened(".".join(place))
    if problem["type"] == "missing":
        return param, f"{param}: it is required"
    if problem["type"] == "extra_forbidden":
        return param, f"{param}: there is no such field here, or this server cannot honour it"
    bounds = {name: _plain(bound) for name, bound in problem.get("ctx", {}).items()}
    template = _RULES.get(bounds.get("pattern", problem["type"]), "{rule}")
    rule = template.format_map({"rule": problem["msg"], **bounds})
    return param, f"{param}: {_shown(problem['input'])} is not allowed: {rule}"


def _plain(bound: Any) -> Any:
    """2 for 2.0, which nobody would write."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _shown(value: Any) -> str:
    """A value cut to what a message can carry, at a cost that does not depend on how large or deep it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = MAX_SHOWN_CHARS
    return shortened(short.repr(value))
