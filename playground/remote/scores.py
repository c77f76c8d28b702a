"""Tokens with their scores out of a server's chunks, each with the text that it wrote.

Knows both routes' ways to write scores down; refuses to know what a token's id may be, since servers tell none.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from typing import Any

from playground.types import TokenLogprob

_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
"""How a token is spelled that holds a part of a character, where no bytes come with it."""


class Pieces:
    """Says what each token added to a text that it is told as it comes. A token that is no part of the text, such as
    an end token, added nothing; one whose text is still held back is taken at its word."""

    def __init__(self) -> None:
        self._text = self._written = ""
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def tell(self, text: str) -> None:
        """More of the text, as the server gave it."""
        self._text += text

    def of(self, raw: bytes) -> str:
        """What a token of these bytes added."""
        piece = self._decoder.decode(raw)
        start = len(self._written)
        if not piece.startswith(self._text[start : start + len(piece)]):
            self._decoder.reset()
            return ""
        self._written += piece
        return piece

    def ahead_begins(self, stops: Sequence[str]) -> bool:
        """Whether what tokens wrote and the text does not show may be one of `stops`."""
        ahead = self._written[len(self._text) :]
        return ahead != "" and any(stop.startswith(ahead) or ahead.startswith(stop) for stop in stops)


def chat_scores(choice: Any, pieces: Pieces) -> Iterator[TokenLogprob]:
    """The tokens of a chat's chunk."""
    scores = getattr(choice, "logprobs", None)
    for one in (scores and scores.content) or ():
        raw = bytes(one.bytes) if one.bytes is not None else _raw(one.token)
        top = tuple(TokenLogprob(None, float(other.logprob), other.token) for other in one.top_logprobs or ())
        yield TokenLogprob(None, float(one.logprob), one.token, pieces.of(raw), top)


def text_scores(choice: Any, pieces: Pieces, num_top: int) -> Iterator[tuple[str, TokenLogprob | None]]:
    """The tokens of a completion's chunk, each with its piece; None for the score of a token that nothing comes
    before."""
    scores = getattr(choice, "logprobs", None)
    if scores is None or not scores.tokens:
        return
    tops = scores.top_logprobs or [None] * len(scores.tokens)
    for token, logprob, best in zip(scores.tokens, scores.token_logprobs, tops, strict=True):
        piece = pieces.of(_raw(token))
        if logprob is None:
            yield piece, None
        else:
            # The token itself stands among its alternatives, also where it is none of the best.
            ranked = sorted((best or {}).items(), key=lambda item: item[1], reverse=True)[:num_top]
            top = tuple(TokenLogprob(None, float(score), spelling) for spelling, score in ranked)
            yield piece, TokenLogprob(None, float(logprob), token, piece, top)


def _raw(token: str) -> bytes:
    match = _BYTES.fullmatch(token)
    return bytes.fromhex(match[1].replace("\\x", "")) if match else token.encode("utf-8", "replace")
