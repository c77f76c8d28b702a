"""Which bases are loaded, who holds them, and what has to go when another needs the room.

Knows engines only by their protocol and cards only by their keys; imports nothing heavy. One thread a
base while something of it loads; answers run in the engines' own threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from playground.errors import Cancelled, InternalError, ModelLoadFailed, PlaygroundError
from playground.types import Engine, EngineLoader, ModelCard, ModelState, Progress

log = logging.getLogger(__name__)

Key = tuple[str, str | None, str | None, str | None]


def key_of(base: ModelCard) -> Key:
    """What makes two bases one in memory: source, revision, dtype, device."""
    return (base.endpoint or base.source, base.revision, base.dtype, base.device)


@dataclass(slots=True, eq=False)
class Lease:
    """A claim on one model. `on_progress` and `on_ready` are called from any thread, the latter once, with
    the engine or with the error; both must return at once. `release` may come at any time, more than once.
    """

    card: ModelCard
    on_progress: Callable[[Progress], None]
    on_ready: Callable[[Engine | PlaygroundError], None]
    release: Callable[[], None] = lambda: None


@dataclass(slots=True, eq=False)
class _Slot:
    """One base: its engine while it is loaded, who waits for it, who holds it.

    `serving` while it has a loader's thread, `busy` while that thread works for somebody; a slot that is
    `draining` takes no new answers, so that it can be let go when the present ones end.
    """

    base: ModelCard
    engine: Engine | None = None
    reserved_bytes: int = 0
    serving: bool = False
    busy: bool = False
    draining: bool = False
    last_used: float = 0.0
    progress: Progress | None = None
    waiting: list[Lease] = field(default_factory=list)
    held: set[Lease] = field(default_factory=set)
    prepared: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)

    def memory_bytes(self) -> int:
        return max(self.reserved_bytes, self.engine.memory_bytes() if self.engine else 0)

    def ready(self, card: ModelCard) -> bool:
        return self.engine is not None and not self.draining and card.id in self.prepared

    def hold(self, lease: Lease) -> None:
        self.held.add(lease)
        self.last_used = time.monotonic()

    def let_go(self) -> Engine | None:
        engine, self.engine = self.engine, None
        self.reserved_bytes, self.draining = 0, False
        self.prepared.clear()
        return engine


class _Watch:
    """A loader's view of those who wait for `card`; None stands for everybody at the slot."""

    def __init__(self, registry: Registry, slot: _Slot, card: ModelCard | None) -> None:
        self._registry, self._slot, self._card = registry, slot, card

    def report(self, progress: Progress) -> None:
        for lease in self._registry.waiting_for(self._slot, self._card, progress):
            lease.on_progress(progress)


