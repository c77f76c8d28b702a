"""How many bytes a server may send, whatever it sends them as.

Knows HTTP's bodies and lines; refuses to know what stands in them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from playground.remote.server import Garbled

MEBIBYTE = 2**20
LINE_BYTES = 16 * MEBIBYTE
"""An event is a line. The longest is a prompt that comes back with five alternatives for each of 50,000 tokens."""
BODY_BYTES = 64 * MEBIBYTE
"""The longest answer, 4,096 tokens, at 16 KiB for each: a token's event with twenty alternatives takes 3."""


def bounded(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """The client, whose responses raise `Garbled` once a line or all of a body is larger than any answer is. What it
    reads is not compressed, since a small body could hold a large answer."""
    client.headers["Accept-Encoding"] = "identity"
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [*hooks["response"], _bound]}
    return client


async def _bound(response: httpx2.Response) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Garbled(f"it packed its answer with {encoding!r}, which it was not asked to do")
    assert isinstance(response.stream, httpx2.AsyncByteStream), "an asynchronous client reads asynchronous streams"
    response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error where it would grow too large."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        num_bytes = num_in_line = 0
        async for data in self._stream:
            num_bytes += len(data)
            end = max(data.rfind(b"\n"), data.rfind(b"\r"))
            num_in_line = len(data) - end - 1 + (num_in_line if end < 0 else 0)
            if num_in_line > LINE_BYTES:
                raise Garbled(f"it sent more than {LINE_BYTES // MEBIBYTE} MiB in one line, which no answer needs")
            if num_bytes > BODY_BYTES:
                raise Garbled(f"it sent more than {BODY_BYTES // MEBIBYTE} MiB for one answer, which none needs")
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()
