"""Work that blocks, in a thread of its own, as a stream of how far it is; a model held while such work needs it.

Knows asyncio, threads and the registry; refuses to know what the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar

from playground.errors import Cancelled, PlaygroundError
from playground.registry import Registry
from playground.types import Engine, LoadWatch, ModelCard, Progress

T = TypeVar("T")

HEARTBEAT_SECONDS = 0.25
"""A stream yields at least this often, so that a consumer who has gone is noticed."""


class _Watch:
    """Tells the stream how far the work is, and the work when nobody reads the stream any more."""

    def __init__(self, post: Callable[[Progress], None]) -> None:
        self._post, self.gone = post, threading.Event()

    def report(self, progress: Progress) -> None:
        if self.gone.is_set():
            raise Cancelled("nobody waits for this any more")
        self._post(progress)


async def stream_of(work: Callable[[LoadWatch], T]) -> AsyncGenerator[Progress | T, None]:
    """How far `work` is, at once and at least every quarter of a second, and what it gives at last; raises what it
    raises. Closing the stream tells the work so, which ends in its own time."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[Progress | None] = asyncio.Queue()

    def post(item: Progress | None) -> None:
        # The loop may have been closed by whoever left: then nobody reads this any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(inbox.put_nowait, item)

    watch, latest = _Watch(post), Progress("waiting")
    working = loop.run_in_executor(None, work, watch)
    working.add_done_callback(lambda done: _end(done, inbox))
    try:
        yield latest
        while True:
            try:
                item = await next_within_a_heartbeat(inbox)
            except TimeoutError:
                item = latest
            if item is None:
                break
            latest = item
            yield item
        yield working.result()
    finally:
        watch.gone.set()


async def next_within_a_heartbeat(inbox: asyncio.Queue[T]) -> T:
    """What comes next; raises `TimeoutError` where nothing comes for `HEARTBEAT_SECONDS`."""
    # Not `asyncio.wait_for`: in Python 3.11 it swallows a cancellation that meets what it waited for.
    async with asyncio.timeout(HEARTBEAT_SECONDS):
        return await inbox.get()


def _end(done: asyncio.Future[Any], inbox: asyncio.Queue[Progress | None]) -> None:
    if not done.cancelled():
        # Asked for, so that nothing complains of an error that nobody stayed to hear.
        done.exception()
    inbox.put_nowait(None)


@contextlib.contextmanager
def held(registry: Registry, card: ModelCard, watch: LoadWatch) -> Generator[Engine, None, None]:
    """The engine of `card`, loaded if need be and held until the block ends; blocks; raises what loading raises."""
    inbox: queue.SimpleQueue[Progress | Engine | PlaygroundError] = queue.SimpleQueue()
    lease = registry.lease(card, inbox.put, inbox.put)
    latest: Progress | Engine | PlaygroundError = Progress("waiting")
    try:
        while isinstance(latest, Progress):
            watch.report(latest)
            with contextlib.suppress(queue.Empty):
                latest = inbox.get(timeout=HEARTBEAT_SECONDS)
        if isinstance(latest, PlaygroundError):
            raise latest
        yield latest
    finally:
        lease.release()
