"""What safetensors files say of themselves: which tensors they hold, and whether they are whole.

Knows which files of a folder are its weights; reads headers, with the standard library, and never a tensor.
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground.errors import ModelLoadFailed

# The format's own limit: https://github.com/huggingface/safetensors#format
_MAX_HEADER_BYTES = 100_000_000
_LFS_POINTER = b"version https://git-lfs"
SINGLE_NAMES = ("model.safetensors", "adapter_model.safetensors")
_INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a file names it; `dtype` is the format's own name, `num_bytes` what it takes there."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def num_values(self) -> int:
        return math.prod(self.shape)


def tensors_in(folder: Path) -> tuple[Tensor, ...]:
    """All tensors of the model or adapter in `folder`, single file or shards, out of the headers.

    Checks every header against its file's size. Raises `ModelLoadFailed` with what is wrong and what to do.
    """
    return tuple(tensor for file in weight_files(folder) for tensor in tensors_of_file(file))


def weights_bytes(folder: Path) -> int:
    """Bytes of all tensors in `folder` as they lie there; raises as `tensors_in` does."""
    return sum(tensor.num_bytes for tensor in tensors_in(folder))


def check_weights(folder: Path) -> None:
    """Raises `ModelLoadFailed` where a weights file is missing, cut short or broken; takes milliseconds."""
    tensors_in(folder)


def weight_files(folder: Path) -> list[Path]:
    """The weights files of a folder as transformers and peft choose them; they need not be there.

    Raises `ModelLoadFailed` where there are none, or where the index of the shards is broken.
    """
    for name in SINGLE_NAMES:
        if os.path.lexists(folder / name):
            return [folder / name]
    if os.path.lexists(folder / _INDEX_NAME):
        return [folder / name for name in _shards(folder / _INDEX_NAME)]
    if any(folder.glob("*.bin")):
        raise ModelLoadFailed(
            f"{folder} has pickle weights (.bin) only, which can run code when they are opened: "
            "save the model again as safetensors"
        )
    raise ModelLoadFailed(f"{folder} has no weights: model.safetensors is missing")


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        sound = bool(names) and all(Path(name).name == name for name in names)
    except OSError as error:
        raise ModelLoadFailed(f"{index} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound, names = False, []
    if not sound:
        raise ModelLoadFailed(f"{index} is broken: copy or download it again")
    return names


def tensors_of_file(file: Path) -> list[Tensor]:
    """All tensors of one safetensors file, out of its header, in the order of their bytes; takes milliseconds.

    Checks the header against the file's size. Raises `ModelLoadFailed` with what is wrong and what to do.
    """
    try:
        with file.open("rb") as stream:
            num_bytes = file.stat().st_size
            start = stream.read(8)
            if start + stream.read(len(_LFS_POINTER) - 8) == _LFS_POINTER:
                raise ModelLoadFailed(
                    f"{file} is a Git LFS pointer and not the file itself: run `git lfs pull` in its folder"
                )
            stream.seek(8)
            header = stream.read(_header_length(file, start, num_bytes))
    except OSError as error:
        raise ModelLoadFailed(f"{file} cannot be read: {error.strerror or error}") from error
    return _checked(file, header, num_bytes - 8 - len(header))


def _header_length(file: Path, start: bytes, num_bytes: int) -> int:
    if num_bytes == 0:
        raise ModelLoadFailed(f"{file} is empty: copy or download it again")
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= _MAX_HEADER_BYTES:
        raise ModelLoadFailed(f"{file} is not a safetensors file: its header cannot be read")
    if 8 + length > num_bytes:
        raise ModelLoadFailed(f"{file} is cut short within its header: copy or download it again")
    return length


def _checked(file: Path, header: bytes, num_data_bytes: int) -> list[Tensor]:
    try:
        entries = json.loads(header).items()
        found = [(_span(entry), _tensor(name, entry)) for name, entry in entries if name != "__metadata__"]
        found.sort(key=lambda one: one[0])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelLoadFailed(f"{file} has a broken safetensors header: copy or download it again") from error
    end = 0
    for (begin, stop), _ in found:
        if begin != end or stop < begin:
            raise ModelLoadFailed(f"{file} has a broken safetensors header: its tensors overlap or leave gaps")
        end = stop
    if end > num_data_bytes:
        raise ModelLoadFailed(
            f"{file} is cut short: {num_data_bytes:,} of {end:,} bytes are there; copy or download it again"
        )
    if end < num_data_bytes:
        raise ModelLoadFailed(
            f"{file} holds {num_data_bytes - end:,} bytes more than its header names: copy or download it again"
        )
    return [tensor for _, tensor in found]


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    begin, stop = entry["data_offsets"]
    if not (isinstance(begin, int) and isinstance(stop, int)):
        raise TypeError("data_offsets must be two whole numbers")
    return begin, stop


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    begin, stop = _span(entry)
    shape = tuple(entry["shape"])
    if not (isinstance(entry["dtype"], str) and all(isinstance(length, int) for length in shape)):
        raise TypeError("a dtype must be a name, a shape whole numbers")
    return Tensor(name, entry["dtype"], shape, stop - begin)
