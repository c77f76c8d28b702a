"""Prompts that were read, kept so that the same one, or one that begins with it, need not be read again.

Knows token ids, what a row carries and a bound in bytes; how a lane is copied, what it takes and from where it may go
on is its stepper's word. Keeps neither a model nor an adapter alive. All loops of a process share one bound.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from weakref import ref

import torch

from playground.local.lora import Adapter
from playground.local.torch_step import Lane

log = logging.getLogger(__name__)


class Copying(Protocol):
    """What a stepper says of lanes that have not been stepped yet."""

    def fork(self, lane: Lane) -> Lane: ...

    def num_bytes(self, lane: Lane) -> int:
        """Memory that a fork of this lane takes."""
        ...

    def cuts_anywhere(self, lane: Lane) -> bool:
        """Whether a prompt gives the same bits in whatever pieces this lane reads it."""
        ...


class _Reader(NamedTuple):
    """What a prompt was read by: a loop, the adapter, by its address, and its strength."""

    loop: object
    adapter: int
    strength: float


_Key = tuple[_Reader, tuple[int, ...]]


@dataclass(slots=True, eq=False)
class _Snapshot:
    """A lane that is only ever copied, None once its adapter is gone, and the logits after its last token where they
    are known."""

    lane: Lane | None
    logits: torch.Tensor | None

    def let_go(self, _: object) -> None:
        """Any thread may come here, at any moment: nothing else is touched."""
        self.lane = self.logits = None


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    snapshot: _Snapshot
    num_bytes: int
    # Not read: it empties the snapshot when the adapter goes, before another can have its address.
    adapter: ref[Adapter] | None


class PromptCache:
    """Kept prompts of all loops, at most `max_bytes` together; what was used least recently goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._lengths: dict[_Reader, Counter[int]] = {}
        self._taken_bytes = 0

    def num_bytes(self) -> int:
        """Memory that is taken now."""
        with self._lock:
            self._drop_emptied()
            return self._taken_bytes

    def make_room(self, num_bytes: int) -> bool:
        """Lets go of as much as so many more bytes need; False, and nothing goes, where they can never fit."""
        with self._lock:
            if num_bytes > self._max_bytes:
                return False
            self._shrink_to(self._max_bytes - num_bytes)
            return True

    def put(self, key: _Key, kept: _Kept) -> None:
        with self._lock:
            self._drop(key)
            self._kept[key] = kept
            self._lengths.setdefault(key[0], Counter())[len(key[1])] += 1
            self._taken_bytes += kept.num_bytes
            # Another loop may have filled the room meanwhile.
            self._shrink_to(self._max_bytes)

    def get(self, key: _Key) -> _Snapshot | None:
        """What is kept under a key, which counts as used now."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.snapshot.lane is None:
                return None
            self._kept.move_to_end(key)
            return kept.snapshot

    def beginnings(self, reader: _Reader, token_ids: tuple[int, ...]) -> list[_Key]:
        """Keys of the kept prompts that these tokens begin with, or are, the longest first."""
        with self._lock:
            lengths = [length for length in self._lengths.get(reader, ()) if length <= len(token_ids)]
            keys = [(reader, token_ids[:length]) for length in sorted(lengths, reverse=True)]
            return [key for key in keys if key in self._kept]

    def forget(self, loop: object) -> None:
        """Lets go of all that one loop has kept."""
        with self._lock:
            for key in [key for key in self._kept if key[0].loop is loop]:
                self._drop(key)

    def _shrink_to(self, num_bytes: int) -> None:
        if self._taken_bytes > num_bytes:
            self._drop_emptied()
        while self._taken_bytes > num_bytes:
            self._drop(next(iter(self._kept)))

    def _drop_emptied(self) -> None:
        for key in [key for key, kept in self._kept.items() if kept.snapshot.lane is None]:
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._taken_bytes -= kept.num_bytes
        lengths = self._lengths[key[0]]
        lengths[len(key[1])] -= 1
        if not lengths[len(key[1])]:
            del lengths[len(key[1])]
        if not lengths:
            del self._lengths[key[0]]


class OwnPrompts:
    """One loop's part of the cache; called by its thread."""

    def __init__(self, cache: PromptCache, stepper: Copying) -> None:
        self._cache, self._stepper = cache, stepper
        # A stepper has the model, so what is kept must not lead to it.
        self._loop = object()

    def resumed(
        self, lane: Lane, token_ids: tuple[int, ...], num_at_once: int
    ) -> tuple[Lane, torch.Tensor | None] | None:
        """A lane that carries the same as `lane` and has read as many of a prompt's tokens as are kept, up to where the
        rest may be read `num_at_once` at a time; the logits after it where it has read them all. None where nothing
        of use is kept."""
        for key in self._cache.beginnings(self._reader(lane), token_ids):
            snapshot = self._cache.get(key)
            if snapshot is None or snapshot.lane is None:
                continue
            logits = snapshot.logits if key[1] == token_ids else None
            if logits is None and (key[1] == token_ids or not self._may_go_on(snapshot.lane, num_at_once)):
                continue
            twin = self._copied(snapshot.lane)
            if twin is None:
                return None
            twin.adapter = lane.adapter
            return twin, logits
        return None

    def _may_go_on(self, lane: Lane, num_at_once: int) -> bool:
        """Elsewhere the pieces would be of other sizes, and matrices of another shape round otherwise."""
        return lane.num_tokens % num_at_once == 0 or self._stepper.cuts_anywhere(lane)

    def keep(self, lane: Lane, token_ids: tuple[int, ...], logits: torch.Tensor | None = None) -> None:
        """Keeps a copy of a lane that has read just these tokens and was not stepped, where that fits at all."""
        key = (self._reader(lane), token_ids)
        there = self._cache.get(key)
        if there is not None and (logits is None or there.logits is not None):
            return
        num_bytes = self._stepper.num_bytes(lane) + (0 if logits is None else logits.nbytes)
        if not self._cache.make_room(num_bytes):
            return
        twin = self._copied(lane)
        if twin is None:
            return
        twin.adapter = None
        snapshot = _Snapshot(twin, None if logits is None else logits.clone())
        adapter = None if lane.adapter is None else ref(lane.adapter, snapshot.let_go)
        self._cache.put(key, _Kept(snapshot, num_bytes, adapter))

    def forget(self) -> None:
        """Lets go of all of it; any thread may call this."""
        self._cache.forget(self._loop)

    def _reader(self, lane: Lane) -> _Reader:
        return _Reader(self._loop, 0 if lane.adapter is None else id(lane.adapter), lane.strength)

    def _copied(self, lane: Lane) -> Lane | None:
        """A fork; None where that fails, which costs a row nothing but time. Memory may be short then, so all goes."""
        try:
            return self._stepper.fork(lane)
        except (MemoryError, RuntimeError) as error:
            log.warning("a prompt's cache could not be copied, so none is kept: %s", error)
            self.forget()
            return None
