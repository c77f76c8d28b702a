"""Every model with its state, what it takes and who uses it; into memory, out of it, and kept there.

Knows the service's list and the registry; how fine-tunes come and go is the affair of `adding`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from playground.library.adding import Adding, require_manager
from playground.library.saving import Saving
from playground.registry import Lease, Registry, Usage
from playground.service import Playground
from playground.types import ANYBODY, Caller, ModelCard, ModelStatus, Placement


@dataclass(frozen=True, slots=True)
class Standing:
    """One model. `placement` and `memory_bytes` are as they are in memory, or about as they will be; `is_cancellable`
    says that this program loads it because somebody asked for just that; `is_removable` that this caller may take it
    out of the catalog; `is_uploaded` that its files go with it; `is_savable` that it can be written as a merge."""

    status: ModelStatus
    usage: Usage
    placement: Placement
    memory_bytes: int | None
    is_cancellable: bool
    is_removable: bool
    is_uploaded: bool
    is_savable: bool


@dataclass(frozen=True, slots=True)
class Shelf:
    """All models, and the memory that they share, in bytes. `may_manage` says whether this caller may change it,
    `may_save` whether merges may be written to this machine's disk."""

    models: tuple[Standing, ...]
    used_bytes: int
    budget_bytes: int
    may_manage: bool
    may_save: bool


class Library:
    """What the Models tab shows and does. Methods block shortly; a load goes on by itself."""

    def __init__(self, playground: Playground, registry: Registry, adding: Adding, budget_bytes: int) -> None:
        self._playground, self._registry, self._budget_bytes = playground, registry, budget_bytes
        self.adding, self.saving = adding, Saving(playground)
        self._loads: dict[str, Lease | None] = {}
        self._changing = threading.Lock()

    def shelf(self, caller: Caller) -> Shelf:
        """Everything that the caller sees."""
        return Shelf(
            models=tuple(self._standing(status, caller) for status in self._playground.models(caller)),
            used_bytes=self._registry.used_bytes(),
            budget_bytes=self._budget_bytes,
            may_manage=caller.manages,
            may_save=caller.everything,
        )

    def standing(self, model_id: str, caller: Caller) -> Standing:
        """One model; raises `ModelNotFound`."""
        return self._standing(self._playground.status(model_id, caller), caller)

    def load(self, model_id: str, caller: Caller) -> None:
        """Begins to load a model, and to download it first if need be; nothing where that is done or under way.

        Raises what a request for the model would raise, and `Forbidden`.
        """
        card = self._managed(model_id, caller)
        self._playground.require_runnable(model_id, caller)
        with self._changing:
            if card.id in self._loads:
                return
            self._loads[card.id] = None
        lease = self._registry.lease(card, lambda _: None, lambda _: self._end_load(card.id), caller.account or "")
        with self._changing:
            if card.id in self._loads:
                self._loads[card.id] = lease
                return
        # It was there already, or has failed already.
        lease.release()

    def cancel(self, model_id: str, caller: Caller) -> None:
        """Ends what `load` began; a load that somebody else waits for goes on."""
        self._end_load(self._managed(model_id, caller).id)

    def unload(self, model_id: str, caller: Caller) -> None:
        """Gives the memory back; raises `InvalidRequest` while the model is in use."""
        self._registry.unload(self._managed(model_id, caller))

    def pin(self, model_id: str, caller: Caller, *, pinned: bool) -> None:
        """Keeps a model in memory whoever wants the room, until the program ends; or no longer."""
        self._registry.pin(self._managed(model_id, caller), pinned=pinned)

    def _managed(self, model_id: str, caller: Caller) -> ModelCard:
        card = self._playground.status(model_id, caller).card
        require_manager(caller)
        return card

    def _end_load(self, model_id: str) -> None:
        with self._changing:
            lease = self._loads.pop(model_id, None)
        if lease is not None:
            lease.release()

    def _standing(self, status: ModelStatus, caller: Caller) -> Standing:
        usage = self._registry.usage(status.card) if status.card.problem is None else Usage()
        if caller == ANYBODY:
            # Whoever is nobody is not told who the others are.
            usage = replace(usage, users=("",) * len(usage.users))
        return Standing(
            status=status,
            usage=usage,
            placement=usage.placement or self._placement_to_be(status.card),
            memory_bytes=usage.memory_bytes or self._playground.memory_bytes(status),
            is_cancellable=status.card.id in self._loads,
            is_removable=self.adding.may_remove(status.card, caller),
            is_uploaded=self.adding.was_uploaded(status.card),
            is_savable=_is_savable(status),
        )

    def _placement_to_be(self, card: ModelCard) -> Placement:
        if card.problem is not None:
            return Placement()
        return Placement(self._playground.dtype(card), self._registry.device_of(card))


def _is_savable(status: ModelStatus) -> bool:
    card = status.card
    return (
        card.type == "fine-tuned" and card.problem is None and not status.closed and card.dtype not in ("int8", "int4")
    )
