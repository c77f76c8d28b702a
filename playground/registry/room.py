"""The memory budget: what all bases take of it, who wants more in which order, and what has to go for that.

Knows slots and engines by their protocol; refuses to know what is loaded with the room, and who asked for it. All of it
is kept under the registry's lock, which is let go only while something closes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

from playground.errors import ModelLoadFailed
from playground.hub.metering import size
from playground.registry.slot import Key, Slot
from playground.types import Engine, LoadWatch, ModelCard, Progress

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.25


class Room:
    """Keeps `slots` under `budget_bytes`. Who wants room first gets it first, or many small ones could keep a large
    one waiting for ever; `changed` is the registry's lock."""

    def __init__(self, slots: Mapping[Key, Slot], changed: threading.Condition, budget_bytes: int) -> None:
        self._slots, self._changed, self._budget_bytes = slots, changed, budget_bytes
        self._wanting: set[Slot] = set()
        self._closing_bytes = 0

    def used_bytes(self) -> int:
        """Memory taken by what is loaded, being loaded or being let go."""
        with self._changed:
            return self._closing_bytes + sum(slot.memory_bytes() for slot in self._slots.values())

    def has_more(self, num_bytes: int) -> bool:
        """Whether as much fits without letting anything go, and nobody waits for room."""
        with self._changed:
            return not self._wanting and self.used_bytes() + num_bytes <= self._budget_bytes

    def make(self, slot: Slot, card: ModelCard, num_bytes: int, watch: LoadWatch) -> bool:
        """Reserves room for `card`, which is the slot's base or a fine-tune over it, letting go of the least recently
        used; waits for answers that still run. False where the slot's own base was let go meanwhile, for one who came
        earlier. Raises `ModelLoadFailed` where it can never fit."""
        engine = slot.engine
        try:
            while (reserved := self._reserve(slot, card, num_bytes, engine)) is None:
                watch.report(Progress("waiting", None, "waiting for other models to finish: memory is full"))
                self._evict_one(slot)
            return reserved
        finally:
            self._end_wanting(slot)

    def begin_closing(self, slot: Slot) -> Callable[[], None]:
        """Takes a base out of use; what it gives must be called without the lock, and gives the memory back."""
        num_bytes = slot.memory_bytes()
        self._closing_bytes += num_bytes
        engine = slot.let_go()
        self._changed.notify_all()

        def close() -> None:
            assert engine is not None
            engine.close()
            with self._changed:
                self._closing_bytes -= num_bytes
                self._changed.notify_all()

        return close

    def _reserve(self, slot: Slot, card: ModelCard, num_bytes: int, engine: Engine | None) -> bool | None:
        """None while there is no room yet."""
        with self._changed:
            if slot.engine is not engine:
                return False
            self._refuse_what_never_fits(slot, card, num_bytes)
            self._wanting.add(slot)
            # What takes nothing, such as a model on another server, waits for nobody.
            if num_bytes and not (self._is_first(slot) and self.used_bytes() + num_bytes <= self._budget_bytes):
                return None
            slot.reserve(card, num_bytes)
            return True

    def _is_first(self, slot: Slot) -> bool:
        return slot.turn == min(other.turn for other in self._wanting)

    def _refuse_what_never_fits(self, slot: Slot, card: ModelCard, num_bytes: int) -> None:
        own_bytes = slot.kept_bytes() if slot.engine is not None else 0
        pinned_bytes = sum(other.memory_bytes() for other in self._slots.values() if other.pinned and other is not slot)
        beside = f" beside the {size(own_bytes)} of its base" if own_bytes else ""
        needed = f"{card.id} needs {size(num_bytes)} of memory{beside}"
        if own_bytes + num_bytes > self._budget_bytes:
            raise ModelLoadFailed(
                f"{needed} and the budget is {size(self._budget_bytes)}: raise PLAYGROUND_MEMORY_GB or choose a "
                "smaller model"
            )
        if pinned_bytes + own_bytes + num_bytes > self._budget_bytes:
            raise ModelLoadFailed(
                f"{needed}, and {size(pinned_bytes)} of the {size(self._budget_bytes)} are kept for pinned models: "
                "unpin one"
            )

    def _end_wanting(self, slot: Slot) -> None:
        """A base drains only while somebody wants the room, or nobody would be served there again."""
        with self._changed:
            self._wanting.discard(slot)
            if not self._wanting:
                for other in self._slots.values():
                    other.draining = False
            self._changed.notify_all()

    def _evict_one(self, wanting: Slot) -> None:
        """Lets the least recently used go that is idle: a base, or one of the wanting base's own fine-tunes. Where none
        is idle, one takes no new answers from now on, so that whoever wants the room waits only for the answers that
        run now."""
        with self._changed:
            # What runs on another server takes no memory here: to let go of it would give none back.
            others = [slot for slot in self._slots.values() if slot is not wanting and not slot.pinned]
            loaded = [slot for slot in others if slot.engine is not None and slot.memory_bytes() > 0]
            begin = self._longest_idle(wanting, loaded) if self._is_first(wanting) else None
            if begin is None:
                if self._is_first(wanting):
                    _stop_one(wanting, loaded)
                self._changed.wait(_LOOK_EVERY_S)
                return
            end = begin()
        end()

    def _longest_idle(self, wanting: Slot, loaded: list[Slot]) -> Callable[[], Callable[[], None]] | None:
        """What takes that out of use, and gives what must be called without the lock; None where nothing is idle."""
        # A base that waits for room itself is idle too: two could otherwise wait for each other's.
        bases = [slot for slot in loaded if not slot.held and (not slot.busy or slot in self._wanting)]
        candidates = [((not slot.draining, slot.last_used()), partial(self.begin_closing, slot)) for slot in bases]
        for card in wanting.idle_tunes():
            age = (card.id not in wanting.leaving, wanting.used_at.get(card.id, 0.0))
            candidates.append((age, partial(self._begin_forgetting, wanting, card)))
        return min(candidates, key=lambda one: one[0])[1] if candidates else None

    def _begin_forgetting(self, slot: Slot, card: ModelCard) -> Callable[[], None]:
        slot.leave(card)
        return partial(self.forget, slot, card)

    def forget(self, slot: Slot, card: ModelCard) -> None:
        """Gives a fine-tune's memory back, which leaves already and which no answer needs."""
        try:
            if slot.engine is not None:
                slot.engine.forget(card)
        except Exception:
            # Whoever waits is served all the same; the rest of the memory comes back with the base.
            log.exception("letting %s go failed", card.id)
        with self._changed:
            slot.leaving.pop(card.id, None)
            slot.prepared.pop(card.id, None)
            self._changed.notify_all()


def _stop_one(wanting: Slot, loaded: list[Slot]) -> None:
    """The least recently used takes no new answers: of the other bases, or else of the wanting one's fine-tunes."""
    if loaded:
        if not any(slot.draining for slot in loaded):
            min(loaded, key=Slot.last_used).draining = True
    elif not wanting.leaving:
        tunes = [card for card in wanting.tunes() if card.id not in wanting.pinned]
        if tunes:
            wanting.leave(min(tunes, key=lambda card: wanting.used_at.get(card.id, 0.0)))
