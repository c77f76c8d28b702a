"""Whether what a server writes can still be the tokens that it was allowed.

Knows lengths and counts; refuses to know tokenizers. A piece of text may hold several tokens, or a part of one.
"""

from __future__ import annotations

SPARE_TOKENS = 16
"""So many more are let through: some servers count no end token, or write one token where none was asked for."""
USUAL_BYTES = 16
"""Tokens hold fewer bytes of text than this on average, in any language and in code."""
LONGEST_BYTES = 128
"""Common vocabularies have no longer token: a run of blanks."""


class Allowance:
    """Counts what came. Tokens are counted where they come with scores. Where only text comes, it is beyond the
    allowance once both its pieces and its bytes are too many, or once its bytes are too many for any tokens."""

    def __init__(self, max_tokens: int) -> None:
        self._most = max_tokens + SPARE_TOKENS
        self._num_pieces = self._num_bytes = 0
        self.num_scored = 0

    @property
    def num_tokens(self) -> int:
        """As they came, a piece for one where there are no scores."""
        return self.num_scored or self._num_pieces

    @property
    def has_text(self) -> bool:
        """Whether any text came."""
        return self._num_pieces > 0

    def take(self, text: str, num_scored: int) -> bool:
        """Counts a piece with its scored tokens; False, and not counted, where it is beyond the allowance."""
        num_pieces = self._num_pieces + bool(text)
        num_bytes = self._num_bytes + len(text.encode("utf-8", "replace"))
        num_scored += self.num_scored
        many = num_pieces > self._most and num_bytes > self._most * USUAL_BYTES
        if many or num_scored > self._most or num_bytes > self._most * LONGEST_BYTES:
            return False
        self._num_pieces, self._num_bytes, self.num_scored = num_pieces, num_bytes, num_scored
        return True
