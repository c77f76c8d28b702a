"""Holds what an answer says of itself against the weights: by forwards that no row, hook or plan takes part in.

Knows plain forwards of a module tree and merged copies; nothing of loops or of how a verdict is shown.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from playground.evidence import NUM_BEST, Fidelity, First, Proof, Verdict, same_first
from playground.local.lora import Adapter
from playground.local.merge import merged_view
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
    """The best first tokens by a forward of `model` as it stands, in one piece and without a cache."""
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([list(token_ids)], device=model.device), use_cache=False, logits_to_keep=1)
        return best(out.logits[0, -1].float(), NUM_BEST)


def fidelity(model: Any, adapter: Adapter, token_ids: Sequence[int], end_ids: frozenset[int]) -> list[Fidelity]:
    """The adapter by row against a merged view in the base's dtype, and against a copy of it in bfloat16, as a merge
    is commonly saved, where the base is not in bfloat16 itself."""
    attached = _Run(model, adapter, token_ids, end_ids)
    view = merged_view(model, adapter)
    name = str(model.dtype).removeprefix("torch.")
    found = [attached.against(_Run(view, None, token_ids, end_ids), f"merged in {name}")]
    if model.dtype != torch.bfloat16:
        rounded = copy.deepcopy(view).to(torch.bfloat16)
        found.append(attached.against(_Run(rounded, None, token_ids, end_ids), "merged and saved in bfloat16"))
    return found


class _Run:
    """One way's logits at every token of a prompt, and its greedy answer."""

    def __init__(self, model: Any, adapter: Adapter | None, token_ids: Sequence[int], end_ids: frozenset[int]) -> None:
        stepper, lane = TorchStepper(model), Lane(adapter, 1.0)
        self.logits = stepper.prefill(lane, token_ids, num_logits=len(token_ids)).cpu()
        self.answer = [int(self.logits[-1].argmax())]
        while len(self.answer) < NUM_GREEDY and self.answer[-1] not in end_ids:
            self.answer.append(int(stepper.step([lane], self.answer[-1:])[0].argmax()))

    def against(self, other: _Run, way: str) -> Fidelity:
        pairs = list(zip(self.answer, other.answer, strict=False))
        parts_after = next((i for i, (one, two) in enumerate(pairs) if one != two), None)
        difference = float((self.logits - other.logits).abs().max())
        return Fidelity(way, difference, parts_after, len(pairs))
