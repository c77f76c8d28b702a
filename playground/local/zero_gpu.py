"""The embedded engine where a GPU is lent for one answer at a time: a Hugging Face Space on ZeroGPU.

Knows that what is lent runs a generator function in a forked process, where alone there is CUDA, and pickles what goes
in and what comes out. All that needs no GPU is asked of the embedded engine on this side. None of its threads lives
on in a fork, so nothing there may wait for one of them, or for a lock that one of them may hold.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from playground.errors import Cancelled, InternalError, Overloaded, PlaygroundError
from playground.evidence import AdapterDetails, Fidelity, Proof, Rendered, Saved, Verdict
from playground.local.engine import LocalEngine, LocalLoader
from playground.types import (
    Engine,
    Event,
    Finish,
    GenerationRequest,
    Job,
    LoadWatch,
    ModelCard,
    Placement,
    Progress,
)

log = logging.getLogger(__name__)

SECONDS_TO_BEGIN = 15
"""A fork takes the weights to the GPU before its first answer, and reads the prompt."""
TOKENS_PER_SECOND = 30
LENT = "cuda"
"""Where answers are calculated, whatever an entry says."""
HEARTBEAT_SECONDS = 0.25
"""So often at least does a fork yield something: only then is it told to stop."""

Item = Event | PlaygroundError | None
Answering = Callable[[GenerationRequest, ModelCard, float, float], Generator[Item, None, None]]


class Lend(Protocol):
    """`spaces.GPU`: decorates a generator function so that each call runs in a fork that has a GPU, for at most the
    seconds that `duration` says of the call's arguments."""

    def __call__(self, *, duration: Callable[..., int]) -> Callable[[Answering], Answering]: ...


class ZeroGpuLoader:
    """Makes engines whose answers run where `lend` says. Must be made before the page is launched: a Space of which
    nothing was decorated by then is lent nothing."""

    def __init__(self, own: LocalLoader, lend: Lend) -> None:
        self._own, self._lend = own, lend
        lend(duration=seconds_of)(_nothing)

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        return self._own.size_bytes(base, watch)

    def device_of(self, base: ModelCard) -> str:  # noqa: ARG002
        return LENT

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> Engine:
        # What torch says of CUDA on this side is pretended, and only in the main thread.
        local = self._own.load(replace(base, device="cpu"), watch, has_room)
        return ZeroGpuEngine(local, self._lend)


