"""The only door for page and REST: lists models, streams answers, folds streams, runs several at once.

Knows the catalog, the registry and the engine protocol. Engines are plain threads; here alone their
events become async iterators. It refuses to know how an event is shown or how a model runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from playground import hub
from playground.accounts import Accounts
from playground.catalog import LiveCatalog
from playground.errors import (
    Cancelled,
    InternalError,
    InvalidKey,
    ModelLoadFailed,
    Overloaded,
    PlaygroundError,
    PlaygroundUnavailable,
    broken_rule,
)
from playground.evidence import AdapterDetails, Fidelity, Proof, Rendered, Saved, Verdict
from playground.history import History
from playground.registry import Registry
from playground.types import (
    ANYBODY,
    Answer,
    Caller,
    Delta,
    Echo,
    Engine,
    Event,
    Finish,
    GenerationRequest,
    Job,
    LoadWatch,
    ModelCard,
    ModelStatus,
    Progress,
)
from playground.working import held, next_within_a_heartbeat, stream_of

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ANSWERS = 4096
"""So many answers may be waited for or run at once, over everybody; each takes some memory while it waits."""


CLOSED = (
    "Another server answers for this model and gives nothing but its answers: no strength, no prompt as it was sent, "
    "no scores of another model's answer, no proof."
)


class Meter(Protocol):
    """Counts answers, the page's and the API's alike. Called from one event loop or several; must not block."""

    def began(self) -> None:
        """An answer was asked for and its model may be run."""
        ...

    def first_token(self) -> None:
        """It said its first word, or its prompt came back."""
        ...

    def ended(self, outcome: Finish | PlaygroundError, *, spoke: bool) -> None:
        """It is over, perhaps before any word; `Cancelled` where whoever asked has gone."""
        ...


class Playground:
    """What people and clients can do. `inference` False is an inventory-only deployment.

    Without `accounts` nobody needs a key, and all are `default_caller`. `history` is what is kept of it.
    """

    def __init__(
        self,
        catalog: LiveCatalog,
        registry: Registry,
        history: History,
        *,
        inference: bool = True,
        accounts: Accounts | None = None,
        default_caller: Caller = ANYBODY,
        meter: Meter | None = None,
        max_answers: int = MAX_ANSWERS,
    ) -> None:
        self._catalog, self._registry, self.history, self.inference = catalog, registry, history, inference
        self._places = threading.BoundedSemaphore(max_answers)
        self._accounts, self.default_caller, self._meter = accounts, default_caller, meter
        self._download_sizes = hub.DownloadSizes()

    @property
    def keys_on(self) -> bool:
        """Whether callers must show a key."""
        return self._accounts is not None

    def sign_in(self, key: str) -> str:
        """The id of a valid key; raises `InvalidKey`."""
        if self._accounts is None:
            raise InvalidKey
        return self._accounts.sign_in(key)

    def caller(self, key_id: str | None, org: str | None = None) -> Caller:
        """Who speaks with a key, for `org` or for the account's default organization; asked anew at each request,
        so that a revoked key is of no more use. Raises `InvalidKey`, `Forbidden`."""
        if self._accounts is None:
            return self.default_caller
        if key_id is None:
            raise InvalidKey
        return self._accounts.caller(key_id, org)

    def models(self, caller: Caller = ANYBODY) -> list[ModelStatus]:
        """Every model that `caller` may see with its state, each base followed by its fine-tunes."""
        return [self.status_of(card) for card in self._catalog.cards.values() if caller.sees(card)]

    def status(self, model_id: str, caller: Caller = ANYBODY) -> ModelStatus:
        """One model with its state; raises `ModelNotFound`."""
        return self.status_of(self._catalog.card(model_id, caller.sees))

    async def stream(self, request: GenerationRequest, caller: Caller = ANYBODY) -> AsyncGenerator[Event, None]:
        """The events of one answer, `Finish` last; raises `PlaygroundError`. Closing the iterator cancels.

        The first event comes at once, and another at least every quarter of a second.
        """
        card = self._asked(request, caller)
        with _place_among(self._places), _counted(self._meter) as hear:
            async with contextlib.aclosing(self._run(request, card, caller)) as events:
                async for event in events:
                    hear(event)
                    yield event

    async def _run(self, request: GenerationRequest, card: ModelCard, caller: Caller) -> AsyncGenerator[Event, None]:
        arrived_at = time.perf_counter()
        inbox, post = _mailbox()
        job: Job | None = None
        latest = Progress("waiting")
        yield latest
        lease = self._registry.lease(card, post, post, caller.account or "")
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
        self, requests: Sequence[GenerationRequest], caller: Caller = ANYBODY
    ) -> AsyncGenerator[tuple[int, Event | PlaygroundError], None]:
        """Several answers at the same time, as (index, event). One that fails yields its error; the others go on."""
        inbox: asyncio.Queue[tuple[int, Event | PlaygroundError]] = asyncio.Queue()
        tasks = [asyncio.create_task(self._pump(i, request, caller, inbox)) for i, request in enumerate(requests)]
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

    async def complete(self, request: GenerationRequest, caller: Caller = ANYBODY) -> Answer:
        """The folded stream; raises what the stream raises."""
        fold = Fold()
        async with contextlib.aclosing(self.stream(request, caller)) as events:
            async for event in events:
                fold.add(event)
        return fold.answer()

    async def complete_all(self, requests: Sequence[GenerationRequest], caller: Caller = ANYBODY) -> list[Answer]:
        """Several answers asked for at the same time, whole; raises the first error, which ends the others."""
        folds = [Fold() for _ in requests]
        async with contextlib.aclosing(self.stream_all(requests, caller)) as items:
            async for index, item in items:
                if isinstance(item, PlaygroundError):
                    raise item
                folds[index].add(item)
        return [fold.answer() for fold in folds]

    async def render(self, request: GenerationRequest, caller: Caller = ANYBODY) -> Rendered:
        """What a model would really be given for a request."""
        card = self._asked(request, caller)
        return await self._ask(card, caller, lambda engine: engine.render(card, request))

    async def describe(self, model_id: str, caller: Caller = ANYBODY) -> AdapterDetails:
        """A fine-tune's adapter and where its change lies; raises `InvalidRequest` for a base."""
        card = self._runnable_tune(model_id, caller)
        return await self._ask(card, caller, lambda engine: engine.describe(card))

    async def check(self, request: GenerationRequest, proof: Proof, caller: Caller = ANYBODY) -> Sequence[Verdict]:
        """Holds the proof of an answer to `request` against the weights and files as they are now."""
        card = self._asked(request, caller)
        return await self._ask(card, caller, lambda engine: engine.check(card, request, proof))

    async def fidelity(self, request: GenerationRequest, caller: Caller = ANYBODY) -> Sequence[Fidelity]:
        """A fine-tune against merged copies of it on a request's prompt; raises `InvalidRequest` for a base."""
        card = self._runnable_tune(request.model, caller)
        return await self._ask(card, caller, lambda engine: engine.fidelity(card, request))

    async def save(
        self, model_id: str, folder: Path, caller: Caller = ANYBODY
    ) -> AsyncGenerator[Progress | Saved, None]:
        """Writes a fine-tune, merged, into a new folder: how far it is, `Saved` last; raises `PlaygroundError`, an
        `InvalidRequest` for a base. Closing the iterator gives it up, and nothing is left of it."""
        card = self._runnable_tune(model_id, caller)

        def work(watch: LoadWatch) -> Saved:
            with held(self._registry, card, watch) as engine:
                return engine.save(card, folder, watch)

        async with contextlib.aclosing(stream_of(work)) as items:
            async for item in items:
                yield item

    async def push(
        self, folder: Path, repo: str, token: str, *, private: bool = True, endpoint: str | None = None
    ) -> AsyncGenerator[Progress | str, None]:
        """Uploads a merge that was saved in `folder` to a new repo of the Hub, by the token of whoever asks, which is
        kept nowhere: how far it is, the repo's address last. Closing the iterator stops it."""

        def work(watch: LoadWatch) -> str:
            return hub.push(folder, repo, token, watch, private=private, endpoint=endpoint)

        async with contextlib.aclosing(stream_of(work)) as items:
            async for item in items:
                yield item

    def require_tune(self, model_id: str, caller: Caller = ANYBODY) -> None:
        """Raises what asking for a fine-tune's adapter would raise before it is loaded."""
        self._runnable_tune(model_id, caller)

    def require_runnable(self, model_id: str, caller: Caller = ANYBODY) -> None:
        """Raises what a request for this model would raise before it is loaded."""
        self._runnable(model_id, caller)

    async def _ask(self, card: ModelCard, caller: Caller, question: Callable[[Engine], T]) -> T:
        """An engine's answer to a question that blocks, asked in a thread. Its model is held until that ends, also
        where whoever asked has gone."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Engine] = loop.create_future()

        def settle(outcome: Engine | PlaygroundError) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, ready, outcome)

        lease = self._registry.lease(card, lambda _: None, settle, caller.account or "")
        try:
            engine = await ready
        except BaseException:
            lease.release()
            raise
        asking = loop.run_in_executor(None, question, engine)
        asking.add_done_callback(lambda _: lease.release())
        return await asyncio.shield(asking)

    async def _pump(
        self,
        index: int,
        request: GenerationRequest,
        caller: Caller,
        inbox: asyncio.Queue[tuple[int, Event | PlaygroundError]],
    ) -> None:
        try:
            async with contextlib.aclosing(self.stream(request, caller)) as events:
                async for event in events:
                    inbox.put_nowait((index, event))
        except PlaygroundError as error:
            inbox.put_nowait((index, error))
        except Exception:
            # A bug of ours must end this side, or whoever reads would wait for ever.
            log.exception("an answer broke off")
            inbox.put_nowait((index, InternalError("the answer broke off; the log says why")))

    def _asked(self, request: GenerationRequest, caller: Caller) -> ModelCard:
        card = self._runnable(request.model, caller)
        if request.strength != 1 and card.type == "base":
            raise broken_rule("strength", request.strength, "only a fine-tuned model has a strength")
        return card

    def _runnable_tune(self, model_id: str, caller: Caller) -> ModelCard:
        card = self._runnable(model_id, caller)
        if card.type == "base":
            raise broken_rule("model", card.id, "only a fine-tuned model has an adapter")
        return card

    def _runnable(self, model_id: str, caller: Caller) -> ModelCard:
        if not self.inference:
            raise PlaygroundUnavailable
        card = self._catalog.card(model_id, caller.sees)
        if card.problem is not None:
            raise ModelLoadFailed(f"{card.id} cannot be run: {card.problem}")
        return card

    def status_of(self, card: ModelCard) -> ModelStatus:
        """A card with its state."""
        if card.problem is not None:
            return ModelStatus(card, "failed", reason=card.problem)
        state, reason = self._registry.state(card)
        base = self._catalog.base_of(card)
        if base.is_remote:
            return ModelStatus(card, state or "disk", reason=reason, closed=CLOSED)
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

    def memory_bytes(self, status: ModelStatus) -> int | None:
        """About what loading a model takes, a fine-tune without its base; None where that cannot be told yet."""
        card = status.card
        if card.problem is not None or card.endpoint:
            return None
        base = self._catalog.base_of(card)
        repo = (card.adapter, card.adapter_revision) if card.adapter else (base.source, base.revision)
        tensors = self._tensors(*repo)
        if tensors is None:
            return None
        return sum(tensor.num_bytes for tensor in tensors) if card.adapter else hub.memory_bytes(tensors, base.dtype)

    def dtype(self, card: ModelCard) -> str | None:
        """In what a model's weights, a fine-tune's base, will be kept; None where that cannot be told yet."""
        if card.problem is not None:
            return None
        base = self._catalog.base_of(card)
        if base.dtype is not None or base.is_remote:
            return base.dtype
        tensors = self._tensors(base.source, base.revision)
        return None if tensors is None else hub.dtype_of(tensors)

    def _tensors(self, source: str, revision: str | None) -> tuple[hub.Tensor, ...] | None:
        """What the files on this disk hold, or those on the Hub; None where that cannot be told, or not yet."""
        folder = hub.folder_on_disk(source, revision)
        try:
            return hub.tensors_in(folder) if folder else self._download_sizes.tensors(source, revision)
        except ModelLoadFailed:
            return None

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


@contextlib.contextmanager
def _place_among(places: threading.BoundedSemaphore) -> Generator[None, None, None]:
    """One of the places, until the block ends; raises `Overloaded` where none is left."""
    if not places.acquire(blocking=False):
        raise Overloaded("Too many answers are waiting: ask again in a moment.")
    try:
        yield
    finally:
        places.release()


@contextlib.contextmanager
def _counted(meter: Meter | None) -> Generator[Callable[[Event], None], None, None]:
    """Tells the meter of one answer; what it gives must hear of every event."""
    if meter is None:
        yield lambda _: None
        return
    outcome: Finish | PlaygroundError = Cancelled("whoever asked has gone")
    spoke = False

    def hear(event: Event) -> None:
        nonlocal outcome, spoke
        said = isinstance(event, Echo | Finish) or (isinstance(event, Delta) and (event.token_ids or event.text))
        if said and not spoke:
            spoke = True
            meter.first_token()
        if isinstance(event, Finish):
            outcome = event

    meter.began()
    try:
        yield hear
    except PlaygroundError as error:
        outcome = error
        raise
    except Exception:
        outcome = InternalError("the answer broke off")
        raise
    finally:
        meter.ended(outcome, spoke=spoke)


class Fold:
    """The whole answer out of its events."""

    def __init__(self) -> None:
        self._deltas: list[Delta] = []
        self._echo: Echo | None = None
        self._finish: Finish | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, Delta):
            self._deltas.append(event)
        elif isinstance(event, Echo):
            self._echo = event
        elif isinstance(event, Finish):
            self._finish = event

    def answer(self) -> Answer:
        """The answer, once its `Finish` was added."""
        assert self._finish is not None, "a stream ends with Finish or an error"
        return Answer(
            text="".join(delta.text for delta in self._deltas if not delta.thinking),
            thinking="".join(delta.text for delta in self._deltas if delta.thinking),
            token_ids=tuple(token_id for delta in self._deltas for token_id in delta.token_ids),
            logprobs=tuple(logprob for delta in self._deltas for logprob in delta.logprobs),
            finish=self._finish,
            echo=self._echo,
            thought=tuple(delta.thinking for delta in self._deltas for _ in delta.token_ids),
        )


def _settle(ready: asyncio.Future[Engine], outcome: Engine | PlaygroundError) -> None:
    if ready.cancelled():
        return
    if isinstance(outcome, PlaygroundError):
        ready.set_exception(outcome)
    else:
        ready.set_result(outcome)


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
        return await next_within_a_heartbeat(inbox)
    except TimeoutError:
        return None
