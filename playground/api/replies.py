"""The way from the events of several answers to one reply, streamed or whole, the same for every format.

Knows events and turns; what a choice looks like is its format's affair.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from playground.errors import PlaygroundError
from playground.service import Playground
from playground.types import Caller, Event, Finish, GenerationRequest, Usage

Piece = TypeVar("Piece", bound=BaseModel, covariant=True)
Whole = TypeVar("Whole", bound=BaseModel, covariant=True)
Told = TypeVar("Told", bound="TotalUsage")


class Writer(Protocol[Piece, Whole]):
    """Writes one answer in a format, piece by piece, and at the end whole."""

    def write(self, event: Event) -> Sequence[Piece]:
        """The pieces that an event adds; none where it says nothing."""
        ...

    def whole(self) -> Whole:
        """All pieces in one."""
        ...


class TotalUsage(BaseModel):
    """Tokens that went in, that came out, and both."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> TotalUsage:
        """As this format tells it."""
        num_in, num_out = usage.num_prompt_tokens, usage.num_completion_tokens
        return cls(prompt_tokens=num_in, completion_tokens=num_out, total_tokens=num_in + num_out)


class Answers(Generic[Piece, Whole, Told]):
    """Several answers on their way, `per_prompt` to each prompt, each with a writer of its own; `told` writes what they
    took together."""

    def __init__(
        self,
        playground: Playground,
        caller: Caller,
        requests: Sequence[GenerationRequest],
        writers: Sequence[Writer[Piece, Whole]],
        per_prompt: int,
        told: Callable[[Usage], Told],
    ) -> None:
        self._playground, self._caller = playground, caller
        self._requests, self._writers, self._per_prompt = requests, writers, per_prompt
        self._told = told
        self._usages: dict[int, Usage] = {}

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Pieces of all answers as they come; raises the first error, which ends the others."""
        async with aclosing(self._playground.stream_all(self._requests, self._caller)) as items:
            async for index, item in items:
                if isinstance(item, PlaygroundError):
                    raise item
                if isinstance(item, Finish):
                    self._usages[index] = item.usage
                for piece in self._writers[index].write(item):
                    yield piece

    async def wholes(self) -> list[Whole]:
        """All answers, whole; raises the first error, which ends the others."""
        async with aclosing(self.pieces()) as pieces:
            async for _ in pieces:
                pass
        return [writer.whole() for writer in self._writers]

    async def chunks(self, reply: Callable[..., BaseModel], include_usage: bool) -> AsyncGenerator[BaseModel, None]:
        """Chunks of one piece each, made by `reply`; with the usage, a last one that has nothing else."""
        no_usage: dict[str, Any] = {"usage": None} if include_usage else {}
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                yield reply(choices=[piece], **no_usage)
        if include_usage:
            yield reply(choices=[], usage=self.usage())

    def usage(self) -> Told:
        """The usage of all, once all are over: each prompt counted once, all answers summed."""
        usages = [self._usages[index] for index in range(len(self._requests))]
        prompts = usages[:: self._per_prompt]
        num_prompt = sum(usage.num_prompt_tokens for usage in prompts)
        num_reused = sum(usage.num_reused_tokens for usage in prompts)
        return self._told(Usage(num_prompt, sum(usage.num_completion_tokens for usage in usages), num_reused))


def new_id(prefix: str) -> str:
    """An id that no other reply has."""
    return f"{prefix}-{uuid.uuid4().hex}"


def now() -> int:
    """Seconds since 1970, as these formats give them."""
    return int(time.time())
