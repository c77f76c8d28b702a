"""Who asked for a model, who waits and who holds it, and what one base takes meanwhile.

Values of the registry, which alone changes them, under its lock; refuses to know how a base is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from playground.errors import PlaygroundError
from playground.types import Engine, ModelCard, Placement, Progress

Key = tuple[str | None, ...]


def key_of(base: ModelCard) -> Key:
    """What makes two bases one in memory: source, revision, dtype, device. One connection serves all bases that
    another server answers for with one key."""
    if base.is_remote:
        return (base.endpoint, base.provider, base.api_key_env)
    return (base.source, base.revision, base.dtype, base.device)


@dataclass(slots=True, eq=False)
class Lease:
    """A claim on one model. `on_progress` and `on_ready` are called from any thread, the latter once, with
    the engine or with the error; both must return at once. `release` may come at any time, more than once.
    `user` is whose it is, where somebody signed in.
    """

    card: ModelCard
    on_progress: Callable[[Progress], None]
    on_ready: Callable[[Engine | PlaygroundError], None]
    user: str = ""
    release: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model takes, and for whom. `users` has a name for each answer that runs, empty where nobody signs in;
    `last_used_at` is in seconds since 1970; `memory_bytes` of a base are without its fine-tunes; `placement` is there
    while it is in memory."""

    users: tuple[str, ...] = ()
    num_waiting: int = 0
    last_used_at: float | None = None
    memory_bytes: int = 0
    pinned: bool = False
    progress: Progress | None = None
    placement: Placement | None = None


@dataclass(slots=True, eq=False)
class Slot:
    """One base: its engine while it is loaded, who waits for it, who holds it.

    `reserved_bytes` are what its base was to take, `preparing` the fine-tune that is made ready and what that is to
    take; `turn` says who came earlier where several want room.

    `serving` while it has a loader's thread, `busy` while that thread works for somebody; a slot that is
    `draining` takes no new answers, so that it can be let go when the present ones end. Fine-tunes that are `leaving`
    take none either; a slot of which something is `pinned` is never let go to make room. `progress` is how far its
    thread is with the fine-tune `progress_of`, or with the base, None.
    """

    base: ModelCard
    engine: Engine | None = None
    reserved_bytes: int = 0
    preparing: tuple[ModelCard, int] | None = None
    turn: int = 0
    serving: bool = False
    busy: bool = False
    draining: bool = False
    progress: Progress | None = None
    progress_of: str | None = None
    waiting: list[Lease] = field(default_factory=list)
    held: set[Lease] = field(default_factory=set)
    prepared: dict[str, ModelCard] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    leaving: dict[str, ModelCard] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    used_at: dict[str, float] = field(default_factory=dict)

    def memory_bytes(self) -> int:
        """What is taken or reserved here. Each model is counted once, whatever its engine does meanwhile."""
        if self.engine is None:
            return self.reserved_bytes
        coming, coming_bytes = self.preparing or (self.base, 0)
        there = [card for card in self.tunes() if card.id != coming.id]
        held_bytes = self.engine.memory_of(self.base) + sum(self.engine.memory_of(card) for card in there)
        if self.preparing:
            coming_bytes = max(coming_bytes, self.engine.memory_of(coming))
        return max(self.reserved_bytes, held_bytes) + coming_bytes

    def kept_bytes(self) -> int:
        """What of it never makes room for another fine-tune: the base, and what is pinned."""
        assert self.engine is not None
        pinned = [card for card in self.tunes() if card.id in self.pinned]
        return max(
            self.reserved_bytes, self.engine.memory_of(self.base) + sum(self.engine.memory_of(card) for card in pinned)
        )

    def reserve(self, card: ModelCard, num_bytes: int) -> None:
        if card.adapter is None:
            self.reserved_bytes = num_bytes
        else:
            self.preparing = card, num_bytes

    def tunes(self) -> list[ModelCard]:
        """The fine-tunes that are in memory."""
        return [card for card in {**self.prepared, **self.leaving}.values() if card.adapter is not None]

    def idle_tunes(self) -> list[ModelCard]:
        """Those of them that may go at once."""
        return [card for card in self.tunes() if card.id not in self.pinned and not self.holders(card)]

    def last_used(self) -> float:
        return max(self.used_at.values(), default=0.0)

    def ready(self, card: ModelCard) -> bool:
        there = card.id in self.prepared and card.id not in self.leaving
        return self.engine is not None and not self.draining and there

    def in_memory(self, card: ModelCard) -> bool:
        """A base is there for its fine-tunes too, before anybody asked it something."""
        return self.engine is not None and not self.draining and (card.type == "base" or card.id in self.prepared)

    def progress_for(self, card: ModelCard) -> Progress | None:
        """How far it is for who waits for `card`: another fine-tune may be somebody else's, and its name too."""
        theirs = self.progress is None or self.progress_of in (None, card.id)
        return self.progress if theirs else Progress("waiting")

    def hold(self, lease: Lease) -> None:
        self.held.add(lease)
        self.touch(lease)

    def touch(self, lease: Lease) -> None:
        self.used_at[lease.card.id] = time.time()

    def holders(self, card: ModelCard) -> list[Lease]:
        return [lease for lease in self.held if lease.card.id == card.id]

    def leave(self, card: ModelCard) -> None:
        """A fine-tune takes no new answers, and goes when the present ones end."""
        self.prepared.pop(card.id, None)
        self.leaving[card.id] = card

    def let_go(self) -> Engine | None:
        engine, self.engine = self.engine, None
        self.reserved_bytes, self.draining = 0, False
        self.prepared.clear()
        self.leaving.clear()
        return engine
