"""Reading a fine-tune's adapter from its folder, and refusing it where it does not fit the base.

Knows PEFT's files and asks peft itself what an adapter of this configuration must hold, on a copy of the
base without weights; knows nothing of rows. What peft would load with a warning, or not at all, is refused.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from playground.errors import ModelLoadFailed
from playground.local.adapter_names import BadPattern, exactly, spelled_out
from playground.local.lora import Adapter, Factors
from playground.local.quantized import weight_of, without_quantization

PREFIX = "base_model.model."
FILE = "adapter_model.safetensors"
ROW_KINDS = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")

# Settings of peft that change an answer in ways nobody has tested here.
_REFUSED = (
    "alora_invocation_tokens",
    "layer_replication",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "monteclora_config",
    "kasa_config",
    "velora_config",
    "fan_in_fan_out",
)
# Ways to begin a training that leave the base's weights as they are.
_GENTLE_STARTS = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True)
class _Naming:
    """How an adapter's names become the base's: a model is saved with and without its multimodal shell."""

    theirs: str = ""
    ours: str = ""

    def of(self, name: str) -> str:
        return self.ours + name.removeprefix(self.theirs) if name.startswith(self.theirs) else name

    def back(self, name: str) -> str:
        return self.theirs + name.removeprefix(self.ours) if name.startswith(self.ours) else name

    def notes(self) -> tuple[str, ...]:
        if self == _Naming():
            return ()
        return (f"the adapter's names were read as {self.ours}… in place of {self.theirs}…, as this model has them",)


_NAMINGS = (_Naming(), _Naming("model.language_model.", "model."), _Naming("model.", "model.language_model."))


def read_adapter(folder: Path, model: Any, base_id: str) -> Adapter:
    """Reads and checks an adapter against `model`; raises `ModelLoadFailed` with the reason it does not fit."""
    try:
        return _read(folder, model, base_id)
    except ModelLoadFailed:
        raise
    except Exception as error:
        # A broken configuration fails in peft in as many ways as there are settings.
        raise _refuse(folder, f"it cannot be read: {type(error).__name__}: {error}") from error


def module_of(name: str) -> str:
    """The module part of a tensor's name."""
    before, lora, _ = name.partition(".lora_")
    return before if lora else name.rpartition(".")[0]


def owner_of(name: str) -> str:
    """The base's module that a tensor of an adapter belongs to: peft writes its wrappers into names."""
    return module_of(name).removesuffix(".token_adapter").removesuffix(".base_layer")


def _read(folder: Path, model: Any, base_id: str) -> Adapter:
    config = read_config(folder)
    content = _read_file(folder)
    found = _tensors_in(folder, content)
    naming = naming_of(found, model)
    try:
        config = spelled_out(config, (naming.back(name) for name, _ in model.named_modules()))
    except BadPattern as error:
        raise _refuse(folder, str(error)) from error
    _check_fit(folder, base_id, found, _expected(config, model, naming))
    tensors = _without_copies({naming.of(name): tensor for name, tensor in found.items()}, model)
    scalings = {
        module_of(name): scaling_of(config, naming.back(module_of(name)))
        for name in tensors
        if name.endswith("lora_A.weight")
    }
    attachable = why_not_attachable(config, tensors, model)
    parts = _parts(tensors, scalings, model) if attachable is None else ({}, {})
    return Adapter(folder, _hash_of(content), config, tensors, scalings, *parts, attachable, naming.notes())


def hash_of_file(folder: Path) -> str:
    """SHA-256 of the weights' file as it is now; raises `ModelLoadFailed`."""
    return _hash_of(_read_file(folder))


def _hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def scaling_of(config: LoraConfig, module: str) -> float:
    """What a module's low-rank product is multiplied by: alpha / rank, or / sqrt(rank) for rslora. `config` must be
    spelled out."""
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    rank, alpha = ranks.get(exactly(module), config.r), alphas.get(exactly(module), config.lora_alpha)
    return alpha / (rank**0.5 if config.use_rslora else rank)


# The files


def _refuse(folder: Path, reason: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"adapter {folder}: {reason}")


