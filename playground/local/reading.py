"""From a row's token ids to the text that people see: bytes joined over tokens, special tokens left out,
thinking set apart, stop strings matched.

Knows one tokenizer; nothing of logits or batches.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from functools import cache
from typing import Any

from playground.prompts import Prompt
from playground.text import StopMatcher, ThinkingSplitter

CONTEXT_TOKENS = 4
"""So many tokens of a raw prompt are read along, since a tokenizer may write the first token of a text without
the space that it has in the middle."""
MAX_HELD_TOKENS = 64
"""Bytes that still make no character after so many tokens never will."""
MAX_CHARACTER_BYTES = 4
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BROKEN = "\ufffd"


class Decoder:
    """Text out of token ids as they come; what it gave, joined, is what decoding all of them gives."""

    def __init__(self, tokenizer: Any, context_ids: tuple[int, ...] = ()) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._ids = list(context_ids)
        self._start, self._read = 0, len(context_ids)

    def push(self, token_id: int) -> str:
        """The text that is certain now; empty within a character."""
        self._ids.append(token_id)
        held = len(self._ids) - self._read
        # A run of byte tokens may turn into other characters as long as it goes on.
        if _BYTE.fullmatch(self._backend.id_to_token(token_id) or "") and held < MAX_HELD_TOKENS:
            return ""
        text = self._decode(self._start, len(self._ids))
        if text.endswith(_BROKEN) and (held < MAX_HELD_TOKENS or self._is_within_character()):
            return ""
        return self._give(text)

    def flush(self) -> str:
        """The text of an unfinished character, as the tokenizer writes it."""
        return self._give(self._decode(self._start, len(self._ids)))

    def _is_within_character(self) -> bool:
        """Whether the last tokens' bytes begin a character that more bytes could end."""
        spellings = map(self._backend.id_to_token, self._ids[-MAX_CHARACTER_BYTES:])
        reader = getincrementaldecoder("utf-8")("replace")
        reader.decode(b"".join(_raw_bytes(spelling or "") or b"" for spelling in spellings))
        return reader.getstate()[0] != b""

    def _give(self, text: str) -> str:
        given = self._decode(self._start, self._read)
        piece = text[len(given) :] if text.startswith(given) else self._decode(self._read, len(self._ids))
        # The next piece is read after this one, which is all the context that a tokenizer looks at.
        self._start, self._read = self._read, len(self._ids)
        return piece

    def _decode(self, start: int, end: int) -> str:
        return self._backend.decode(self._ids[start:end], skip_special_tokens=True)


def pieces_of(tokenizer: Any, token_ids: Sequence[int]) -> list[str]:
    """What each token adds to the text of all; what is left of a broken character goes to the last one."""
    decoder = Decoder(tokenizer)
    pieces = [decoder.push(token_id) for token_id in token_ids]
    if pieces:
        pieces[-1] += decoder.flush()
    return pieces


def answer_pieces(tokenizer: Any, prompt: Prompt, token_ids: Sequence[int]) -> list[str]:
    """What each token of an answer adds to its text, thinking included, as it was when the answer was given."""
    reader = Reader(tokenizer, prompt, ())
    pieces = []
    for token_id in token_ids:
        reader.push(token_id)
        pieces.append(reader.piece)
    if pieces:
        reader.flush()
        pieces[-1] += reader.piece
    return pieces


class Reader:
    """Reads one row's tokens as they come. `stopped` once a stop string was met in the answer; `piece` is what
    the last token added to the text, before stop strings are looked for."""

    def __init__(self, tokenizer: Any, prompt: Prompt, stops: tuple[str, ...]) -> None:
        self.piece = ""
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._marks = _mark_ids(tokenizer, prompt)
        label = prompt.marks.label if prompt.marks else ""
        self._splitter = ThinkingSplitter(thinking=prompt.thinking, label=label)
        self._matcher = StopMatcher(stops)
        self._decoder = Decoder(tokenizer, () if prompt.chat else prompt.token_ids[-CONTEXT_TOKENS:])

    @property
    def stopped(self) -> bool:
        return self._matcher.stopped

    @property
    def thinking(self) -> bool:
        """Whether the next text belongs to the thinking."""
        return self._splitter.thinking

    def spell(self, token_id: int) -> str:
        """A token read by itself."""
        return spell(self._backend, token_id)

    def push(self, token_id: int) -> str:
        """The text that a token makes certain; empty where it ends within a character or begins a mark."""
        self.piece = ""
        if token_id in self._marks:
            rest = self.flush()
            self._splitter.turn(self._marks[token_id])
            self._decoder = Decoder(self._tokenizer)
            return rest
        self.piece = self._splitter.push(self._decoder.push(token_id))
        return self.piece if self.thinking else self._matcher.push(self.piece)

    def flush(self) -> str:
        """What is left at the end: an unfinished character, or the beginning of a stop string."""
        self.piece = self._splitter.push(self._decoder.flush()) + self._splitter.flush()
        return self.piece if self.thinking else self._matcher.push(self.piece) + self._matcher.flush()


def spell(backend: Any, token_id: int) -> str:
    """A token read by itself; one that holds a part of a character by its bytes, as in `bytes:\\xe2\\x80`."""
    text = backend.decode([token_id], skip_special_tokens=False)
    if _BROKEN not in text:
        return text
    raw = _raw_bytes(backend.id_to_token(token_id))
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw) if raw else text


def _raw_bytes(token: str) -> bytes | None:
    """The bytes behind a vocabulary's own spelling of a token; None where it is not spelled in bytes."""
    if _BYTE.fullmatch(token):
        return bytes([int(token[3:5], 16)])
    numbers = _byte_alphabet()
    return bytes(numbers[char] for char in token) if all(char in numbers for char in token) else None


@cache
def _byte_alphabet() -> dict[str, int]:
    """How byte-level vocabularies write bytes: printable ones of Latin-1 as themselves, the others from U+0100 on,
    in order. Source: GPT-2's encoder."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _mark_ids(tokenizer: Any, prompt: Prompt) -> dict[int, bool]:
    """The tokens that fence thinking, each with whether thinking begins (True) or ends there."""
    if prompt.marks is None:
        return {}
    vocabulary = tokenizer.get_vocab()
    return {vocabulary[prompt.marks.open]: True, vocabulary[prompt.marks.close]: False}
