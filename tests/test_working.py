"""Work in a thread, followed from an event loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from playground.types import LoadWatch, Progress
from playground.working import stream_of
from tests.drive import PATIENCE


@pytest.mark.parametrize("turns", range(6))
def test_giving_up_counts_even_as_news_arrives(turns: int) -> None:
    """`turns` of the loop pass between the news and the giving up: one of them finds the news half-way."""
    free, watches = threading.Event(), []

    def work(watch: LoadWatch) -> None:
        watches.append(watch)
        assert free.wait(PATIENCE)

    async def follow() -> None:
        async with aclosing(stream_of(work)) as items:
            async for _ in items:
                pass

    async def scenario() -> None:
        following = asyncio.create_task(follow())
        while not watches:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        watches[0].report(Progress("uploading", 0.5))
        for _ in range(turns):
            await asyncio.sleep(0)
        following.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        free.set()
        await asyncio.wait({following})
        assert following.cancelled()

    asyncio.run(scenario())
