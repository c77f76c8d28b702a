"""The only door for page and REST: lists models, streams answers, folds streams, runs several at once.

Knows the catalog, the registry and the engine protocol. Engines are plain threads; here alone their
events become async iterators. It refuses to know how an event is shown or how a model runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from playground import hub
from playground.catalog import Catalog
from playground.errors import InternalError, ModelLoadFailed, PlaygroundError, PlaygroundUnavailable, broken_rule
from playground.registry import Registry
from playground.types import (
    Answer,
    Delta,
    Echo,
    Engine,
    Event,
    Finish,
    GenerationRequest,
    Job,
    ModelCard,
    ModelStatus,
    Progress,
)

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.25
"""A stream yields at least this often, so that a consumer who has gone is noticed in a long prefill too."""


class Playground:
    """What people and clients can do. `inference` False is an inventory-only deployment."""

    def __init__(self, catalog: Catalog, registry: Registry, *, inference: bool = True) -> None:
        self._catalog, self._registry, self.inference = catalog, registry, inference
        self._download_sizes = hub.DownloadSizes()

    def models(self) -> list[ModelStatus]:
        """Every model with its state, each base followed by its fine-tunes."""
        return [self._status(card) for card in self._catalog.cards.values()]

    def status(self, model_id: str) -> ModelStatus:
        """One model with its state; raises `ModelNotFound`."""
        return self._status(self._catalog.card(model_id))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """The events of one answer, `Finish` last; raises `PlaygroundError`. Closing the iterator cancels.

        The first event comes at once, and another at least every quarter of a second.
        """
        card = self._runnable(request)
        arrived_at = time.perf_counter()
        inbox, post = _mailbox()
        job: Job | None = None
        latest = Progress("waiting")
        yield latest
        lease = self._registry.lease(card, post, post)
        try:
            while True:
                item = await _next_or_none(inbox)
                if item is None:
                    yield latest if job is None else Delta("")
                elif isinstance(item, PlaygroundError):
                    raise item
                elif isinstance(item, Progress | Echo | Delta | Finish):
                    yield item
                    if isinstance(item, Finish):
                        return
                    latest = item if isinstance(item, Progress) else latest
                else:
                    job = Job(request, card, post, arrived_at, time.perf_counter())
                    item.submit(job)
        finally:
            if job is not None:
                job.cancelled.set()
            lease.release()

    async def stream_all(
        self, requests: Sequence[GenerationRequest]
    ) -> AsyncGenerator[tuple[int, Event | PlaygroundError], None]:
        """Several answers at the same time, as (index, event). One that fails yields its error; the others go on."""
        inbox: asyncio.Queue[tuple[int, Event | PlaygroundError]] = asyncio.Queue()
        tasks = [asyncio.create_task(self._pump(i, request, inbox)) for i, request in enumerate(requests)]
        num_running = len(tasks)
        try:
            while num_running:
                index, item = await inbox.get()
                num_running -= isinstance(item, Finish | PlaygroundError)
                yield index, item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def complete(self, request: GenerationRequest) -> Answer:
        """The folded stream; raises what the stream raises."""
        deltas: list[Delta] = []
        echo: Echo | None = None
        async with contextlib.aclosing(self.stream(request)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    deltas.append(event)
                elif isinstance(event, Echo):
                    echo = event
                elif isinstance(event, Finish):
                    return fold(deltas, event, echo)
        raise AssertionError("a stream ends with Finish or an error")

    async def _pump(
        self,
        index: int,
        request: GenerationRequest,
        inbox: asyncio.Queue[tuple[int, Event | PlaygroundError]],
    ) -> None:
        try:
            async with contextlib.aclosing(self.stream(request)) as events:
                async for event in events:
                    inbox.put_nowait((index, event))
        except PlaygroundError as error:
            inbox.put_nowait((index, error))
        except Exception:
            # A bug of ours must end this side, or whoever reads would wait for ever.
            log.exception("an answer broke off")
            inbox.put_nowait((index, InternalError("the answer broke off; the log says why")))

    def _runnable(self, request: GenerationRequest) -> ModelCard:
        if not self.inference:
            raise PlaygroundUnavailable
        card = self._catalog.card(request.model)
        if card.problem is not None:
            raise ModelLoadFailed(f"{card.id} cannot be run: {card.problem}")
        if request.strength != 1 and card.type == "base":
            raise broken_rule("strength", request.strength, "only a fine-tuned model has a strength")
        return card

    def _status(self, card: ModelCard) -> ModelStatus:
        if card.problem is not None:
            return ModelStatus(card, "failed", reason=card.problem)
        state, reason = self._registry.state(card)
        base = self._catalog.base_of(card)
        if base.endpoint:
            return ModelStatus(card, state or "disk", reason=reason)
        folder = hub.folder_on_disk(base.source, base.revision)
        template = self._template(card, folder)
        return ModelStatus(
            card=card,
            state=state or ("disk" if self._to_download(card, base, folder) is None else "hub"),
            size_bytes=self._size_bytes(card, base, folder),
            thinking="enable_thinking" in (template or ""),
            chat=template is not None or folder is None,
            reason=reason,
        )

    def _template(self, card: ModelCard, folder: Path | None) -> str | None:
        own = hub.folder_on_disk(card.adapter, card.adapter_revision) if card.adapter else None
        found = (hub.template_of(place) for place in (own, folder) if place is not None)
        return card.chat_template or next((template for template in found if template), None)

    def _to_download(self, card: ModelCard, base: ModelCard, folder: Path | None) -> tuple[str, str | None] | None:
        """The repo that must be fetched first, None where all is on this disk."""
        if folder is None:
            return base.source, base.revision
        if card.adapter and hub.folder_on_disk(card.adapter, card.adapter_revision) is None:
            return card.adapter, card.adapter_revision
        return None

    def _size_bytes(self, card: ModelCard, base: ModelCard, folder: Path | None) -> int | None:
        missing = self._to_download(card, base, folder)
        if missing is not None:
            return self._download_sizes.of(*missing)
        own = hub.folder_on_disk(card.adapter, card.adapter_revision) if card.adapter else folder
        try:
            return hub.weights_bytes(own) if own else None
        except ModelLoadFailed:
            # Broken files are told when somebody runs the model; a list must not fail for one of them.
            return None


def fold(deltas: Sequence[Delta], finish: Finish, echo: Echo | None = None) -> Answer:
    """The whole answer out of its pieces."""
    return Answer(
        text="".join(delta.text for delta in deltas if not delta.thinking),
        thinking="".join(delta.text for delta in deltas if delta.thinking),
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
        finish=finish,
        echo=echo,
    )


Item = Event | Engine | PlaygroundError


def _mailbox() -> tuple[asyncio.Queue[Item], Callable[[Item], None]]:
    """A queue of this event loop and a function that posts to it from any thread."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[Item] = asyncio.Queue()

    def post(item: Item) -> None:
        # The loop may have been closed by whoever left: then nobody reads this any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(inbox.put_nowait, item)

    return inbox, post


async def _next_or_none(inbox: asyncio.Queue[Item]) -> Item | None:
    try:
        return await asyncio.wait_for(inbox.get(), HEARTBEAT_SECONDS)
    except TimeoutError:
        return None
