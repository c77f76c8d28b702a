"""What a fine-tune will take beside its base, out of its configuration and its file's header.

Knows what `adapters` makes of a file; refuses to read a tensor, and to judge whether it fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground.hub.tensor_files import Tensor, tensors_of_file
from playground.local.adapters import (
    FILE,
    PREFIX,
    ROW_KINDS,
    is_copy,
    module_of,
    naming_of,
    owner_of,
    read_config,
    why_not_attachable,
)


@dataclass(frozen=True, slots=True)
class Measure:
    """`num_bytes` for the adapter itself; `names` of its tensors as the base has them; `attachable` as in `Adapter`."""

    num_bytes: int
    names: tuple[str, ...]
    attachable: str | None


def measure(folder: Path, model: Any) -> Measure:
    """Raises `ModelLoadFailed` where configuration or header cannot be read. Tensors without a place in `model` are
    left out: reading the adapter refuses them by name."""
    config = read_config(folder)
    tensors = {one.name.removeprefix(PREFIX): one for one in tensors_of_file(folder / FILE)}
    naming = naming_of(tensors, model)
    modules = {name for name, _ in model.named_modules()}
    changed = {
        naming.of(name): tensor
        for name, tensor in tensors.items()
        if owner_of(naming.of(name)) in modules and not _is_mere_copy(name, config.modules_to_save)
    }
    attachable = why_not_attachable(config, changed, model)
    num_bytes = sum(tensor.num_bytes for tensor in changed.values())
    if attachable is None:
        num_bytes += sum(_bytes_for_rows(name, tensor, model) for name, tensor in changed.items())
    return Measure(num_bytes, tuple(changed), attachable)


def _is_mere_copy(name: str, saved: list[str] | None) -> bool:
    """Whether it is the base's own tensor again, which is dropped: peft writes some along that were not trained."""
    return is_copy(name) and module_of(name).rpartition(".")[2] not in (saved or ())


def _bytes_for_rows(name: str, tensor: Tensor, model: Any) -> int:
    """What is made of a tensor for rows to carry: DoRA's scale in float32, saved weights in the base's dtype."""
    kind = name.removeprefix(module_of(name) + ".")
    if kind == "lora_magnitude_vector":
        return 4 * tensor.num_values
    if kind in ROW_KINDS or tensor.num_bytes == tensor.num_values * model.dtype.itemsize:
        return 0
    return tensor.num_values * model.dtype.itemsize