def read_config(folder: Path) -> LoraConfig:
    try:
        kind = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"]
        config = LoraConfig.from_pretrained(str(folder)) if kind == "LORA" else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refuse(folder, f"adapter_config.json cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(config, LoraConfig):
        raise _refuse(folder, f"it is of type {kind!r}; only LORA adapters can be run")
    defaults = {field.name: field.default for field in fields(LoraConfig)}
    for name in _REFUSED:
        if getattr(config, name, defaults.get(name)) not in (None, False, defaults.get(name)):
            raise _refuse(folder, f"it was made with {name}, which has not been tested here and is not run")
    return config


def _read_file(folder: Path) -> bytes:
    """All of the weights' file at once: a trainer may write a new one in its place while this one is in use."""
    try:
        return (folder / FILE).read_bytes()
    except FileNotFoundError as error:
        raise _refuse(folder, f"{FILE} is missing") from error
    except OSError as error:
        raise _refuse(folder, f"{FILE} cannot be read: {error}") from error


def _tensors_in(folder: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise _refuse(folder, f"{FILE} is broken or cut short: {error}") from error
    if not tensors:
        raise _refuse(folder, f"{FILE} holds no tensors")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _refuse(folder, f"tensor {name} holds NaN or infinite values; its training went wrong")
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


# The fit


def naming_of(found: Iterable[str], model: nn.Module) -> _Naming:
    modules = {name for name, _ in model.named_modules()}
    names = [owner_of(name) for name in found]
    return max(_NAMINGS, key=lambda naming: sum(naming.of(name) in modules for name in names))


def _expected(config: LoraConfig, model: Any, naming: _Naming) -> dict[str, torch.Size]:
    """Names and shapes that peft would save for this configuration over this base."""
    config = copy.deepcopy(config)
    config.task_type = None
    config.init_lora_weights = False
    # No memory for the adapter's own tensors either: they would be as large as the configuration says.
    with warnings.catch_warnings(), torch.device("meta"):
        # What peft warns of is compared exactly right after this.
        warnings.simplefilter("ignore")
        wrapped = PeftModel(_renamed(_without_weights(model), naming), config)
        state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return {name.removeprefix(PREFIX): tensor.shape for name, tensor in state.items()}


def _without_weights(model: nn.Module) -> Any:
    """The module tree over tensors that have shapes and no bytes."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        for buffer in module._buffers.values():
            if buffer is not None:
                memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return without_quantization(copy.deepcopy(model, memo))


def _renamed(model: Any, naming: _Naming) -> Any:
    """`model` under the names that the adapter knows."""
    if naming == _Naming():
        return model
    root = nn.Module()
    for path, part in ((naming.theirs, model.get_submodule(naming.ours.rstrip("."))), ("lm_head.", model.lm_head)):
        *outer, last = path.rstrip(".").split(".")
        place = root
        for name in outer:
            place.add_module(name, nn.Module())
            place = place.get_submodule(name)
        place.add_module(last, part)
    return root


def _check_fit(
    folder: Path, base_id: str, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size]
) -> None:
    surplus = [name for name in found if name not in expected and not is_copy(name)]
    missing = [name for name in expected if name not in found]
    misshapen = [name for name, shape in expected.items() if name in found and found[name].shape != shape]
    if surplus:
        raise _refuse(
            folder,
            f"{len(surplus)} of its {len(found)} tensors have no place in {base_id} by its configuration, the first "
            f"being {surplus[0]}; it was trained on another model",
        )
    if missing:
        raise _refuse(
            folder,
            f"{FILE} lacks {len(missing)} tensors that its configuration calls for in {base_id}, the first being "
            f"{missing[0]}; it is incomplete or belongs to another base",
        )
    if misshapen:
        name = misshapen[0]
        raise _refuse(
            folder,
            f"{name} is {list(found[name].shape)} and would be {list(expected[name])} for {base_id}; it was trained "
            "on another model",
        )


def is_copy(name: str) -> bool:
    """peft writes whole embeddings and heads along with an adapter that touches them."""
    return name.endswith((".base_layer.weight", "embed_tokens.weight", "lm_head.weight"))


def _without_copies(tensors: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors without those that are the base's own bytes again."""
    own = dict(model.named_parameters(remove_duplicate=False))

    def is_the_same(name: str, tensor: torch.Tensor) -> bool:
        base = own.get(f"{owner_of(name)}.weight")
        if base is None or not is_copy(name):
            return False
        if base.shape != tensor.shape:
            raise ValueError(
                f"it brings {owner_of(name)} along with {tensor.shape[0]} tokens and the base has {base.shape[0]}: "
                "its vocabulary was resized; merge it and save the whole model"
            )
        return torch.equal(base.cpu(), tensor.to(base.dtype))

    return {name: tensor for name, tensor in tensors.items() if not is_the_same(name, tensor)}


def why_not_attachable(config: LoraConfig, tensors: Iterable[str], model: Any) -> str | None:
    """None where rows can carry it, else the reason why only a merged view can."""
    if config.init_lora_weights not in _GENTLE_STARTS:
        return (
            f"its training began with init_lora_weights={config.init_lora_weights!r}, which changes the base's weights"
        )
    if config.bias != "none":
        return "it trains biases"
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is embedding.weight
    for name in tensors:
        module, kind = module_of(name), name[len(module_of(name)) + 1 :]
        owner = model.get_submodule(owner_of(name))
        if module != owner_of(name) or kind not in (*ROW_KINDS, "weight", "bias"):
            return f"it changes {owner_of(name)} by {kind}"
        if not isinstance(owner, nn.Linear):
            return f"it changes {module}, which is no linear layer"
        if tied and owner is head:
            return f"it changes {module}, which shares its weight with the embedding"
    return None


# Its parts, for rows to carry


def _parts(
    tensors: Mapping[str, torch.Tensor], scalings: Mapping[str, float], model: Any
) -> tuple[dict[str, Factors], dict[str, dict[str, torch.Tensor]]]:
    """Low-rank factors by module, and whole weights by module."""
    factors, saved = {}, {}
    device = next(model.parameters()).device
    for module in dict.fromkeys(module_of(name) for name in tensors):
        changed = model.get_submodule(module)
        if module in scalings:
            a, b, magnitude = (tensors.get(f"{module}.{kind}") for kind in ROW_KINDS)
            assert a is not None
            assert b is not None
            scale = None
            if magnitude is not None:
                scale = _column_scale(weight_of(changed), a, b, magnitude, scalings[module]).to(device)
            factors[module] = Factors(a.to(device), b.to(device), scalings[module], scale)
        else:
            own = {kind: tensors.get(f"{module}.{kind}") for kind in ("weight", "bias")}
            # What replaces quantized weights is kept in what the model calculates in.
            dtype = changed.weight.dtype if changed.weight.is_floating_point() else model.dtype
            saved[module] = {k: t.to(device, dtype) for k, t in own.items() if t is not None}
    return factors, saved


def _column_scale(
    weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, magnitude: torch.Tensor, scaling: float
) -> torch.Tensor:
    """DoRA's magnitude over the norm of each output's changed weights."""
    changed = weight.float().cpu() + scaling * (b.float() @ a.float())
    return magnitude.float() / torch.linalg.vector_norm(changed, dim=1)