class ZeroGpuEngine:
    """One base whose answers each run in a fork with a lent GPU; every other question is answered here."""

    def __init__(self, local: LocalEngine, lend: Lend) -> None:
        self._local, self._lend = local, lend
        self._lent: dict[str, Answering] = {}
        self._closed = threading.Event()

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        """Makes `card` ready here, for forks to inherit. A fork is lent again to the same function and knows only what
        was ready when it began, so each model has a function of its own."""
        self._local.prepare(card, watch)
        self._lent[card.id] = self._lend(duration=seconds_of)(_answering(self._local))

    def submit(self, job: Job) -> None:
        # Whose share of GPU time an answer costs is told by the context that it was asked in.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._relay, job), name=f"lent {job.card.id}", daemon=True).start()

    def render(self, card: ModelCard, request: GenerationRequest) -> Rendered:
        return self._local.render(card, request)

    def describe(self, card: ModelCard) -> AdapterDetails:
        return self._local.describe(card)

    def check(self, card: ModelCard, request: GenerationRequest, proof: Proof) -> Sequence[Verdict]:
        return self._local.check(card, request, proof)

    def fidelity(self, card: ModelCard, request: GenerationRequest) -> Sequence[Fidelity]:
        return self._local.fidelity(card, request)

    def save(self, card: ModelCard, folder: Path, watch: LoadWatch) -> Saved:
        return self._local.save(card, folder, watch)

    def size_of(self, card: ModelCard, watch: LoadWatch) -> int:
        return self._local.size_of(card, watch)

    def memory_of(self, card: ModelCard) -> int:
        return self._local.memory_of(card)

    def placement(self) -> Placement:
        return replace(self._local.placement(), device=LENT)

    def forget(self, card: ModelCard) -> None:
        self._lent.pop(card.id, None)
        self._local.forget(card)

    def close(self) -> None:
        self._closed.set()
        self._lent.clear()
        self._local.close()

    def _relay(self, job: Job) -> None:
        """Hands on what the fork says; a job that is cancelled closes its generator, which ends the fork's answer."""
        job.emit(Progress("waiting", None, "waiting for a GPU"))
        try:
            answering = self._lent[job.card.id](job.request, job.card, job.arrived_at, job.ready_at)
            with contextlib.closing(answering):
                last = self._hand_on(answering, job)
        except Exception as error:  # noqa: BLE001 - whatever lending raises ends this answer, and must end it
            last = _told(error)
        if last is not None:
            job.emit(last)

    def _hand_on(self, items: Generator[Item, None, None], job: Job) -> PlaygroundError | None:
        """None where the answer came to its end, or why it did not."""
        ended = False
        for item in items:
            if ended:
                continue
            if job.cancelled.is_set():
                return Cancelled("the answer was stopped")
            if self._closed.is_set():
                return InternalError("the model was unloaded in the middle of the answer")
            if item is not None:
                ended = isinstance(item, Finish | PlaygroundError)
                job.emit(self._with_hash(item))
        return None if ended else InternalError("the GPU was taken away in the middle of the answer: ask again")

    def _with_hash(self, item: Event | PlaygroundError) -> Event | PlaygroundError:
        """A fork that began before the base was hashed never learns its hash."""
        if not isinstance(item, Finish) or item.proof is None or item.proof.base_hash is not None:
            return item
        return replace(item, proof=replace(item.proof, base_hash=self._local.base_hash))


def seconds_of(request: GenerationRequest, *_: object) -> int:
    """For how long a GPU is asked, in seconds."""
    return SECONDS_TO_BEGIN + -(-request.sampling.max_tokens // TOKENS_PER_SECOND)


def _nothing(*_: object) -> Generator[Item, None, None]:
    yield None


def _answering(local: LocalEngine) -> Answering:
    # Functions that were decorated once are kept for ever; the model must not be kept with them.
    found = weakref.ref(local)

    def answering(
        request: GenerationRequest, card: ModelCard, arrived_at: float, ready_at: float
    ) -> Generator[Item, None, None]:
        engine = found()
        assert engine is not None, "a fork keeps what there was when it began"
        yield from _in_fork(engine, request, card, arrived_at, ready_at)

    return answering


def _in_fork(
    engine: LocalEngine, request: GenerationRequest, card: ModelCard, arrived_at: float, ready_at: float
) -> Generator[Item, None, None]:
    # Torch's own threads were not forked either: work that is shared out among them would never end.
    torch.set_num_threads(1)
    engine.move(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    inbox: queue.SimpleQueue[Event | PlaygroundError] = queue.SimpleQueue()
    # A view that this answer would be merged into is lost with the fork.
    by_row = replace(card, merge="never") if card.merge == "auto" else card
    job = Job(request, by_row, inbox.put, arrived_at, ready_at)
    engine.submit(job)
    try:
        item: Item = None
        while not isinstance(item, Finish | PlaygroundError):
            try:
                item = inbox.get(timeout=HEARTBEAT_SECONDS)
            except queue.Empty:
                item = None
            yield item
    finally:
        job.cancelled.set()


def _told(error: Exception) -> PlaygroundError:
    """What went wrong with lending, in its own words where they are meant for people, as those on quotas are."""
    title, message = getattr(error, "title", None), getattr(error, "message", None)
    if isinstance(title, str) and title.startswith("ZeroGPU") and title != "ZeroGPU worker error":
        return Overloaded(f"{title}: {message}")
    log.error("an answer broke off on a lent GPU", exc_info=error)
    return InternalError("the answer broke off on the GPU; the log says why")
