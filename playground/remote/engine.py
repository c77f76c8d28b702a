"""Answers jobs by asking another server: when to ask again, how long to wait, when to hang up.

Knows jobs, time and errors; refuses to know how a server is spoken to and what its chunks look like. It has a thread
of its own, with the event loop in which servers are asked.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from playground.errors import Cancelled, InternalError, InvalidRequest, ModelLoadFailed, PlaygroundError, broken_rule
from playground.evidence import AdapterDetails, Proof, Rendered
from playground.remote.asking import Dialect, call_for, require_askable
from playground.remote.connecting import server_of
from playground.remote.failing import wait_before_retry
from playground.remote.hearing import Hearing
from playground.remote.limits import Limits
from playground.remote.server import Garbled, Lost, Refusal
from playground.types import Finish, GenerationRequest, Job, LoadWatch, ModelCard, Placement, Progress

log = logging.getLogger(__name__)
T = TypeVar("T")

LISTING_SECONDS = 10.0
"""So long a server may take to list its models; the first request decides where it takes longer."""
CANCEL_SECONDS = 0.05
"""So often a job is asked whether it was cancelled: a thread's flag wakes no event loop."""


class RemoteEngine:
    """Answers for all models that one server serves with one key. `base` says where; the key is read in `environ`.

    Raises `ModelLoadFailed` where the variable that should hold the key is not set.
    """

    def __init__(self, base: ModelCard, environ: Mapping[str, str], limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._server, self._place = server_of(base, environ, self._limits.connect)
        self._dialects: dict[str, Dialect] = {}
        self._answering: set[asyncio.Task[Finish]] = set()
        self._closing = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"remote {self._place.name}", daemon=True)
        self._thread.start()

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        """Asks whether the server is there and serves `card`. Where it does not list what it serves, the first request
        decides."""
        listing = self._within(self._served(card))
        while True:
            watch.report(Progress("loading", None, f"asking {self._place.name}"))
            try:
                served = listing.result(timeout=0.1)
                break
            except TimeoutError:
                continue
            except BaseException:
                listing.cancel()
                raise
        if served and not _is_among(card.name_there, served):
            raise self._place.no_such_model(card, served)

    def submit(self, job: Job) -> None:
        """Takes a job and returns at once."""
        with self._closing:
            if not self._closed:
                self._within(self._run(job))
                return
        job.emit(InternalError("the model was unloaded before the answer began"))

    def render(self, card: ModelCard, request: GenerationRequest) -> Rendered:
        """Always raises `InvalidRequest`: what a server makes of messages is its own affair."""
        require_askable(card, request)
        raise self._hidden(card, "the prompt as the model sees it, and its tokens")

    def describe(self, card: ModelCard) -> AdapterDetails:
        """Always raises `InvalidRequest`: the adapter is on another machine."""
        raise self._hidden(card, "its adapter")

    def check(self, card: ModelCard, request: GenerationRequest, proof: Proof) -> NoReturn:  # noqa: ARG002
        """Always raises `InvalidRequest`: an answer from elsewhere proves nothing."""
        raise self._hidden(card, "what weights gave an answer")

    def fidelity(self, card: ModelCard, request: GenerationRequest) -> NoReturn:  # noqa: ARG002
        """Always raises `InvalidRequest`: nothing can be merged here."""
        raise self._hidden(card, "its adapter, which could be merged")

    def save(self, card: ModelCard, folder: Path, watch: LoadWatch) -> NoReturn:  # noqa: ARG002
        """Always raises `InvalidRequest`: there are no weights here to be written."""
        raise self._hidden(card, "its weights, which could be saved")

    def size_of(self, card: ModelCard, watch: LoadWatch) -> int:  # noqa: ARG002
        """None of this machine's."""
        return 0

    def memory_of(self, card: ModelCard) -> int:  # noqa: ARG002
        """None of this machine's."""
        return 0

    def placement(self) -> Placement:
        """Not told by other servers."""
        return Placement()

    def forget(self, card: ModelCard) -> None:
        """What was learned of how its server wants to be asked."""
        self._dialects.pop(card.name_there, None)

    def close(self) -> None:
        """Hangs up on every answer, which gets an error, and ends the thread."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._within(self._hang_up()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _within(self, asked: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(asked, self._loop)

    def _hidden(self, card: ModelCard, what: str) -> InvalidRequest:
        return broken_rule("model", card.id, f"{self._place.name} answers for it, and does not show {what}")

    async def _served(self, card: ModelCard) -> list[str]:
        """What the server says that it serves; nothing where it does not say."""
        try:
            async with asyncio.timeout(LISTING_SECONDS):
                return await self._server.model_ids()
        except Lost as error:
            raise self._place.error(error, card, spoke=False) from error
        except Refusal as error:
            if error.status in (401, 403):
                raise self._place.error(error, card, spoke=False) from error
            return []
        except (Garbled, TimeoutError):
            return []

    async def _run(self, job: Job) -> None:
        """One job from its first try to its last event. Never raises."""
        answering = asyncio.create_task(self._answer(job))
        self._answering.add(answering)
        stopped = False
        while not answering.done():
            if job.cancelled.is_set() and not stopped:
                stopped = answering.cancel()
            await asyncio.wait({answering}, timeout=CANCEL_SECONDS)
        self._answering.discard(answering)
        job.emit(self._outcome(answering, stopped))

    def _outcome(self, answering: asyncio.Task[Finish], stopped: bool) -> Finish | PlaygroundError:
        if answering.cancelled():
            gone = InternalError("the model was unloaded in the middle of the answer")
            return Cancelled("the answer was stopped") if stopped else gone
        error = answering.exception()
        if error is None:
            return answering.result()
        if isinstance(error, PlaygroundError):
            return error
        log.error("an answer from %s broke off", self._place.name, exc_info=error)
        return InternalError("something broke in here; the log says what")

    async def _answer(self, job: Job) -> Finish:
        """Asks until there is an answer; only what has not said a word yet is asked again."""
        card, num_tries = job.card, 1
        hearing = Hearing(job, job.emit)
        while True:
            dialect = self._dialects.get(card.name_there, Dialect())
            try:
                await self._listen(job, hearing, dialect)
                return hearing.finish()
            except (Refusal, Lost, Garbled) as failure:
                if isinstance(failure, Refusal) and failure.status in (400, 422):
                    learned = dialect.after(failure)
                    if learned != dialect:
                        self._dialects[card.name_there] = learned
                        continue
                wait = wait_before_retry(failure, num_tries)
                if hearing.spoke or wait is None or num_tries >= self._limits.num_tries:
                    raise await self._error(failure, card, hearing.spoke) from failure
            num_tries += 1
            job.emit(Progress("waiting", None, f"{self._place.name} is asked again in {wait:.1f} s"))
            await asyncio.sleep(wait)

    async def _listen(self, job: Job, hearing: Hearing, dialect: Dialect) -> None:
        """One try; returns once the answer is over."""
        call = call_for(job.card, job.request, dialect)
        job.emit(Progress("prefill", None, f"asked {self._place.name}"))
        now = self._loop.time
        latest = now() + self._limits.whole
        limit = asyncio.timeout_at(min(latest, now() + self._limits.first_token))
        try:
            async with limit, aclosing(self._server.chunks(call)) as chunks:
                async for chunk in chunks:
                    said_more = _heard(hearing, chunk)
                    if hearing.cut:
                        return
                    if said_more:
                        patience = self._limits.tail if hearing.over else self._limits.next_token
                        limit.reschedule(min(latest, now() + patience))
        except (TimeoutError, Refusal, Lost, Garbled):
            if hearing.over:
                return
            if not limit.expired():
                raise
            raise self._too_slow(job.card, hearing.spoke, now() >= latest) from None
        if not hearing.over:
            raise Garbled("its stream ended without saying how the answer ended")

    def _too_slow(self, card: ModelCard, spoke: bool, whole: bool) -> PlaygroundError:
        if whole:
            return InternalError(
                f"{self._place.name} was not done after {self._limits.whole:g} s: ask for fewer tokens"
            )
        if spoke:
            return InternalError(f"{self._place.name} said nothing more for {self._limits.next_token:g} s")
        return ModelLoadFailed(f"{card.id}: {self._place.name} said nothing for {self._limits.first_token:g} s")

    async def _error(self, failure: Refusal | Lost | Garbled, card: ModelCard, spoke: bool) -> PlaygroundError:
        """What whoever asked is told; of a model that is not there, with what is."""
        unknown = isinstance(failure, Refusal) and failure.status == 404
        served = await self._served(card) if unknown else []
        if served and not _is_among(card.name_there, served):
            return self._place.no_such_model(card, served)
        return self._place.error(failure, card, spoke)

    async def _hang_up(self) -> None:
        answering = set(self._answering)
        for task in answering:
            task.cancel()
        if answering:
            await asyncio.wait(answering)
        while self._answering:
            await asyncio.sleep(0)
        await self._server.close()


def _is_among(name: str, served: Sequence[str]) -> bool:
    """SGLang and Ray Serve call an adapter base:adapter, and may list the base alone."""
    return name in served or name.rpartition(":")[0] in served


def _heard(hearing: Hearing, chunk: Any) -> bool:
    try:
        return hearing.hear(chunk)
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise Garbled(f"it sent something that is no part of an answer: {type(error).__name__}") from error
