"""Blind votes: in which order two answers are shown, and which side was voted for.

Pure values. The order is drawn from what is voted on, so that nothing about it need be remembered, and looking again
shows the same.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from playground.history.records import Choice

BlindChoice = Literal["a", "b", "tie", "both_bad"]
Order = tuple[int, int]
"""Which side is shown as A, and which as B."""


def blind_order(evaluation_id: str, number: int) -> Order:
    """The order of an evaluation's case: as often the one as the other, and no pattern in it."""
    digest = hashlib.sha256(f"{evaluation_id}/{number}".encode()).digest()
    return (0, 1) if digest[0] % 2 == 0 else (1, 0)


def side_of(choice: BlindChoice, order: Order) -> Choice:
    """The vote by side."""
    if choice == "a":
        return "left" if order[0] == 0 else "right"
    if choice == "b":
        return "left" if order[1] == 0 else "right"
    return choice
