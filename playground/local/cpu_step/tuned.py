"""An adapter's factors as a step reads them: floats, in the order in which they are walked.

Knows adapters and a plan's modules; nothing of rows' caches or threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from playground.local.cpu_step.assembly import WIDTH
from playground.local.cpu_step.plan import Plan
from playground.local.lora import Adapter


@dataclass(slots=True, eq=False)
class Carried:
    """`addresses` (modules, 4) int64: of a (rank, inputs) times its scaling, of b's columns (rank, outputs), the rank,
    and of DoRA's scale (outputs,); all nought where the adapter leaves a module alone."""

    addresses: np.ndarray
    tensors: list[torch.Tensor]
    rank: int
    _numbers: dict[int, np.ndarray] = field(default_factory=dict)

    def numbers_for(self, row: int, num_modules: int) -> np.ndarray:
        """Addresses of the room for a row's numbers between the factors, one for each module."""
        own = self._numbers.get(row)
        if own is None:
            own = self._numbers[row] = np.zeros((num_modules, -(-self.rank // WIDTH) * WIDTH), np.float32)
        return own.ctypes.data + own.strides[0] * np.arange(num_modules)


def carried_by(adapter: Adapter, plan: Plan) -> Carried:
    """`adapter` for the rows of a plan."""
    addresses, tensors = np.zeros((len(plan.modules), 4), np.int64), []
    for i, name in enumerate(plan.modules):
        factors = adapter.factors.get(name)
        if factors is None:
            continue
        a = (factors.a.float() * factors.scaling).contiguous()
        b = _columns(factors.b)
        scale = None if factors.column_scale is None else _padded(factors.column_scale)
        addresses[i] = (a.data_ptr(), b.data_ptr(), a.shape[0], 0 if scale is None else scale.data_ptr())
        tensors += [tensor for tensor in (a, b, scale) if tensor is not None]
    return Carried(addresses, tensors, int(addresses[:, 2].max(initial=0)))


def can_carry(adapter: Adapter | None, plan: Plan) -> bool:
    """Whether a plan's rows can carry an adapter: low-rank changes of its linear layers, and nothing else."""
    return adapter is None or (not adapter.saved and set(adapter.factors) <= set(plan.modules))


def _columns(b: torch.Tensor) -> torch.Tensor:
    """(rank, outputs), each row up to the next whole block."""
    columns = torch.zeros(b.shape[1], -(-b.shape[0] // WIDTH) * WIDTH)
    columns[:, : b.shape[0]] = b.float().T
    return columns


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    padded = torch.zeros(-(-len(tensor) // WIDTH) * WIDTH)
    padded[: len(tensor)] = tensor.float()
    return padded
