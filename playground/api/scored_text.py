"""Tokens with their scores, kept in step with the text that they belong to.

Knows tokens, pieces of text and characters; nothing of HTTP, nor of how a format writes scores down.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from playground.types import Delta, Echo, TokenLogprob

LEAST_LOGPROB = -9999.0
"""JSON has no infinity; this is what the vendors write for it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A token and the character of the returned text at which it begins. `scored` is None for a token that
    nothing comes before."""

    spelling: str
    offset: int
    scored: TokenLogprob | None


class ScoredText:
    """Gives tokens on, each once all of its text was given.

    So a token whose text is held back, because it may begin a stop string, waits with it; and tokens that
    wrote nothing but the stop string never show up.
    """

    def __init__(self) -> None:
        self._num_chars = 0
        self._position = 0
        self._waiting: deque[TokenLogprob] = deque()

    def echo(self, echo: Echo, text: str) -> list[Placed]:
        """The prompt's tokens over `text`, the prompt as it was sent: what the tokenizer put before it has no
        width there."""
        self._num_chars = len(text)
        self._position = len(text) - sum(map(len, echo.pieces))
        placed = []
        for piece, scored in zip(echo.pieces, echo.logprobs, strict=False):
            placed.append(Placed(scored.spelling if scored else piece, max(0, self._position), scored))
            self._position += len(piece)
        return placed

    def add(self, delta: Delta) -> list[Placed]:
        """The tokens whose text is out now."""
        self._waiting.extend(delta.logprobs)
        self._num_chars += len(delta.text)
        placed = []
        while self._waiting and self._position + len(self._waiting[0].piece) <= self._num_chars:
            placed.append(self._next())
        return placed

    def finish(self) -> list[Placed]:
        """The token that wrote the end of the text and the beginning of the stop string, if one did both."""
        placed = []
        while self._waiting and self._position < self._num_chars:
            placed.append(self._next())
        return placed

    def _next(self) -> Placed:
        scored = self._waiting.popleft()
        placed = Placed(scored.spelling, self._position, scored)
        self._position += len(scored.piece)
        return placed


def finite(logprob: float) -> float:
    """A log-probability that JSON can hold."""
    return max(logprob, LEAST_LOGPROB)
