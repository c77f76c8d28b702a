"""LoRA adapters by row, over a base that stays as it is.

Knows PEFT's formulas: adds an adapter's change to the outputs of the rows that ask for it, at the strength
that they ask for. Rows of the base are not touched by a single operation. Knows nothing of files, requests,
caches or loops.

For a module with output b and an adapter whose own output would be t, a row at strength s gets
b + s·(t − b): the change of the weights scaled by s, for every kind of adapter alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig
from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """One module's low-rank change, `scaling` · b · a: `a` (rank, inputs) and `b` (outputs, rank), in the
    file's dtype and computed with in float32, as peft does. `column_scale` (outputs,) is DoRA's magnitude over
    norm, float32, None for plain LoRA."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    column_scale: torch.Tensor | None = None

    def on(self, device: torch.device) -> Factors:
        """The same on another device."""
        scale = None if self.column_scale is None else self.column_scale.to(device)
        return Factors(self.a.to(device), self.b.to(device), self.scaling, scale)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Adapter:
    """A checked adapter. `file_hash` is the SHA-256 of its weights' file as it was read; `tensors` are the file's, by
    the base's names; `scalings` are those of its low-rank factors by module; `saved` are whole weights that replace a
    module's own. `attachable` is None where rows can carry it, else the reason why only a merged view can run it."""

    folder: Path
    file_hash: str
    config: LoraConfig
    tensors: Mapping[str, torch.Tensor]
    scalings: Mapping[str, float]
    factors: Mapping[str, Factors]
    saved: Mapping[str, Mapping[str, torch.Tensor]]
    attachable: str | None
    notes: tuple[str, ...]

    def on(self, device: torch.device) -> Adapter:
        """The same with what rows carry on another device."""
        factors = {module: own.on(device) for module, own in self.factors.items()}
        saved = {module: {name: t.to(device) for name, t in own.items()} for module, own in self.saved.items()}
        return replace(self, factors=factors, saved=saved)

    def num_bytes(self) -> int:
        """Memory it takes beside the base, in bytes."""
        ours = list(self.tensors.values())
        for factors in self.factors.values():
            ours += [t for t in (factors.a, factors.b, factors.column_scale) if t is not None]
        for saved in self.saved.values():
            ours += saved.values()
        return sum(tensor.nbytes for tensor in {tensor.data_ptr(): tensor for tensor in ours}.values())


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
            strengths = torch.tensor([float(strength) for _, strength in rows], device=device).view(-1, 1, 1)
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
