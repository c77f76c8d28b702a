"""The shape of what is kept: an answer with how it ended, and whose it is; and how requests and answers become text.

Knows the program's own words; refuses to know the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from playground.errors import PlaygroundError
from playground.types import Answer, Caller, Finish, GenerationRequest

ALONE, ANYBODY = "@alone", "@anybody"
"""Owners that are no accounts, whose names begin with a letter or a digit."""

Choice = Literal["left", "right", "tie", "both_bad"]


class RecordNotFound(PlaygroundError):
    """Nothing of this id is kept, or it is somebody else's: the two look alike."""

    status = 404
    code = "not_found"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it ended. `finish` is there where it came to its end; `error` where it failed."""

    state: Literal["done", "stopped", "failed"]
    text: str = ""
    thinking: str = ""
    token_ids: tuple[int, ...] = ()
    thought: tuple[bool, ...] = ()
    finish: Finish | None = None
    error: str = ""

    @classmethod
    def of(cls, answer: Answer) -> KeptAnswer:
        """A whole answer."""
        return cls("done", answer.text, answer.thinking, answer.token_ids, answer.thought, answer.finish)


def owner_of(caller: Caller) -> str:
    """Whose it is what a caller keeps: an account's, the person's at their own machine, or anybody's at all."""
    if caller.account is not None:
        return caller.account
    return ALONE if caller.everything else ANYBODY


REQUESTS = TypeAdapter(tuple[GenerationRequest, ...])
ANSWERS = TypeAdapter(tuple[KeptAnswer, ...])
ANSWER = TypeAdapter(KeptAnswer)
CALLER = TypeAdapter(Caller)
