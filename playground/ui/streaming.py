"""From a stream of events to what a frame shows: batches of events, answers that grow, one run a session.

Knows the events and asyncio. Refuses to know components: handlers turn these values into updates.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from playground.errors import (
    InternalError,
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    Overloaded,
    PlaygroundError,
    PlaygroundUnavailable,
)
from playground.types import Caller, Delta, Event, Finish, GenerationRequest, Progress

T = TypeVar("T")

BATCH_SECONDS = 0.08
"""More updates a second than this drown a browser; fewer look like stutter."""
HEARTBEAT_SECONDS = 0.25
"""A handler that yields nothing for longer is not told that its browser has gone."""

View = dict[str, Any]
State = Literal["idle", "waiting", "streaming", "done", "stopped", "failed"]

STAGES = {
    "waiting": "Waiting for a free place",
    "downloading": "Downloading",
    "loading": "Loading the weights",
    "prefill": "Reading the prompt",
    "saving": "Writing the merge",
    "uploading": "Uploading",
}
METRICS = ("First token", "Total", "Speed", "Prompt", "Answer", "Finish", "Seed", "Ran as")
FINISHES = {
    "stop": "The model ended its answer.",
    "length": "Cut at the limit of new tokens, or the context is full.",
    "stopped": "You stopped it.",
    "error": "An error broke it off.",
}
VIEWS = {
    "base": "The base model, without any adapter.",
    "attached": "The adapter beside the base's weights, which stay as they are.",
    "merged": "A copy of the weights that the adapter changes, with the change added in.",
    "remote": "Another server.",
}
STEPPERS = {
    "kernels": "Computed by compiled kernels.",
    "transformers": "Computed by transformers' modules.",
    None: "",
}
NO_VALUE = "–"


class Streams(Protocol):
    """The one method of the service that answering needs."""

    def stream_all(
        self, requests: Sequence[GenerationRequest], caller: Caller
    ) -> AsyncGenerator[tuple[int, Event | PlaygroundError], None]: ...


@dataclass(slots=True)
class LiveAnswer:
    """One answer while it grows, and after."""

    model: str
    state: State = "waiting"
    text: str = ""
    thinking: str = ""
    token_ids: list[int] = field(default_factory=list)
    thought: list[bool] = field(default_factory=list)
    progress: Progress | None = None
    finish: Finish | None = None
    error: PlaygroundError | None = None
    started_at: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        return self.state in ("waiting", "streaming")

    def apply(self, event: Event | PlaygroundError) -> None:
        if isinstance(event, Delta):
            self._grow(event)
        elif isinstance(event, Finish):
            self.state, self.finish = "done", event
        elif isinstance(event, PlaygroundError):
            self.state, self.error = "failed", event
        elif isinstance(event, Progress):
            self.progress = event

    def stop(self) -> None:
        if self.running:
            self.state = "stopped"

    def view(self) -> View:
        """What the frame draws of it; a new value each time, so that changes can be found by comparison."""
        return {
            "model": self.model,
            "state": self.state,
            "text": self.text,
            "thinking": self.thinking,
            "progress": self._progress() if self.state == "waiting" else None,
            "metrics": metrics(self),
            "source": source(self.finish),
            "notes": list(self.finish.notes) if self.finish else [],
        }

    def _grow(self, delta: Delta) -> None:
        if delta.thinking:
            self.thinking += delta.text
        else:
            self.text += delta.text
        self.token_ids += delta.token_ids
        self.thought += [delta.thinking] * len(delta.token_ids)
        if delta.text or delta.token_ids:
            self.state = "streaming"

    def _progress(self) -> View:
        stage = STAGES[self.progress.stage] if self.progress else "Starting"
        return {
            "label": stage,
            "detail": self.progress.detail if self.progress else "",
            "fraction": self.progress.fraction if self.progress else None,
            "seconds": math.floor(time.monotonic() - self.started_at),
        }


class Session:
    """The run of one browser session: at most one at a time, and how to stop it."""

    def __init__(self) -> None:
        self._pump: asyncio.Task[None] | None = None
        self.busy = False
        self.live: Sequence[LiveAnswer] = ()

    @contextlib.contextmanager
    def claimed(self) -> Generator[None, None, None]:
        """Marks the session as busy for the time of a run."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def stop(self) -> None:
        """Ends the run, wherever it is: waiting, loading, reading or answering."""
        if self._pump is not None:
            self._pump.cancel()

    def broke(self) -> None:
        """A handler ended by an error that nobody foresaw: its answers say so."""
        for answer in self.live:
            if answer.state != "done":
                answer.apply(InternalError("The page failed while it waited for the answer."))

    async def batches(self, events: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
        """What came since the last batch, at most every `BATCH_SECONDS`; an empty batch is a heartbeat.

        Ends when the events end or `stop` was called; raises what they raise. Closing it closes them.
        """
        arrived: list[T] = []
        self._pump = asyncio.create_task(_collect(events, arrived))
        yielded_at = 0.0
        try:
            while not self._pump.done() or arrived:
                await asyncio.wait({self._pump}, timeout=BATCH_SECONDS)
                now = time.monotonic()
                if arrived or now - yielded_at > HEARTBEAT_SECONDS:
                    batch, yielded_at = arrived.copy(), now
                    arrived.clear()
                    yield batch
            if not self._pump.cancelled():
                self._pump.result()
        finally:
            self._pump.cancel()
            await asyncio.wait({self._pump})
            self._pump = None


async def _collect(events: AsyncGenerator[T, None], arrived: list[T]) -> None:
    async with contextlib.aclosing(events):
        async for event in events:
            arrived.append(event)


async def answer_all(
    service: Streams,
    session: Session,
    requests: Sequence[GenerationRequest],
    answers: Sequence[LiveAnswer],
    caller: Caller,
) -> AsyncGenerator[None, None]:
    """Runs the caller's requests side by side; yields each time that the answers have changed, or time has passed.

    A stop marks what was still running; an error of the whole run marks every answer.
    """
    session.live = answers
    try:
        async with contextlib.aclosing(session.batches(service.stream_all(requests, caller))) as batches:
            async for batch in batches:
                for index, event in batch:
                    answers[index].apply(event)
                yield
    except PlaygroundError as error:
        for answer in answers:
            if answer.running:
                answer.apply(error)
    finally:
        for answer in answers:
            answer.stop()


def metrics(answer: LiveAnswer | None) -> list[View]:
    """Name, value and meaning of each measurement; dashes until it is known."""
    if answer is None or answer.finish is None:
        shown = dict.fromkeys(METRICS, NO_VALUE)
        if answer and answer.token_ids:
            shown["Answer"] = _tokens(len(answer.token_ids))
        broken = {"stopped": "stopped", "failed": "error"}.get(answer.state) if answer else None
        if broken:
            shown["Finish"] = broken
        return [_metric(name, value, FINISHES.get(value, "")) for name, value in shown.items()]
    finish = answer.finish
    speed = finish.timing.tokens_per_second(finish.usage.num_completion_tokens)
    load = f"{duration(finish.timing.load_ms)} of it loading. " if finish.timing.load_ms >= 1 else ""
    queued = f"{duration(finish.timing.queued_ms)} of it waiting." if finish.timing.queued_ms >= 1 else ""
    seed_meaning = "" if finish.exact_seed else "Answers beside it can change what this seed gives."
    return [
        _metric("First token", duration(finish.timing.first_token_ms), load + queued),
        _metric("Total", duration(finish.timing.total_ms), load + queued),
        _metric("Speed", NO_VALUE if speed is None else f"{speed:.1f} tok/s", "Tokens a second, after the first."),
        _metric("Prompt", _tokens(finish.usage.num_prompt_tokens), "Tokens that went in."),
        _metric("Answer", _tokens(finish.usage.num_completion_tokens), "Tokens that came out."),
        _metric("Finish", finish.reason, FINISHES[finish.reason]),
        _metric("Seed", NO_VALUE if finish.seed is None else str(finish.seed), seed_meaning),
        _metric("Ran as", finish.view, f"{VIEWS[finish.view]} {STEPPERS[finish.stepper]}".strip()),
    ]


def source(finish: Finish | None) -> str:
    """What gave an answer, in a line: the base at its revision and what its weights are kept in, the adapter, each with
    the beginning of its hash; how the adapter ran, and its strength."""
    proof = finish.proof if finish else None
    if finish is None or proof is None:
        return ""
    revision = f"@{proof.revision[:8]}" if proof.revision else ""
    parts = (f"{_last_part(proof.base)}{revision}", proof.dtype, _short(proof.base_hash))
    base = " ".join(part for part in parts if part)
    if proof.adapter is None:
        return base
    adapter = f"{_last_part(proof.adapter)} {_short(proof.adapter_hash)}"
    return f"{base} + {adapter} · {finish.view} · strength {proof.strength:g}"


def _last_part(model_id: str) -> str:
    return model_id.rpartition("/")[2]


def _short(digest: str | None) -> str:
    return digest[:8] if digest else ""


def _metric(name: str, value: str, meaning: str) -> View:
    return {"name": name, "value": value, "meaning": meaning.strip()}


def _tokens(count: int) -> str:
    return f"{count:,} tok"


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return NO_VALUE
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    return f"{milliseconds // 60_000:.0f} min {milliseconds % 60_000 / 1000:.0f} s"


def explain(error: PlaygroundError) -> View:
    """An error as a person reads it: what, why, and what to do."""
    for kind, title, advice in _ADVICE:
        if isinstance(error, kind):
            return {"title": title, "message": error.message, "advice": advice}
    return {
        "title": "Something broke",
        "message": error.message,
        "advice": "Run it again; the log says more.",
    }


_ADVICE: tuple[tuple[type[PlaygroundError], str, str], ...] = (
    (InvalidRequest, "This cannot be run as it is", ""),
    (ModelNotFound, "There is no such model", "Reload the page: the list of models has changed."),
    (Overloaded, "Too many answers are running", "Wait a moment, then run again."),
    (PlaygroundUnavailable, "Running is switched off here", "The models can be browsed; nothing can be run."),
    (
        ModelLoadFailed,
        "The model could not be loaded",
        "Mend the cause and run again, or choose another model.",
    ),
)
