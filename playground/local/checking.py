"""Holds what an answer says of itself against the weights: by forwards that no row, hook or plan takes part in.

Knows plain forwards of a module tree and merged copies; nothing of loops or of how a verdict is shown.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from playground.evidence import NUM_BEST, Fidelity, First, Proof, Verdict, same_first
from playground.local import decoding
from playground.local.lora import Adapter
from playground.local.sampling import best
from playground.local.torch_step import Lane, TorchStepper

NUM_GREEDY = 32
"""So many greedy tokens of both ways are compared."""


def check_base(base_hash: str, proof: Proof) -> Verdict:
    """`base_hash` is the base's fingerprint now."""
    if proof.base_hash is None:
        return Verdict("base", None, "The base's weights had not been fingerprinted yet when this answer ended.")
    if base_hash == proof.base_hash:
        return Verdict("base", True, f"The base's weights are those that were loaded: SHA-256 {base_hash[:12]}….")
    return Verdict(
        "base",
        False,
        f"The base's weights have changed since they were loaded: SHA-256 {base_hash[:12]}… now, "
        f"{proof.base_hash[:12]}… then.",
    )


def check_adapter(file_hash: str | None, proof: Proof) -> Verdict:
    """`file_hash` is the adapter's file's now, None where it cannot be read any more."""
    assert proof.adapter_hash is not None
    if file_hash is not None and file_hash == proof.adapter_hash:
        return Verdict("adapter", True, f"The adapter's file is the one that was read: SHA-256 {file_hash[:12]}….")
    now = "cannot be read any more" if file_hash is None else f"is another one now: SHA-256 {file_hash[:12]}…"
    return Verdict("adapter", False, f"The adapter's file {now}; this answer came from {proof.adapter_hash[:12]}….")


def check_side(model: Any, token_ids: Sequence[int], proof: Proof) -> Verdict:
    """Whether an answer's first logits are the base's, as they must be on a base's side and on no other."""
    plain = first_of(model, token_ids)
    is_base = same_first(plain, proof.first)
    if proof.adapter is None:
        finding = (
            "Its first logits are those of a plain forward of the base."
            if is_base
            else "Its first logits are not those of a plain forward of the base: something else answered."
        )
        return Verdict("side", is_base, finding)
    if not is_base:
        return Verdict("side", True, "Its first logits are not the base's: the fine-tune answered.")
    return Verdict(
        "side", False, "Its first logits are the base's: the base answered, or this adapter changes nothing here."
    )


def first_of(model: Any, token_ids: Sequence[int]) -> First:
    """The best first tokens by plain forwards of `model` as it stands, over a cache of their own and in the pieces that
    a row takes: in bfloat16 other pieces round otherwise."""
    ids, out = torch.tensor([list(token_ids)], device=model.device), None
    with torch.inference_mode():
        for chunk in ids.split(decoding.CHUNK_TOKENS, dim=1):
            cache = out.past_key_values if out is not None else None
            out = model(input_ids=chunk, past_key_values=cache, use_cache=True, logits_to_keep=1)
        assert out is not None, "a prompt has a token at least"
        return best(out.logits[0, -1].float(), NUM_BEST)


def fidelity(
    model: Any, view: Any, adapter: Adapter, token_ids: Sequence[int], end_ids: frozenset[int], room: int
) -> list[Fidelity]:
    """`adapter` by row over `model` against `view`, its merge in the base's dtype, and against a copy of that in
    bfloat16, as a merge is commonly saved, where the base is not in bfloat16 itself. `room` is how many tokens the
    context still holds."""
    num_greedy = max(1, min(NUM_GREEDY, room))
    name = str(model.dtype).removeprefix("torch.")
    ways = {f"merged in {name}": view}
    if model.dtype != torch.bfloat16:
        ways["merged and saved in bfloat16"] = _saved_in_bfloat16(view)
    return [
        _against(way, _Run(model, adapter, end_ids, num_greedy), _Run(other, None, end_ids, num_greedy), token_ids)
        for way, other in ways.items()
    ]


def _saved_in_bfloat16(view: Any) -> Any:
    """What comes back of a model that was saved so: what is not saved, such as rotary frequencies, keeps its dtype."""
    memo: dict[int, Any] = {}
    for module in view.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                memo[id(parameter)] = nn.Parameter(parameter.to(torch.bfloat16), requires_grad=False)
        for key, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point() and key not in module._non_persistent_buffers_set:
                memo[id(buffer)] = buffer.to(torch.bfloat16)
    rounded = copy.deepcopy(view, memo)
    rounded.config.dtype = torch.bfloat16
    return rounded


class _Run:
    """One way to run a fine-tune, a piece of a prompt or a greedy token at a time."""

    def __init__(self, model: Any, adapter: Adapter | None, end_ids: frozenset[int], num_greedy: int) -> None:
        self._stepper, self._lane = TorchStepper(model), Lane(adapter, 1.0)
        self._end_ids, self._num_greedy = end_ids, num_greedy

    def read(self, token_ids: Sequence[int]) -> torch.Tensor:
        """The logits at each of the tokens, on the CPU."""
        return self._stepper.prefill(self._lane, token_ids, num_logits=len(token_ids)).cpu()

    def answer(self, first_id: int) -> list[int]:
        """The greedy answer, with its end."""
        answer = [first_id]
        while len(answer) < self._num_greedy and answer[-1] not in self._end_ids:
            answer.append(int(self._stepper.step([self._lane], answer[-1:])[0].argmax()))
        return answer


def _against(way: str, one: _Run, other: _Run, token_ids: Sequence[int]) -> Fidelity:
    """Piece by piece: all logits of a long prompt at once would take gigabytes."""
    largest, last = 0.0, torch.zeros(2, 1)
    for start in range(0, len(token_ids), decoding.CHUNK_TOKENS):
        piece = token_ids[start : start + decoding.CHUNK_TOKENS]
        ours, theirs = one.read(piece), other.read(piece)
        largest = max(largest, float((ours - theirs).abs().max()))
        last = torch.stack([ours[-1], theirs[-1]])
    answers = [run.answer(int(logits.argmax())) for run, logits in zip((one, other), last, strict=True)]
    pairs = list(zip(*answers, strict=False))
    parts_after = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    return Fidelity(way, largest, parts_after, len(pairs))
