"""What every program is asked: the same tokens, or the same text, for the same number.

Knows no program and imports nothing but Python's own, so that all of them can read it.
"""

from __future__ import annotations

import random
import string

LETTERS = string.ascii_uppercase
"""The tokenizer learned small letters only, so each of these is a token of its own."""
FIRST_ID, LAST_ID = 10, 300


def prompt_ids(seed: int, num_tokens: int) -> list[int]:
    """Token ids of a prompt."""
    drawn = random.Random(seed)
    return [drawn.randint(FIRST_ID, LAST_ID) for _ in range(num_tokens)]


def prompt_text(seed: int, num_tokens: int) -> str:
    """A text of so many tokens."""
    return "".join(random.Random(seed).choices(LETTERS, k=num_tokens))
