"""What a base takes in memory, out of the names and shapes that its files tell.

Knows which tensors loading turns into which dtype; refuses to read one, and to know what runs over them.
"""

from __future__ import annotations

from collections.abc import Iterable

from playground.hub.tensor_files import Tensor

_ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
_LOADED_AS = {"BF16": "bfloat16", "F16": "float16"}
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
# A language model out of a checkpoint with more in it leaves these where they are.
_LEFT_ASIDE = ("model.visual.", "mtp.")
# Layers beside the decoder's own, and experts, which are no linear layers once they are loaded.
_WHOLE_PARTS = ("vision", "visual", "audio", "experts")
_INT4_BYTES = 0.5 + 4 / 64
"""A weight of bitsandbytes at 4 bits, with a float32 scale for each 64."""


def memory_bytes(tensors: Iterable[Tensor], dtype: str | None) -> int:
    """Bytes that a base's tensors take once they are loaded in `dtype`: a name of the models file, None for as they
    lie in the files. In int8 and int4 embeddings, head and norms stay whole."""
    loaded = [tensor for tensor in tensors if not tensor.name.startswith(_LEFT_ASIDE)]
    itemsize = _ITEMSIZES.get(dtype or "") or _ITEMSIZES[dtype_of(loaded)]
    return int(sum(_bytes_of(tensor, dtype, itemsize) for tensor in loaded))


def dtype_of(tensors: Iterable[Tensor]) -> str:
    """The dtype of most of the weights, by the models file's name; what torch cannot calculate in loads as float32."""
    num_values: dict[str, int] = {}
    for tensor in tensors:
        if tensor.dtype in _FLOATS:
            name = _LOADED_AS.get(tensor.dtype, "float32")
            num_values[name] = num_values.get(name, 0) + tensor.num_values
    return max(num_values, key=lambda name: num_values[name], default="float32")


def _bytes_of(tensor: Tensor, dtype: str | None, itemsize: int) -> float:
    if tensor.dtype not in _FLOATS:
        return tensor.num_bytes
    if dtype == "int8" and _is_linear(tensor):
        return tensor.num_values + tensor.shape[0] * itemsize
    if dtype == "int4" and _is_linear(tensor):
        return tensor.num_values * _INT4_BYTES
    return tensor.num_values * itemsize


def _is_linear(tensor: Tensor) -> bool:
    """Whether it is the weight of one of the decoder's linear layers: they lie in the layers that have numbers."""
    parts = tensor.name.split(".")
    in_a_layer = any(part.isdecimal() for part in parts)
    beside = any(whole in part for part in parts for whole in _WHOLE_PARTS)
    return parts[-1] == "weight" and len(tensor.shape) == 2 and in_a_layer and not beside
