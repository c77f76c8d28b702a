"""The reference stepper: transformers' own modules over padded caches, any device, any tested architecture.

Knows tensors, caches and positions; nothing of sampling, text or requests. A stepper keeps each row's keys
and values its own way: here a row is prefilled alone, then joins one batch whose shorter rows are padded on
the left. Called from one thread only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from transformers import DynamicCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from playground.errors import ModelLoadFailed
from playground.local.lora import Adapter, Plan, using
from playground.types import StepperName


@dataclass(slots=True, eq=False)
class Lane:
    """One row as a stepper sees it: what it carries, how many tokens its cache holds."""

    adapter: Adapter | None
    strength: float
    num_tokens: int = 0
    cache: Any = field(default=None, repr=False)


class TorchStepper:
    """Runs lanes over one model. Logits are float32 of shape (lanes or tokens, vocabulary)."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._config = model.config.get_text_config(decoder=True)
        self._batch: list[Lane] = []
        self._cache: Any = None
        self._length = 0
        self._plan = Plan(())
        _require_known_layers(self._new_cache())

    @property
    def _device(self) -> torch.device:
        return self._model.device

    def prefill(self, lane: Lane, token_ids: Sequence[int], *, num_logits: int = 1) -> torch.Tensor:
        """Takes in more of a lane's prompt; gives the logits after the last `num_logits` tokens."""
        if lane.cache is None:
            lane.cache = self._new_cache()
        start, end = lane.num_tokens, lane.num_tokens + len(token_ids)
        with torch.inference_mode(), using(Plan(((lane.adapter, lane.strength),))):
            logits = self._forward([list(token_ids)], torch.arange(start, end)[None], None, lane.cache, num_logits)
        lane.num_tokens = end
        return logits[0]

    def fork(self, lane: Lane) -> Lane:
        """A second lane with the same tokens; the lane must not have joined a batch yet."""
        twin = Lane(lane.adapter, lane.strength, lane.num_tokens)
        with torch.inference_mode():
            twin.cache = copy.deepcopy(lane.cache)
        return twin

    def num_bytes(self, lane: Lane) -> int:
        """Memory that a fork takes; a view is copied with all that it is a view of."""
        tensors = [tensor for layer in lane.cache.layers for tensor in _tensors_of(layer)]
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        return sum(storages.values())

    def cuts_anywhere(self, lane: Lane) -> bool:  # noqa: ARG002 - all lanes are alike here
        return False

    def step(self, lanes: Sequence[Lane], token_ids: Sequence[int]) -> torch.Tensor:
        """Feeds one token to each lane and gives the logits after it, one row a lane, in their order."""
        with torch.inference_mode():
            self._gather(list(lanes))
            token_of = {id(lane): token_id for lane, token_id in zip(lanes, token_ids, strict=True)}
            lengths = torch.tensor([lane.num_tokens for lane in self._batch])
            padded = bool((lengths != self._length).any())
            columns = torch.arange(self._length + 1)[None]
            mask = (columns >= (self._length - lengths)[:, None]).long() if padded else None
            tokens = [[token_of[id(lane)]] for lane in self._batch]
            with using(self._plan):
                logits = self._forward(tokens, lengths[:, None], mask, self._cache, 1)[:, -1]
            self._length += 1
            for lane in self._batch:
                lane.num_tokens += 1
            order = {id(lane): row for row, lane in enumerate(self._batch)}
            return logits[[order[id(lane)] for lane in lanes]]

    def leave(self, lane: Lane) -> None:
        """Forgets a lane, in the batch or not."""
        lane.cache = None
        if lane in self._batch:
            with torch.inference_mode():
                self._keep([other for other in self._batch if other is not lane])

    def reset(self) -> None:
        """Forgets everything, after a forward that broke off half-way; lanes must be prefilled again."""
        for lane in self._batch:
            lane.cache, lane.num_tokens = None, 0
        self._set_batch([], None, 0)

    def close(self) -> None:
        """Forgets everything."""
        self.reset()

    def repeats(self, lane: Lane) -> bool:
        """In 16 bits a matrix of other shape rounds otherwise, so only what was computed alone comes out the same."""
        return self._model.dtype == torch.float32 or lane not in self._batch

    def name_of(self, lane: Lane) -> StepperName:  # noqa: ARG002 - all lanes are alike here
        return "transformers"

    def _new_cache(self) -> Any:
        return DynamicCache(config=self._config)

    def _forward(
        self,
        token_ids: list[list[int]],
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        cache: Any,
        num_logits: int,
    ) -> torch.Tensor:
        out = self._model(
            input_ids=torch.tensor(token_ids, device=self._device),
            position_ids=positions.to(self._device),
            attention_mask=None if mask is None else mask.to(self._device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=num_logits,
        )
        return out.logits.float()

    # The batch

    def _gather(self, lanes: list[Lane]) -> None:
        """Makes the batch hold exactly these lanes: some may have left it, some come with their own cache."""
        wanted = {id(lane) for lane in lanes}
        staying = [lane for lane in self._batch if id(lane) in wanted]
        if len(staying) != len(self._batch):
            self._keep(staying)
        present = {id(lane) for lane in self._batch}
        for lane in lanes:
            if id(lane) not in present:
                self._join(lane)

    def _join(self, lane: Lane) -> None:
        own, lane.cache = lane.cache, None
        if not self._batch:
            self._set_batch([lane], own, lane.num_tokens)
            return
        length = max(self._length, lane.num_tokens)
        for ours, theirs in zip(self._cache.layers, own.layers, strict=True):
            _join_layer(ours, theirs, length)
        self._set_batch([*self._batch, lane], self._cache, length)

    def _keep(self, lanes: list[Lane]) -> None:
        if not lanes:
            self._set_batch([], None, 0)
            return
        rows = torch.tensor([self._batch.index(lane) for lane in lanes], device=self._device)
        self._cache.reorder_cache(rows)
        length = max(lane.num_tokens for lane in lanes)
        if length < self._length:
            for layer in self._cache.layers:
                _trim_layer(layer, length)
        self._set_batch(lanes, self._cache, length)

    def _set_batch(self, lanes: list[Lane], cache: Any, length: int) -> None:
        self._batch, self._cache, self._length = lanes, cache, length
        self._plan = Plan(tuple((lane.adapter, lane.strength) for lane in lanes))


_KNOWN_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, DummyLayer)


