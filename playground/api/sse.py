"""Server-sent events, and clients that leave.

Knows chunks and connections; what a chunk says is the routes' affair.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from playground.api.errors import error_body
from playground.errors import Cancelled, InternalError, PlaygroundError

log = logging.getLogger(__name__)

T = TypeVar("T")
Chunks = AsyncGenerator[BaseModel, None]
DONE = "data: [DONE]\n\n"


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up; raises `Cancelled` then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Cancelled("the client has gone")
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def event_stream(request: Request, chunks: Chunks) -> StreamingResponse:
    """Chunks as events. The first one is awaited, so that what fails before any word is an HTTP error."""
    try:
        first = await unless_gone(request, anext(chunks))
    except BaseException:
        await chunks.aclose()
        raise
    return _EventStream(first, chunks)


class _EventStream(StreamingResponse):
    """Closes its chunks even where it was cancelled before it asked for any."""

    def __init__(self, first: BaseModel, chunks: Chunks) -> None:
        super().__init__(_events(first, chunks), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().__call__(scope, receive, send)


async def _events(first: BaseModel, chunks: Chunks) -> AsyncGenerator[str, None]:
    yield event(first)
    try:
        async for chunk in chunks:
            yield event(chunk)
    except PlaygroundError as error:
        yield f"data: {json.dumps(error_body(error))}\n\n"
    except Exception:
        log.exception("a stream broke off")
        yield f"data: {json.dumps(error_body(InternalError('the stream broke off; the log says why')))}\n\n"
    else:
        yield DONE


def event(chunk: BaseModel) -> str:
    """A chunk as an event."""
    return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"
