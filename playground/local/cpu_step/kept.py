"""What a row keeps from step to step: keys and values, or the states of linear attention, layer by layer.

Knows transformers' caches, from which it is copied once, and addresses; nothing of other rows. Each row has its
own arrays, so rows join and leave without a byte of another's being moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from playground.local.cpu_step.plan import Plan, Slot

PIECE = 32
"""Tokens of a prompt that come together: so many that reading the weights costs little beside calculating, so few that
what is calculated stays in a core's cache."""
SPARE = 64
"""Tokens of room that a row is given beyond what it holds, at least; it grows by half."""


class Kept:
    """A row's slots. `addresses` (slots, 3) int64: keys and values and their room in tokens, or the two states;
    `copied` says whether transformers' modules wrote a part of it."""

    def __init__(self, plan: Plan, tensors: list[list[torch.Tensor]], *, copied: bool) -> None:
        self._plan, self._tensors, self.copied = plan, tensors, copied
        self._write_addresses()

    @classmethod
    def empty(cls, plan: Plan) -> Kept:
        """What a row keeps before its first token."""
        dtype = torch.bfloat16 if plan.kind == "bfloat16" else torch.float32
        return cls(plan, [_nothing(slot, dtype) for slot in plan.slots], copied=False)

    @classmethod
    def of(cls, cache: Any, plan: Plan, num_tokens: int) -> Kept:
        """What a transformers cache of one row holds after `num_tokens` tokens."""
        own = []
        for slot in plan.slots:
            layer = cache.layers[slot.layer]
            own.append(_states(layer) if slot.is_state else _keys_and_values(layer, slot, num_tokens))
        return cls(plan, own, copied=True)

    def copy(self) -> Kept:
        """The same in memory of its own."""
        tensors = [[tensor.clone() for tensor in own] for own in self._tensors]
        return Kept(self._plan, tensors, copied=self.copied)

    def num_bytes(self) -> int:
        """Memory that it takes."""
        return sum(tensor.nbytes for own in self._tensors for tensor in own)

    def make_room(self, num_tokens: int) -> None:
        """Sees to it that so many tokens fit."""
        grown = False
        for slot, tensors in zip(self._plan.slots, self._tensors, strict=True):
            if slot.is_state or tensors[0].shape[1] >= _wanted(slot, num_tokens):
                continue
            room = _wanted(slot, max(num_tokens * 3 // 2, num_tokens + SPARE))
            tensors[:] = [_with_room(tensor, room) for tensor in tensors]
            grown = True
        if grown:
            self._write_addresses()

    def _write_addresses(self) -> None:
        self.addresses = np.array(
            [(*(tensor.data_ptr() for tensor in tensors), tensors[0].shape[1]) for tensors in self._tensors], np.int64
        )


def _wanted(slot: Slot, num_tokens: int) -> int:
    # Of tokens that come together, the first still sees a whole window when the last is kept.
    return min(num_tokens, slot.window + PIECE - 1) if slot.window else num_tokens


def _nothing(slot: Slot, dtype: torch.dtype) -> list[torch.Tensor]:
    if slot.is_state:
        return [torch.zeros(3, slot.channels), torch.zeros(slot.heads, slot.keys, slot.size)]
    return [torch.zeros(slot.heads, 0, slot.size, dtype=dtype) for _ in range(2)]


def _with_room(tensor: torch.Tensor, room: int) -> torch.Tensor:
    """(heads, room, size); what wraps around is never moved, for it has all the room it will ever have."""
    grown = torch.zeros(tensor.shape[0], room, tensor.shape[2], dtype=tensor.dtype)
    grown[:, : tensor.shape[1]] = tensor
    return grown


def _keys_and_values(layer: Any, slot: Slot, num_tokens: int) -> list[torch.Tensor]:
    """As (heads, room, size), each token in the place that its position has there."""
    room = _wanted(slot, num_tokens + SPARE)
    placed = []
    for own in (layer.keys[0], layer.values[0]):
        tensor = torch.zeros(own.shape[0], room, own.shape[2], dtype=own.dtype)
        held = min(own.shape[1], room)
        places = torch.arange(num_tokens - held, num_tokens) % room
        tensor[:, places] = own[:, own.shape[1] - held :]
        placed.append(tensor)
    return placed


def _states(layer: Any) -> list[torch.Tensor]:
    """The convolution's last three inputs (3, channels) and the recurrent state (heads, keys, size), in float32."""
    last = layer.conv_states[0][0, :, -3:].float().T.contiguous()
    return [last, layer.recurrent_states[0][0].float().contiguous().clone()]
