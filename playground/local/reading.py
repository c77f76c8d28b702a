"""From a row's token ids to the text that people see: bytes joined over tokens, special tokens left out,
thinking set apart, stop strings matched.

Knows one tokenizer; nothing of logits or batches.
"""

from __future__ import annotations

from typing import Any

from tokenizers.decoders import DecodeStream

from playground.prompts import Prompt
from playground.text import StopMatcher, ThinkingSplitter


class Reader:
    """Reads one row's tokens as they come. `stopped` once a stop string was met in the answer."""

    def __init__(self, tokenizer: Any, prompt: Prompt, stops: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._marks = _mark_ids(tokenizer, prompt)
        self._splitter = ThinkingSplitter(thinking=prompt.thinking, label=prompt.marks.label if prompt.marks else "")
        self._matcher = StopMatcher(stops)
        self._restart()

    @property
    def stopped(self) -> bool:
        return self._matcher.stopped

    @property
    def thinking(self) -> bool:
        """Whether the next text belongs to the thinking."""
        return self._splitter.thinking

    def push(self, token_id: int) -> str:
        """The text that a token makes certain; empty where it ends within a character or begins a mark."""
        if token_id in self._marks:
            self._splitter.turn(self._marks[token_id])
            self._restart()
            return ""
        self._ids.append(token_id)
        piece = self._stream.step(self._tokenizer._tokenizer, token_id) or ""
        self._given += piece
        return self._pass_on(piece)

    def flush(self) -> str:
        """What is left at the end: an unfinished character, or the beginning of a stop string."""
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        rest = whole[len(self._given) :] if whole.startswith(self._given) else ""
        return self._pass_on(rest) + ("" if self.thinking else self._matcher.flush())

    def _pass_on(self, piece: str) -> str:
        piece = self._splitter.push(piece)
        return piece if self.thinking else self._matcher.push(piece)

    def _restart(self) -> None:
        self._stream: Any = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._given = ""


def _mark_ids(tokenizer: Any, prompt: Prompt) -> dict[int, bool]:
    """The tokens that fence thinking, each with whether thinking begins (True) or ends there."""
    if prompt.marks is None:
        return {}
    vocabulary = tokenizer.get_vocab()
    pairs = ((prompt.marks.open, True), (prompt.marks.close, False))
    return {vocabulary[mark]: begins for mark, begins in pairs if mark in vocabulary}
