"""Which bases are loaded, who waits for them and who holds them; what has to go for another is the affair of `room`.

Knows engines only by their protocol and cards only by their keys; imports nothing heavy. One thread a
base while something of it loads; answers run in the engines' own threads.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from functools import partial

from playground.errors import Cancelled, InternalError, ModelLoadFailed, PlaygroundError, broken_rule
from playground.registry.room import Room
from playground.registry.slot import Key, Lease, Slot, Usage, key_of
from playground.types import Engine, EngineLoader, ModelCard, ModelState, Progress

log = logging.getLogger(__name__)


class _Watch:
    """A loader's view of those who wait for `card`; None stands for everybody at the slot."""

    def __init__(self, registry: Registry, slot: Slot, card: ModelCard | None) -> None:
        self._registry, self._slot, self._card = registry, slot, card

    def report(self, progress: Progress) -> None:
        for lease in self._registry.waiting_for(self._slot, self._card, progress):
            lease.on_progress(progress)


class Registry:
    """Loads bases on first use, once however many ask, and keeps them under `budget_bytes`."""

    def __init__(self, base_of: Callable[[ModelCard], ModelCard], loader: EngineLoader, budget_bytes: int) -> None:
        self._base_of, self._loader = base_of, loader
        self._slots: dict[Key, Slot] = {}
        self._changed = threading.Condition()
        self._room = Room(self._slots, self._changed, budget_bytes)
        self._turns = itertools.count()
        self._closed = False

    def lease(
        self,
        card: ModelCard,
        on_progress: Callable[[Progress], None],
        on_ready: Callable[[Engine | PlaygroundError], None],
        user: str = "",
    ) -> Lease:
        """Asks for `card` and returns at once; `on_ready` may be called before this returns."""
        lease = Lease(card, on_progress, on_ready, user)
        base = self._base_of(card)
        with self._changed:
            if self._closed:
                raise InternalError("the program is shutting down")
            slot = self._slots.setdefault(key_of(base), Slot(base))
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
            if not reason and card.type == "base" and slot.in_memory(card):
                return "ready", ""
            return ("failed" if reason else None), reason

    def usage(self, card: ModelCard) -> Usage:
        """What a model takes now, and for whom."""
        with self._changed:
            slot = self._slots.get(key_of(self._base_of(card)))
            if slot is None:
                return Usage()
            waiting = [lease for lease in slot.waiting if lease.card.id == card.id]
            engine = slot.engine if slot.in_memory(card) else None
            return Usage(
                users=tuple(sorted(lease.user for lease in slot.holders(card))),
                num_waiting=len(waiting),
                last_used_at=slot.used_at.get(card.id),
                memory_bytes=engine.memory_of(card) if engine else 0,
                pinned=card.id in slot.pinned,
                progress=slot.progress_for(card) if waiting else None,
                placement=engine.placement() if engine else None,
            )

    def device_of(self, card: ModelCard) -> str | None:
        """Where a model will calculate once it is loaded; None where that is not known yet."""
        return self._loader.device_of(self._base_of(card))

    def pin(self, card: ModelCard, *, pinned: bool) -> None:
        """Keeps a model in memory once it is there, whoever else wants the room; or no longer."""
        base = self._base_of(card)
        with self._changed:
            slot = self._slots.setdefault(key_of(base), Slot(base))
            (slot.pinned.add if pinned else slot.pinned.discard)(card.id)
            self._changed.notify_all()

    def unload(self, card: ModelCard) -> None:
        """Gives a model's memory back, a base's with that of its fine-tunes, and returns when that is done; nothing
        where it is not loaded. Raises `InvalidRequest` while it answers or is being loaded."""
        with self._changed:
            slot = self._slots.get(key_of(self._base_of(card)))
            if slot is None or slot.engine is None:
                return
            wanted = [*slot.held, *slot.waiting] if card.type == "base" else slot.holders(card)
            if wanted or slot.busy:
                raise broken_rule("model", card.id, "it is in use: it can be unloaded when what it does has ended")
            slot.pinned.discard(card.id)
            if card.type == "base":
                slot.pinned.clear()
                closing = self._room.begin_closing(slot)
            else:
                self._leave(slot, card)
                self._changed.wait_for(lambda: card.id not in slot.leaving or self._closed)
                return
        closing()

    def forget(self, card: ModelCard) -> None:
        """Gives a fine-tune's memory back as soon as no answer needs it: whoever asks from now on has it read anew."""
        with self._changed:
            slot = self._slots.get(key_of(self._base_of(card))) if card.base_model else None
            if slot is not None and slot.engine is not None:
                self._leave(slot, card)

    def used_bytes(self) -> int:
        """Memory taken by what is loaded, being loaded or being let go."""
        return self._room.used_bytes()

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

    def waiting_for(self, slot: Slot, card: ModelCard | None, progress: Progress) -> list[Lease]:
        """Those who wait for `card` (None: for anything at the slot); raises `Cancelled` when all have left."""
        with self._changed:
            leases = [lease for lease in slot.waiting if card is None or lease.card.id == card.id]
            if not leases or self._closed:
                raise Cancelled("nobody waits for this load any more")
            slot.progress, slot.progress_of = progress, card.id if card else None
            return leases

    def _release(self, slot: Slot, lease: Lease) -> None:
        with self._changed:
            if lease in slot.waiting:
                slot.waiting.remove(lease)
            if lease in slot.held:
                slot.held.discard(lease)
                slot.touch(lease)
            self._changed.notify_all()

    def _enqueue(self, slot: Slot, lease: Lease) -> None:
        slot.waiting.append(lease)
        slot.failures.pop(lease.card.id, None)
        progress = slot.progress_for(lease.card)
        if progress is not None:
            lease.on_progress(progress)
        self._have_served(slot)

    def _leave(self, slot: Slot, card: ModelCard) -> None:
        slot.leave(card)
        self._have_served(slot)

    def _have_served(self, slot: Slot) -> None:
        self._changed.notify_all()
        if not slot.serving:
            slot.serving = True
            threading.Thread(target=self._serve, args=(slot,), name=f"load {slot.base.id}", daemon=True).start()

    # The loader's thread of one base

    def _serve(self, slot: Slot) -> None:
        """Makes ready what is waited for and lets go of what leaves, one model after the other, until there is none."""
        while (work := self._next(slot)) is not None:
            work()

    def _next(self, slot: Slot) -> Callable[[], None] | None:
        with self._changed:
            slot.busy = False
            slot.progress = None
            self._changed.notify_all()
            while not self._closed and (slot.waiting or slot.leaving):
                leaving = next((card for card in slot.leaving.values() if not slot.holders(card)), None)
                wanted = next((lease.card for lease in slot.waiting if lease.card.id not in slot.leaving), None)
                if leaving is not None:
                    slot.busy = True
                    return partial(self._let_leave, slot, leaving)
                if wanted is not None and not slot.draining:
                    slot.busy = True
                    return partial(self._make_ready, slot, wanted)
                self._changed.wait()
            slot.serving = False
            return None

    def _make_ready(self, slot: Slot, card: ModelCard) -> None:
        slot.turn = next(self._turns)
        self._tell(slot, card, self._attempt(slot, card))

    def _let_leave(self, slot: Slot, card: ModelCard) -> None:
        self._room.forget(slot, card)
        with self._changed:
            # A base that nobody asked for by itself, or pinned, was there for its fine-tunes alone.
            wanted = slot.prepared or slot.held or slot.waiting or slot.leaving or slot.pinned
            unused = slot.engine is not None and not wanted
            closing = self._room.begin_closing(slot) if unused else None
        if closing is not None:
            closing()

    def _attempt(self, slot: Slot, card: ModelCard) -> PlaygroundError | None:
        """None when `card` is ready; `Cancelled` when nobody waits any more; or what went wrong."""
        try:
            watch = _Watch(self, slot, card)
            engine = self._with_room(slot, card, watch)
            if card.id not in slot.prepared:
                engine.prepare(card, watch)
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

    def _with_room(self, slot: Slot, card: ModelCard, watch: _Watch) -> Engine:
        """The base's engine, with room reserved for what `card` adds; while that is waited for, the base may go."""
        while True:
            engine = slot.engine or self._load_base(slot)
            if card.adapter is None or card.id in slot.prepared:
                return engine
            if self._room.make(slot, card, engine.size_of(card, watch), watch):
                return engine

    def _load_base(self, slot: Slot) -> Engine:
        watch = _Watch(self, slot, None)
        try:
            self._room.make(slot, slot.base, self._loader.size_bytes(slot.base, watch), watch)
            engine = self._loader.load(slot.base, watch, self._room.has_more)
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

    def _tell(self, slot: Slot, card: ModelCard, error: PlaygroundError | None) -> None:
        with self._changed:
            slot.preparing = None
            if isinstance(error, Cancelled):
                return
            engine = slot.engine
            everybody = engine is None and error is not None
            told = [lease for lease in slot.waiting if everybody or lease.card.id == card.id]
            slot.waiting = [lease for lease in slot.waiting if lease not in told]
            if error is None:
                slot.prepared[card.id] = card
            for lease in told:
                if error is None:
                    slot.hold(lease)
                else:
                    slot.failures[lease.card.id] = error.message
        for lease in told:
            lease.on_ready(error or engine or InternalError("the program is shutting down"))
