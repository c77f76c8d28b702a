"""LoRA adapters by row, over a base that stays as it is.

Knows PEFT's files and formulas: reads an adapter, checks that it fits, and adds its change to the outputs
of the rows that ask for it, at the strength that they ask for. Rows of the base are not touched by a
single operation. Knows nothing of requests, caches or loops.

For a module with output b and an adapter whose own output would be t, a row at strength s gets
b + s·(t − b): the change of the weights scaled by s, for every kind of adapter alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from playground.errors import ModelLoadFailed

PREFIX = "base_model.model."
FILE = "adapter_model.safetensors"
_KINDS = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
# The same model is saved with and without its multimodal shell; an adapter may know the other one.
_MENDS = (("model.language_model.", "model."), ("model.", "model.language_model."), ("", ""))


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """One module's low-rank change, `scaling` · b · a: `a` (rank, inputs) and `b` (outputs, rank), in the
    file's dtype and computed with in float32, as peft does. `column_scale` (outputs,) is DoRA's magnitude over
    norm, float32, None for plain LoRA."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    column_scale: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A checked adapter. `saved` are whole weights that replace a module's own. `attachable` is None where rows
    can carry it, else the reason why only a merged view can run it. `tensors` go by the base's own names."""

    folder: Path
    config: LoraConfig
    tensors: Mapping[str, torch.Tensor]
    factors: Mapping[str, Factors]
    saved: Mapping[str, Mapping[str, torch.Tensor]]
    attachable: str | None
    notes: tuple[str, ...]

    def num_bytes(self) -> int:
        """Memory it takes beside the base, in bytes."""
        ours = list(self.tensors.values())
        for factors in self.factors.values():
            ours += [t for t in (factors.a, factors.b, factors.column_scale) if t is not None]
        for saved in self.saved.values():
            ours += saved.values()
        return sum(tensor.nbytes for tensor in {tensor.data_ptr(): tensor for tensor in ours}.values())


def read_adapter(folder: Path, model: nn.Module, base_id: str) -> Adapter:
    """Reads and checks an adapter against `model`; raises `ModelLoadFailed` with the reason it does not fit."""
    config = _read_config(folder)
    tensors, notes = _mend_names(_read_tensors(folder), model)
    _check_finite(folder, tensors)
    modules = dict(model.named_modules())
    groups = _by_module(folder, tensors, modules)
    _check_complete(folder, config, groups, model, base_id)
    attachable = _why_not_attachable(config, groups, modules, model)
    factors: dict[str, Factors] = {}
    saved: dict[str, Mapping[str, torch.Tensor]] = {}
    for name, group in groups.items():
        if "lora_A.weight" in group:
            _check_shapes(folder, name, group, modules[name], base_id)
            if attachable is None:
                factors[name] = _factors(config, name, group, modules[name])
        elif attachable is None:
            saved[name] = {kind: tensor.to(_weight(modules[name]).dtype) for kind, tensor in group.items()}
    device = _weight_device(model)
    return Adapter(
        folder,
        config,
        tensors,
        {name: _to(f, device) for name, f in factors.items()},
        {name: {k: t.to(device) for k, t in group.items()} for name, group in saved.items()},
        attachable,
        tuple(notes),
    )


def scaling_of(config: LoraConfig, name: str) -> float:
    """What a module's low-rank product is multiplied by: alpha / rank, or / sqrt(rank) for rslora."""
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    rank = ranks.get(get_pattern_key(list(ranks), name), config.r)
    alpha = alphas.get(get_pattern_key(list(alphas), name), config.lora_alpha)
    return alpha / (rank**0.5 if config.use_rslora else rank)


# Reading


def _refuse(folder: Path, reason: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"adapter {folder}: {reason}")


def _read_config(folder: Path) -> LoraConfig:
    path = folder / "adapter_config.json"
    try:
        kind = json.loads(path.read_text())["peft_type"]
        if kind != "LORA":
            raise _refuse(folder, f"it is of type {kind!r}; only LORA adapters can be run")
        config = LoraConfig.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refuse(folder, f"adapter_config.json cannot be read: {error}") from error
    assert isinstance(config, LoraConfig)
    return config


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(folder / FILE)
    except FileNotFoundError as error:
        raise _refuse(folder, f"{FILE} is missing") from error
    except (OSError, SafetensorError) as error:
        raise _refuse(folder, f"{FILE} is broken or cut short: {error}") from error
    if not tensors:
        raise _refuse(folder, f"{FILE} holds no tensors")
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def _mend_names(tensors: dict[str, torch.Tensor], model: nn.Module) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors under the names that `model` uses, and a note where names had to be changed."""
    modules = {name for name, _ in model.named_modules()}

    def num_known(names: Sequence[str]) -> int:
        return sum(_split(name)[0] in modules for name in names)

    best, note = list(tensors), []
    for old, new in _MENDS:
        renamed = [new + name.removeprefix(old) if name.startswith(old) else name for name in tensors]
        if num_known(renamed) > num_known(best):
            best = renamed
            note = [f"the adapter's tensor names were changed from {old}… to {new}…, as this model has them"]
    return dict(zip(best, tensors.values(), strict=True)), note


def _split(name: str) -> tuple[str, str]:
    """Module and kind of a tensor's name."""
    for kind in _KINDS:
        if name.endswith("." + kind):
            return name[: -len(kind) - 1], kind
    module, _, kind = name.rpartition(".")
    return module, kind