class Registry:
    """Loads bases on first use, once however many ask, and keeps them under `budget_bytes`."""

    def __init__(self, base_of: Callable[[ModelCard], ModelCard], loader: EngineLoader, budget_bytes: int) -> None:
        self._base_of, self._loader, self._budget_bytes = base_of, loader, budget_bytes
        self._slots: dict[Key, _Slot] = {}
        self._wanting: set[_Slot] = set()
        self._closing_bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def lease(
        self,
        card: ModelCard,
        on_progress: Callable[[Progress], None],
        on_ready: Callable[[Engine | PlaygroundError], None],
    ) -> Lease:
        """Asks for `card` and returns at once; `on_ready` may be called before this returns."""
        lease = Lease(card, on_progress, on_ready)
        base = self._base_of(card)
        with self._changed:
            if self._closed:
                raise InternalError("the program is shutting down")
            slot = self._slots.setdefault(key_of(base), _Slot(base))
            lease.release = lambda: self._release(slot, lease)
            engine = slot.engine if slot.ready(card) else None
            if engine is not None:
                slot.hold(lease)
            else:
                self._enqueue(slot, lease)
        if engine is not None:
            on_ready(engine)
        return lease

    def state(self, card: ModelCard) -> tuple[ModelState | None, str]:
        """`ready`, `loading` or `failed` with the reason; None where nothing is known of the model."""
        with self._changed:
            slot = self._slots.get(key_of(self._base_of(card)))
            if slot is None:
                return None, ""
            if slot.ready(card):
                return "ready", ""
            if any(lease.card.id == card.id for lease in slot.waiting):
                return "loading", ""
            reason = slot.failures.get(card.id, "")
            return ("failed" if reason else None), reason

    def used_bytes(self) -> int:
        """Memory taken by what is loaded, being loaded or being let go."""
        with self._changed:
            return self._used_bytes()

    def has_room(self, num_bytes: int) -> bool:
        """Whether as much fits beside what is loaded now, without letting anything go."""
        with self._changed:
            return self._used_bytes() + num_bytes <= self._budget_bytes

    def close(self) -> None:
        """Lets go of everything; loads under way are cancelled, those who wait get an error."""
        with self._changed:
            self._closed = True
            orphans = [lease for slot in self._slots.values() for lease in slot.waiting]
            engines = [slot.let_go() for slot in self._slots.values()]
            for slot in self._slots.values():
                slot.waiting = []
            self._slots.clear()
            self._changed.notify_all()
        for lease in orphans:
            lease.on_ready(InternalError("the program is shutting down"))
        for engine in engines:
            if engine is not None:
                engine.close()

    def waiting_for(self, slot: _Slot, card: ModelCard | None, progress: Progress) -> list[Lease]:
        """Those who wait for `card` (None: for anything at the slot); raises `Cancelled` when all have left."""
        with self._changed:
            leases = [lease for lease in slot.waiting if card is None or lease.card.id == card.id]
            if not leases or self._closed:
                raise Cancelled("nobody waits for this load any more")
            slot.progress = progress
            return leases

    def _release(self, slot: _Slot, lease: Lease) -> None:
        with self._changed:
            if lease in slot.waiting:
                slot.waiting.remove(lease)
            if lease in slot.held:
                slot.held.discard(lease)
                slot.last_used = time.monotonic()
            self._changed.notify_all()

    def _enqueue(self, slot: _Slot, lease: Lease) -> None:
        slot.waiting.append(lease)
        slot.failures.pop(lease.card.id, None)
        if slot.progress is not None:
            lease.on_progress(slot.progress)
        if not slot.serving:
            slot.serving = True
            threading.Thread(target=self._serve, args=(slot,), name=f"load {slot.base.id}", daemon=True).start()

    # The loader's thread of one base

    def _serve(self, slot: _Slot) -> None:
        """Makes ready what is waited for, one model after the other, until nobody waits."""
        while (card := self._next_wanted(slot)) is not None:
            outcome = self._attempt(slot, card)
            self._tell(slot, card, outcome)

    def _next_wanted(self, slot: _Slot) -> ModelCard | None:
        with self._changed:
            slot.busy = False
            slot.progress = None
            self._changed.notify_all()
            while slot.draining and slot.waiting and not self._closed:
                self._changed.wait()
            slot.busy = slot.serving = bool(slot.waiting) and not self._closed
            return slot.waiting[0].card if slot.serving else None

    def _attempt(self, slot: _Slot, card: ModelCard) -> PlaygroundError | None:
        """None when `card` is ready; `Cancelled` when nobody waits any more; or what went wrong."""
        try:
            engine = slot.engine or self._load_base(slot)
            if card.id not in slot.prepared:
                engine.prepare(card, _Watch(self, slot, card))
        except PlaygroundError as error:
            return error
        except MemoryError:
            return ModelLoadFailed(f"{card.id}: out of memory while loading; choose a smaller model")
        except Exception as error:
            if self._closed:
                # The interpreter may be half gone: whatever fails now says nothing of the model.
                return Cancelled("the program is shutting down")
            log.exception("loading %s failed", card.id)
            return ModelLoadFailed(f"{card.id}: loading failed: {type(error).__name__}: {error}")
        return None

    def _load_base(self, slot: _Slot) -> Engine:
        watch = _Watch(self, slot, None)
        try:
            self._make_room(slot, self._loader.size_bytes(slot.base, watch))
            engine = self._loader.load(slot.base, watch, self.has_room)
        except BaseException:
            with self._changed:
                slot.reserved_bytes = 0
                self._changed.notify_all()
            raise
        with self._changed:
            if not self._closed:
                slot.engine = engine
                return engine
        engine.close()
        raise Cancelled("the program is shutting down")

    def _tell(self, slot: _Slot, card: ModelCard, error: PlaygroundError | None) -> None:
        if isinstance(error, Cancelled):
            return
        with self._changed:
            engine = slot.engine
            everybody = engine is None and error is not None
            told = [lease for lease in slot.waiting if everybody or lease.card.id == card.id]
            slot.waiting = [lease for lease in slot.waiting if lease not in told]
            if error is None:
                slot.prepared.add(card.id)
            for lease in told:
                if error is None:
                    slot.hold(lease)
                else:
                    slot.failures[lease.card.id] = error.message
        for lease in told:
            lease.on_ready(error or engine or InternalError("the program is shutting down"))

    # Memory

    def _used_bytes(self) -> int:
        return self._closing_bytes + sum(slot.memory_bytes() for slot in self._slots.values())

    def _make_room(self, slot: _Slot, num_bytes: int) -> None:
        """Reserves the room, letting go of the least recently used; waits for answers that still run."""
        if num_bytes > self._budget_bytes:
            raise ModelLoadFailed(
                f"{slot.base.id} needs {num_bytes / 1e9:.1f} GB of memory and the budget is "
                f"{self._budget_bytes / 1e9:.1f} GB: raise PLAYGROUND_MEMORY_GB or choose a smaller model"
            )
        watch = _Watch(self, slot, None)
        try:
            while not self._reserve(slot, num_bytes):
                watch.report(Progress("waiting", None, "waiting for other models to finish: memory is full"))
                self._evict_one(slot)
        finally:
            self._end_draining(slot)

    def _reserve(self, slot: _Slot, num_bytes: int) -> bool:
        with self._changed:
            self._wanting.add(slot)
            fits = self._used_bytes() + num_bytes <= self._budget_bytes
            if fits:
                slot.reserved_bytes = num_bytes
            return fits

    def _end_draining(self, slot: _Slot) -> None:
        """A base drains only while somebody wants the room, or nobody would be served there again."""
        with self._changed:
            self._wanting.discard(slot)
            if not self._wanting:
                for other in self._slots.values():
                    other.draining = False
            self._changed.notify_all()

    def _evict_one(self, wanting: _Slot) -> None:
        """Lets the least recently used idle base go; where none is idle, one takes no new answers from now
        on, so that whoever wants the room waits only for the answers that run now."""
        with self._changed:
            loaded = [slot for slot in self._slots.values() if slot.engine is not None and slot is not wanting]
            idle = [slot for slot in loaded if not slot.held and not slot.busy]
            if not idle:
                if loaded and not any(slot.draining for slot in loaded):
                    min(loaded, key=lambda slot: slot.last_used).draining = True
                self._changed.wait(0.25)
                return
            victim = min(idle, key=lambda slot: (not slot.draining, slot.last_used))
            num_bytes = victim.memory_bytes()
            self._closing_bytes += num_bytes
            engine = victim.let_go()
            self._changed.notify_all()
        assert engine is not None
        engine.close()
        with self._changed:
            self._closing_bytes -= num_bytes
            self._changed.notify_all()
