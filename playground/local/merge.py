"""Merged views: a fine-tune's weights multiplied out, beside the base and sharing all it leaves alone.

Knows peft's merging and how to copy a module tree without its tensors. The base is never written to: what
the adapter changes is copied first, and all else is reached through parameter objects of the view's own.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any

from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import nn

from playground.errors import ModelLoadFailed
from playground.local.adapter_names import exactly
from playground.local.adapters import PREFIX, owner_of
from playground.local.lora import Adapter


def extra_bytes(model: nn.Module, names: Iterable[str]) -> int:
    """Memory that a merged view takes beside the base: the tensors of every module that it copies for an adapter whose
    tensors have these names."""
    return sum(tensor.nbytes for owner in _to_copy(model, names) for tensor in owner.parameters(recurse=False))


def merged_view(model: Any, adapter: Adapter) -> Any:
    """A model with `adapter` merged in, sharing every other tensor with `model`, which stays as it is.

    Raises `ModelLoadFailed` where peft cannot load or merge this adapter.
    """
    try:
        with warnings.catch_warnings():
            # peft warns of what was checked when the adapter was read, or of tied weights, which are copied.
            warnings.simplefilter("ignore")
            return _merge(_share(model), adapter).eval().requires_grad_(False)
    except Exception as error:
        raise ModelLoadFailed(
            f"adapter {adapter.folder}: peft cannot merge it: {type(error).__name__}: {error}"
        ) from error


def _merge(view: Any, adapter: Adapter) -> Any:
    for module in _to_copy(view, adapter.tensors):
        for name, tensor in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(tensor.detach().clone(), requires_grad=False))
    wrapped: Any = get_peft_model(view, _explicit(adapter))
    named = {PREFIX + name: tensor for name, tensor in adapter.tensors.items()}
    unexpected = set_peft_model_state_dict(wrapped, named).unexpected_keys
    if unexpected:
        raise ValueError(f"{len(unexpected)} tensors do not fit, the first being {unexpected[0]}")
    return wrapped.merge_and_unload()


def _share(model: nn.Module) -> Any:
    """A copy of the module tree whose parameters are new objects over the very same memory: peft may point
    them elsewhere, and the base's own stay where they are. Tied ones stay tied."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in memo:
                memo[id(parameter)] = nn.Parameter(parameter.data, requires_grad=False)
        memo.update({id(buffer): buffer for buffer in module._buffers.values() if buffer is not None})
    view = copy.deepcopy(model, memo)
    for module in view.modules():
        # Hooks that add LoRA by row belong to the base alone; a view's own head needs its cure.
        for key in [k for k, hook in module._forward_hooks.items() if getattr(hook, "by_row", False)]:
            del module._forward_hooks[key]
    return view


def _explicit(adapter: Adapter) -> LoraConfig:
    """The adapter's configuration with every module named in full, so that nothing is guessed again."""
    config: Any = copy.deepcopy(adapter.config)
    config.inference_mode = False
    ranks = {
        name.removesuffix(".lora_A.weight"): tensor.shape[0]
        for name, tensor in adapter.tensors.items()
        if name.endswith(".lora_A.weight")
    }
    if not ranks:
        return config
    embeddings = {owner_of(name) for name in adapter.tensors if name.endswith(".lora_embedding_A")}
    config.target_modules = {*ranks, *embeddings}
    config.layers_to_transform = config.exclude_modules = None
    roots = {name: rank**0.5 if config.use_rslora else rank for name, rank in ranks.items()}
    config.rank_pattern = (config.rank_pattern or {}) | {exactly(name): rank for name, rank in ranks.items()}
    config.alpha_pattern = (config.alpha_pattern or {}) | {
        exactly(name): adapter.scalings[name] * root for name, root in roots.items()
    }
    return config


def _to_copy(model: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """The modules of which an adapter changes something, and those that share a tensor with one of them."""
    changed = [model.get_submodule(owner) for owner in sorted({owner_of(name) for name in names})]
    tensors = {id(tensor) for module in changed for tensor in module.parameters(recurse=False)}
    return [
        module
        for module in model.modules()
        if module in changed or any(id(tensor) in tensors for tensor in module.parameters(recurse=False))
    ]


def own_bytes(model: nn.Module, view: nn.Module) -> int:
    """Bytes of `view` that it does not share with `model`."""
    shared = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    tensors = {tensor.data_ptr(): tensor for tensor in [*view.parameters(), *view.buffers()]}
    return sum(tensor.nbytes for pointer, tensor in tensors.items() if pointer not in shared)
