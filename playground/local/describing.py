"""What an adapter is and where its change lies: norms of each matrix's change against the matrix it changes.

Knows PEFT's formulas and tensors; nothing of rows, requests or how a picture is drawn. Low-rank changes are
never multiplied out where their norm can be had from the factors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from peft import LoraConfig
from torch import nn

from playground.evidence import AdapterDetails, ModuleChange
from playground.local.adapters import FILE, module_of, owner_of, scaling_of
from playground.local.lora import Adapter
from playground.local.quantized import weight_of

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def describe(adapter: Adapter, model: nn.Module) -> AdapterDetails:
    """All that can be said of a checked adapter over `model`, its base."""
    config = adapter.config
    ranks = {tensor.shape[0] for name, tensor in adapter.tensors.items() if _is_down(name)}
    alphas = {config.lora_alpha, *(config.alpha_pattern or {}).values()} if ranks else set()
    changes = tuple(_changes(adapter, model))
    return AdapterDetails(
        folder=str(adapter.folder),
        hash=adapter.file_hash,
        kind=_kind(config, adapter.tensors),
        ranks=tuple(sorted(ranks)),
        alphas=tuple(sorted(alphas)),
        targets=tuple(sorted({change.kind for change in changes})),
        num_parameters=sum(tensor.numel() for tensor in adapter.tensors.values()),
        num_bytes=(adapter.folder / FILE).stat().st_size if (adapter.folder / FILE).exists() else adapter.num_bytes(),
        trained_on=config.base_model_name_or_path or None,
        trained_on_revision=config.revision or None,
        scalable=adapter.attachable,
        changes=changes,
    )


def _is_down(name: str) -> bool:
    return name.endswith((".lora_A.weight", ".lora_embedding_A"))


def _kind(config: LoraConfig, tensors: Mapping[str, torch.Tensor]) -> str:
    kind = "DoRA" if config.use_dora else "rsLoRA" if config.use_rslora else "LoRA"
    whole = any(".lora_" not in name and name.endswith(".weight") for name in tensors)
    return f"{kind} with whole layers" if whole else kind


def _changes(adapter: Adapter, model: nn.Module) -> Iterator[ModuleChange]:
    """One a changed weight matrix, in the order of the model's modules."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in adapter.tensors.items():
        kind = name[len(module_of(name)) + 1 :]
        if kind != "bias":
            parts.setdefault(owner_of(name), {})[kind] = tensor
    for owner, part in model.named_modules():
        own, weight = parts.get(owner), getattr(part, "weight", None)
        if own is None or not isinstance(weight, torch.Tensor):
            continue
        scaling = adapter.scalings.get(owner) or scaling_of(adapter.config, owner)
        weight = weight_of(part).detach().cpu()
        tokens = own.get("trainable_tokens_delta")
        if tokens is None:
            change = _norm_of_change(own, weight, scaling)
        else:
            change = float((tokens.float() - weight[_token_indices(adapter.config, owner)].float()).norm())
        found = _LAYER.search(owner)
        layer = int(found.group(1)) if found else None
        yield ModuleChange(owner, layer, owner.rpartition(".")[2], change, float(weight.float().norm()))


def _token_indices(config: LoraConfig, owner: str) -> list[int]:
    """The rows of `owner` that single trained tokens replace; a bare list is the input embedding's."""
    indices = config.trainable_token_indices
    if isinstance(indices, dict):
        return next(rows for name, rows in indices.items() if f".{owner}".endswith(f".{name}"))
    return list(indices or ())


def _norm_of_change(parts: Mapping[str, torch.Tensor], weight: torch.Tensor, scaling: float) -> float:
    down = parts.get("lora_A.weight", parts.get("lora_embedding_A"))
    up = parts.get("lora_B.weight", parts.get("lora_embedding_B"))
    whole, magnitude = parts.get("weight"), parts.get("lora_magnitude_vector")
    if whole is not None:
        return float((whole.float() - weight.float()).norm())
    if down is None or up is None:
        return 0.0
    if magnitude is None:
        # ‖s·BA‖² is the sum over both Gram matrices' products, which are of rank's size.
        down, up = down.double(), up.double()
        return scaling * float(((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt())
    if "lora_embedding_A" in parts:
        weight = weight.T
    changed = weight.float() + scaling * (up.float() @ down.float())
    changed *= (magnitude.float() / changed.norm(dim=1))[:, None]
    return float((changed - weight.float()).norm())
