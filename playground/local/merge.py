"""Merged views: a fine-tune's weights multiplied out, beside the base and sharing all it leaves alone.

Knows peft's merging and how to copy a module tree without its tensors. The base is never written to:
only the copies of the tensors that the adapter changes are.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import nn

from playground.errors import ModelLoadFailed
from playground.local.lora import PREFIX, Adapter, owner_of, scaling_of


def extra_bytes(model: nn.Module, adapter: Adapter) -> int:
    """Memory that a merged view takes beside the base: the tensors of every module that it changes."""
    return sum(tensor.nbytes for owner in _changed(model, adapter) for tensor in owner.parameters(recurse=False))


def merged_view(model: Any, adapter: Adapter) -> Any:
    """A model with `adapter` merged in, sharing every other tensor with `model`, which stays as it is.

    Raises `ModelLoadFailed` where peft cannot load or merge this adapter.
    """
    view = _share(model)
    _own_changed(view, adapter)
    config = _explicit(adapter)
    with warnings.catch_warnings():
        # peft warns of what is checked right below, or of merging tied weights, which are copied here.
        warnings.simplefilter("ignore")
        try:
            wrapped: Any = get_peft_model(view, config)
            outcome = set_peft_model_state_dict(
                wrapped, {PREFIX + name: tensor for name, tensor in adapter.tensors.items()}
            )
            left_over = [*outcome.unexpected_keys, *(k for k in outcome.missing_keys if "lora_" in k)]
            if left_over:
                raise ValueError(f"{len(left_over)} tensors do not fit, the first being {left_over[0]}")
            merged = wrapped.merge_and_unload()
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
            raise ModelLoadFailed(f"adapter {adapter.folder}: peft cannot merge it: {error}") from error
    return merged.eval().requires_grad_(False)


def _share(model: nn.Module) -> Any:
    """A copy of the module tree whose parameters and buffers are the very same tensors."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                memo[id(tensor)] = tensor
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
        name[: -len(".lora_A.weight")]: tensor.shape[0]
        for name, tensor in adapter.tensors.items()
        if name.endswith(".lora_A.weight")
    }
    if not ranks:
        return config
    embeddings = [name[: -len(".lora_embedding_A")] for name in adapter.tensors if name.endswith(".lora_embedding_A")]
    config.target_modules = {*ranks, *embeddings}
    config.layers_to_transform = None
    config.exclude_modules = None
    alphas = {}
    for name, rank in ranks.items():
        root = rank**0.5 if config.use_rslora else rank
        alphas[name] = scaling_of(adapter.config, name) * root
    config.rank_pattern = {**(config.rank_pattern or {}), **{_exactly(n): r for n, r in ranks.items()}}
    config.alpha_pattern = {**(config.alpha_pattern or {}), **{_exactly(n): a for n, a in alphas.items()}}
    return config


def _exactly(name: str) -> str:
    return name.replace(".", r"\.")


def _changed(model: nn.Module, adapter: Adapter) -> list[nn.Module]:
    """The modules of which `adapter` changes something."""
    modules = dict(model.named_modules())
    names = {
        owner_of(name.partition(".lora_")[0] if ".lora_" in name else name.rpartition(".")[0])
        for name in adapter.tensors
    }
    return [modules[name] for name in sorted(names)]


def _own_changed(view: nn.Module, adapter: Adapter) -> None:
    """Gives these modules tensors of their own, before peft loads and merges into them in place."""
    for module in _changed(view, adapter):
        for name, tensor in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(tensor.detach().clone(), requires_grad=False))


def share_of_changed(model: nn.Module, view: nn.Module) -> tuple[int, int]:
    """Bytes of `view` that are its own, and bytes that it shares with `model`."""
    pointers = {t.data_ptr() for t in [*model.parameters(), *model.buffers()]}
    own = shared = 0
    for tensor in {id(t): t for t in [*view.parameters(), *view.buffers()]}.values():
        if tensor.data_ptr() in pointers:
            shared += tensor.nbytes
        else:
            own += tensor.nbytes
    return own, shared