def owner_of(module: str) -> str:
    """The base's module that a name in an adapter's file belongs to: peft writes its wrappers into names."""
    return module.removesuffix(".token_adapter").removesuffix(".base_layer")


def _by_module(
    folder: Path, tensors: Mapping[str, torch.Tensor], modules: Mapping[str, nn.Module]
) -> dict[str, dict[str, torch.Tensor]]:
    groups: dict[str, dict[str, torch.Tensor]] = {}
    unknown = []
    for name, tensor in tensors.items():
        module, kind = _split(name)
        if owner_of(module) not in modules:
            unknown.append(name)
        groups.setdefault(module, {})[kind] = tensor
    if unknown:
        raise _refuse(
            folder,
            f"{len(unknown)} of its {len(tensors)} tensors have no place in this base, the first being "
            f"{unknown[0]}; it was trained on another model",
        )
    return groups


# Checking


def _check_finite(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _refuse(folder, f"tensor {name} holds NaN or infinite values; its training went wrong")


def _check_complete(
    folder: Path,
    config: LoraConfig,
    groups: Mapping[str, Mapping[str, torch.Tensor]],
    model: nn.Module,
    base_id: str,
) -> None:
    """Every module that the configuration targets must have its factors in the file."""
    missing = [name for name, group in groups.items() if ("lora_A.weight" in group) != ("lora_B.weight" in group)]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name not in groups and _targeted(config, name, groups):
            missing.append(name)
    if missing:
        raise _refuse(
            folder,
            f"{len(missing)} modules that it should change in {base_id} have no weights in {FILE}, the first "
            f"being {missing[0]}; it belongs to another base or is incomplete",
        )


def _targeted(config: LoraConfig, name: str, groups: Mapping[str, Any]) -> bool:
    """Whether the configuration means this module. Names and patterns may match other parts of a multimodal
    model as well, whose factors a text-only file rightly lacks: only the parts that it does know count."""
    if config.target_modules is None:
        return False
    shells = {group.split("layers.")[0] for group in groups}
    return name.split("layers.")[0] in shells and bool(check_target_module_exists(config, name))


def _check_shapes(folder: Path, name: str, group: Mapping[str, torch.Tensor], module: nn.Module, base_id: str) -> None:
    weight = _weight(module)
    a, b = group["lora_A.weight"], group["lora_B.weight"]
    num_outputs, num_inputs = weight.shape
    expected = (num_inputs, num_outputs)
    if (a.shape[1], b.shape[0]) != expected or a.shape[0] != b.shape[1]:
        raise _refuse(
            folder,
            f"{name} is {expected[0]} → {expected[1]} in {base_id} and {a.shape[1]} → {b.shape[0]} (rank "
            f"{a.shape[0]} and {b.shape[1]}) in the adapter; it was trained on another model",
        )


def _why_not_attachable(
    config: LoraConfig,
    groups: Mapping[str, Mapping[str, torch.Tensor]],
    modules: Mapping[str, nn.Module],
    model: Any,
) -> str | None:
    known = {*_KINDS, "weight", "bias"}
    for name, group in groups.items():
        if not set(group) <= known or name not in modules:
            return f"it changes {owner_of(name)} by {', '.join(sorted(group))}"
        if not isinstance(modules[name], nn.Linear):
            return f"it changes {name}, which is no linear layer"
        if "lora_A.weight" in group and "bias" in group:
            return f"it trains a bias in {name}"
    tied = model.get_output_embeddings() is not None and (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )
    head = next((n for n, m in modules.items() if m is model.get_output_embeddings()), None)
    if tied and head in groups:
        return f"it changes {head}, which shares its weight with the embedding"
    return "it trains biases" if config.bias != "none" else None


def _weight(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _weight_device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _to(factors: Factors, device: torch.device) -> Factors:
    scale = factors.column_scale
    return Factors(
        factors.a.to(device), factors.b.to(device), factors.scaling, None if scale is None else scale.to(device)
    )


def _factors(config: LoraConfig, name: str, group: Mapping[str, torch.Tensor], module: nn.Module) -> Factors:
    a, b = group["lora_A.weight"], group["lora_B.weight"]
    scaling = scaling_of(config, name)
    magnitude = group.get("lora_magnitude_vector")
    if magnitude is None:
        return Factors(a, b, scaling)
    changed = _weight(module).float().cpu() + scaling * (b.float() @ a.float())
    return Factors(a, b, scaling, magnitude.float() / torch.linalg.vector_norm(changed, dim=1))


# Running


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The rows of a batch that carry one adapter: their indices and strengths (rows, 1, 1)."""

    rows: torch.Tensor | None
    strengths: torch.Tensor
    adapter: Adapter


@dataclass(slots=True, eq=False)
class _Fused:
    """Plain LoRA of several rows in one module: all adapters' factors side by side."""

    rows: torch.Tensor | None
    a: torch.Tensor
    b: torch.Tensor
    mask: torch.Tensor


@dataclass(slots=True, eq=False)
class Plan:
    """Which rows of a batch carry which adapter how strongly. Made once for a batch, used for every step."""

    carried: tuple[tuple[Adapter | None, float], ...]
    _modules: dict[str, list[_Fused | _Group]] = field(default_factory=dict)

    def is_base(self) -> bool:
        return all(adapter is None or strength == 0 for adapter, strength in self.carried)

    def work(self, name: str, device: torch.device) -> list[_Fused | _Group]:
        """What has to be done after module `name`."""
        if name not in self._modules:
            self._modules[name] = self._build(name, device)
        return self._modules[name]

    def _build(self, name: str, device: torch.device) -> list[_Fused | _Group]:
        plain: list[tuple[int, Adapter, float]] = []
        others: dict[Adapter, list[tuple[int, float]]] = {}
        for row, (adapter, strength) in enumerate(self.carried):
            if adapter is None or strength == 0:
                continue
            factors = adapter.factors.get(name)
            if factors is not None and factors.column_scale is None:
                plain.append((row, adapter, strength))
            elif factors is not None or name in adapter.saved:
                others.setdefault(adapter, []).append((row, strength))
        work: list[_Fused | _Group] = [self._fuse(name, plain, device)] if plain else []
        for adapter, rows in others.items():
            strengths = torch.tensor([strength for _, strength in rows], device=device).view(-1, 1, 1)
            work.append(_Group(self._rows([row for row, _ in rows], device), strengths, adapter))
        return work

    def _fuse(self, name: str, plain: list[tuple[int, Adapter, float]], device: torch.device) -> _Fused:
        adapters = list(dict.fromkeys(adapter for _, adapter, _ in plain))
        factors = [adapter.factors[name] for adapter in adapters]
        starts, total = {}, 0
        for adapter, own in zip(adapters, factors, strict=True):
            starts[adapter] = total
            total += own.a.shape[0]
        mask = torch.zeros(len(plain), 1, total, device=device)
        for i, (_, adapter, strength) in enumerate(plain):
            start, own = starts[adapter], adapter.factors[name]
            mask[i, 0, start : start + own.a.shape[0]] = strength * own.scaling
        rows = self._rows([row for row, _, _ in plain], device)
        a, b = ([f.a for f in factors], [f.b for f in factors])
        if len(factors) > 1:
            a, b = [torch.cat(a)], [torch.cat(b, 1)]
        return _Fused(rows, a[0].float(), b[0].float(), mask)

    def _rows(self, rows: list[int], device: torch.device) -> torch.Tensor | None:
        return None if rows == list(range(len(self.carried))) else torch.tensor(rows, device=device)


_plan: ContextVar[Plan | None] = ContextVar("plan", default=None)


class using:
    """`with using(plan):` runs forwards of this thread under a plan; other threads do not notice."""

    def __init__(self, plan: Plan) -> None:
        self._plan = None if plan.is_base() else plan

    def __enter__(self) -> None:
        self._token = _plan.set(self._plan)

    def __exit__(self, *args: object) -> None:
        _plan.reset(self._token)


class Hooks:
    """The permanent hooks of one model: one a module that any adapter changes, put on when first needed."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        self._hooked: set[str] = set()

    def cover(self, adapter: Adapter) -> None:
        """Makes sure that every module of `adapter` has its hook."""
        for name in {*adapter.factors, *adapter.saved} - self._hooked:
            self._hooked.add(name)
            self._modules[name].register_forward_hook(_Hook(name))


class _Hook:
    by_row = True

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, module: nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        plan = _plan.get()
        if plan is None:
            return out
        x = args[0]
        for work in plan.work(self._name, x.device):
            rows = work.rows
            own_x = x if rows is None else x.index_select(0, rows)
            own_out = (out if rows is None else out.index_select(0, rows)).float()
            if isinstance(work, _Fused):
                changed = own_out + F.linear(F.linear(own_x.float(), work.a) * work.mask, work.b)
            else:
                tuned = _tuned_output(work.adapter, self._name, module, own_x, own_out)
                changed = torch.lerp(own_out, tuned, work.strengths)
            changed = changed.to(out.dtype)
            out = changed if rows is None else out.index_copy(0, rows, changed)
        return out


def _tuned_output(adapter: Adapter, name: str, module: nn.Module, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """The output, float32, of a module that an adapter replaces (saved weights) or rescales (DoRA)."""
    replaced = adapter.saved.get(name)
    if replaced is not None:
        return F.linear(x, replaced["weight"], replaced.get("bias", getattr(module, "bias", None))).float()
    factors = adapter.factors[name]
    assert factors.column_scale is not None
    low_rank = F.linear(F.linear(x.float(), factors.a.float()), factors.b.float()) * factors.scaling
    bias = getattr(module, "bias", None)
    if bias is None:
        return factors.column_scale * (out + low_rank)
    return factors.column_scale * (out - bias.float() + low_rank) + bias.float()
