"""How a request's body is read: one JSON object in UTF-8, in which every field stands once.

Knows JSON's text; what may stand in the object is the affair of its fields.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from playground.errors import InvalidRequest, shortened

_KINDS = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_DIGITS = 300


class JsonRoute(APIRoute):
    """A route whose body is read here, not by FastAPI, which takes UTF-16 and fields that stand twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_and_handle(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return read_and_handle


class _JsonRequest(Request):
    async def json(self) -> Any:
        return object_of(await self.body())


def object_of(body: bytes) -> dict[str, Any]:
    """The object that a body holds; raises `InvalidRequest` where it holds none."""
    if body.startswith(_BYTE_ORDER_MARK):
        raise _unreadable("it must be UTF-8 without a byte order mark")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_each_once, parse_int=_whole_number)
    except UnicodeDecodeError as error:
        raise _unreadable(f"it must be UTF-8, and byte {error.start} is not") from None
    except json.JSONDecodeError as error:
        place, fault = f"line {error.lineno}, column {error.colno}", error.msg.removesuffix(" at")
        raise _unreadable(f"it must be JSON, and {place} is not: {fault}") from None
    except RecursionError:
        raise _unreadable("it must not be nested so deeply") from None
    if not isinstance(value, dict):
        raise _unreadable(f"it must be a JSON object, not {_KINDS.get(type(value), 'null')}")
    return value


def _unreadable(rule: str) -> InvalidRequest:
    return InvalidRequest(f"body: {rule}", param="body")


def _whole_number(digits: str) -> int:
    """Python reads no number of thousands of digits. No field tells one of hundreds from any larger one: cut, it is
    judged all the same, and by the field that it was given for."""
    return int(digits[:_MAX_DIGITS])


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        raise _unreadable("it must name its fields in text: half of a surrogate pair is no character") from None
    if len(fields) < len(pairs):
        [(name, count)] = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidRequest(f"{shortened(name)}: it is given {count} times", param=shortened(name))
    return fields
