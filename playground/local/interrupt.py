"""Lets a forward be broken off between two layers: one chunk of a long prompt may take a CPU seconds, and whoever
asked may leave at any moment.

Knows layers and a question to ask before each; nothing of rows or of who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from playground.errors import Cancelled

# A plain attribute would be read by the threads of other loops over the same layers.
_unwanted: ContextVar[Callable[[], bool] | None] = ContextVar("unwanted", default=None)


@contextmanager
def broken_off_when(unwanted: Callable[[], bool]) -> Generator[None, None, None]:
    """Forwards of this thread raise `Cancelled` before the next layer once `unwanted` says so; what they wrote to a
    cache is then half of it."""
    token = _unwanted.set(unwanted)
    try:
        yield
    finally:
        _unwanted.reset(token)


def make_breakable(model: Any) -> None:
    """Puts the question before every decoder layer of a model; copies of its module tree keep it."""
    for layer in model.get_decoder().layers:
        layer.register_forward_pre_hook(ask_whether_wanted)


def ask_whether_wanted(*_: object) -> None:
    """Raises `Cancelled` where what this thread works at is not wanted any more."""
    unwanted = _unwanted.get()
    if unwanted is not None and unwanted():
        raise Cancelled("the answer was stopped")
