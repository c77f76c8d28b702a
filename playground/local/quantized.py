"""Weights in fewer bits: int8 by a small module of our own, int8 and int4 on CUDA by bitsandbytes.

Knows linear layers and their scales; nothing of files, adapters or rows. Embeddings, head
and norms stay as they are: the head decides between tokens that are nearly equal, and an embedding is only looked up.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from peft.utils.integrations import dequantize_module_weight
from torch import nn

QUANTIZED = ("int8", "int4")
_KERNEL_STEP = 32
"""The int8 kernel reads whole vectors, beyond a row's end where its length is no multiple of them."""
_BLOCK_VALUES = 2**15
"""So many weights are looked at at once: small pieces leave no holes in memory between the layers that stay."""


class Int8Linear(nn.Linear):
    """A linear layer whose `weight` (outputs, inputs) is int8, with a `scale` (outputs,) in its activations' dtype.

    Which of two ways a row's output is computed depends on how many tokens it brings, never on the rows beside it;
    in 16 bits a row's step gives the same bits alone and among others.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = linear.weight.shape
        weight, scale = quantized_rows(linear.weight.detach())
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale: torch.Tensor
        self.register_buffer("scale", scale, persistent=False)
        self.register_parameter("bias", linear.bias)
        # A kernel for one token a row; in float32 it is slower than what it saves.
        self._has_kernel = (
            scale.device.type == "cpu"
            and scale.dtype.itemsize == 2
            and self.in_features % _KERNEL_STEP == 0
            and hasattr(torch.ops.aten, "_weight_int8pack_mm")
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self._has_kernel or input.shape[-2] != 1:
            return F.linear(input, self.plain_weight(), self.bias)
        rows = input.reshape(-1, self.in_features).contiguous()
        out = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        out = out.view(*input.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias

    def plain_weight(self) -> torch.Tensor:
        """The weight as a matrix of the activations' dtype, made anew."""
        return self.weight.to(self.scale.dtype).mul_(self.scale[:, None])


def quantized_rows(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight` in int8, and one scale for each of its rows in its own dtype: the row's largest value is 127."""
    kept, scale = torch.empty_like(weight, dtype=torch.int8), torch.empty_like(weight[:, 0])
    num_rows = max(1, _BLOCK_VALUES // weight.shape[1])
    for own, ours, factor in zip(weight.split(num_rows), kept.split(num_rows), scale.split(num_rows), strict=True):
        factor.copy_((own.abs().amax(dim=1) / 127).clamp(min=torch.finfo(weight.dtype).tiny))
        # Rounded by the scale as it is kept, so that a scale of 16 bits costs nothing.
        ours.copy_((own.float() / factor.float()[:, None]).round_().clamp_(-127, 127))
    return kept, scale


def quantize(model: Any, report: Callable[[float], None]) -> None:
    """Puts the decoder's linear layers into int8 one after the other; each lets go of its weights before the next."""
    linears = list(_linears(model))
    for done, (parent, name) in enumerate(linears):
        setattr(parent, name, Int8Linear(getattr(parent, name)))
        report((done + 1) / len(linears))


def _linears(model: Any) -> Iterator[tuple[nn.Module, str]]:
    """The decoder's linear layers, as the module that each is part of and its name there."""
    for parent in list(model.get_decoder().modules()):
        for name, module in parent.named_children():
            if type(module) is nn.Linear:
                yield parent, name


def why_not(dtype: str, device: torch.device) -> str | None:
    """Why weights of `dtype` cannot be had on `device`; None where they can."""
    if device.type == "cuda":
        missing = importlib.util.find_spec("bitsandbytes") is None
        return f"{dtype} on CUDA needs the package bitsandbytes: pip install bitsandbytes" if missing else None
    if dtype == "int4":
        return (
            f"int4 is for CUDA alone: on {device.type} it would be ten times less exact than int8 and hardly faster; "
            "choose int8"
        )
    return None


def bitsandbytes_settings(dtype: str, compute: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` takes to load through bitsandbytes, which quantizes while it reads. Not tested here: this
    was written without a CUDA device at hand."""
    from transformers import BitsAndBytesConfig

    config = (
        BitsAndBytesConfig(load_in_8bit=True)
        if dtype == "int8"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=compute)
    )
    return {"quantization_config": config, "device_map": {"": device}}


def why_no_merge(model: nn.Module) -> str | None:
    """Why nothing can be merged into a model; None where its weights are whole."""
    if not any(isinstance(part, nn.Linear) and not part.weight.is_floating_point() for part in model.modules()):
        return None
    return "its base is loaded in int8 or int4, and a merge needs the weights in full precision"


def without_quantization(shapes: nn.Module) -> nn.Module:
    """A module tree on the meta device with plain linear layers in place of quantized ones, as adapters know them."""
    for parent in list(shapes.modules()):
        for name, part in parent.named_children():
            if isinstance(part, nn.Linear) and not part.weight.is_floating_point():
                bias = part.bias is not None
                setattr(parent, name, nn.Linear(part.in_features, part.out_features, bias, device="meta"))
    return shapes


def weight_of(module: nn.Module) -> torch.Tensor:
    """A module's weight as numbers to calculate with."""
    if isinstance(module, Int8Linear):
        return module.plain_weight()
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight if weight.is_floating_point() else dequantize_module_weight(module)