def _require_known_layers(cache: Any) -> None:
    """Joining rows was tested for these kinds of layers; another kind might mix them up in silence."""
    unknown = {type(layer).__name__ for layer in cache.layers if type(layer) not in _KNOWN_LAYERS}
    if unknown or not cache.layers:
        raise ModelLoadFailed(
            f"this architecture keeps its cache in {', '.join(sorted(unknown)) or 'an unknown way'}, "
            "which the embedded engine has not been tested with; serve it elsewhere and give an endpoint"
        )


def _tensors_of(layer: Any) -> list[torch.Tensor]:
    """All that one layer keeps."""
    if isinstance(layer, DummyLayer):
        return []
    if isinstance(layer, LinearAttentionLayer):
        states = (*layer.conv_states.values(), *layer.recurrent_states.values())
        return [state for state in states if state is not None]
    return [layer.keys, layer.values]


def _held(layer: Any, length: int) -> int:
    """How many of `length` tokens a layer keeps."""
    return min(length, layer.sliding_window - 1) if isinstance(layer, DynamicSlidingWindowLayer) else length


def _pad_left(tensor: torch.Tensor, held: int) -> torch.Tensor:
    return F.pad(tensor, (0, 0, held - tensor.shape[-2], 0))


def _join_layer(ours: Any, theirs: Any, length: int) -> None:
    """Adds one row's layer to the batch's, both padded with zeros on the left to the common length."""
    if isinstance(ours, DummyLayer):
        return
    if isinstance(ours, LinearAttentionLayer):
        for states, own in (
            (ours.conv_states, theirs.conv_states),
            (ours.recurrent_states, theirs.recurrent_states),
        ):
            for i, state in states.items():
                if state is not None:
                    states[i] = torch.cat([state, own[i]])
        return
    held = _held(ours, length)
    ours.keys = torch.cat([_pad_left(ours.keys, held), _pad_left(theirs.keys, held)])
    ours.values = torch.cat([_pad_left(ours.values, held), _pad_left(theirs.values, held)])
    if isinstance(ours, DynamicSlidingWindowLayer):
        ours.cumulative_length = length


def _trim_layer(layer: Any, length: int) -> None:
    """Cuts padding that all rows share; states without a time axis have none."""
    if isinstance(layer, DummyLayer | LinearAttentionLayer):
        return
    held = _held(layer, length)
    if hasattr(layer, "cumulative_length"):
        layer.cumulative_length = length
    layer.keys, layer.values = layer.keys[..., -held:, :], layer.values[..., -held:, :]
