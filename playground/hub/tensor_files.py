"""What safetensors files say of themselves: how many bytes of tensors they hold, and whether they are whole.

Knows which files of a folder are its weights; reads headers, with the standard library, and never a tensor.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

from playground.errors import ModelLoadFailed

# The format's own limit: https://github.com/huggingface/safetensors#format
_MAX_HEADER_BYTES = 100_000_000
_LFS_POINTER = b"version https://git-lfs"
_SINGLE_NAMES = ("model.safetensors", "adapter_model.safetensors")
_INDEX_NAME = "model.safetensors.index.json"
_ITEMSIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def weights_bytes(folder: Path) -> int:
    """Bytes of all tensors of the model or adapter in `folder`, single file or shards, out of the headers.

    Checks every header against its file's size. Raises `ModelLoadFailed` with what is wrong and what to do.
    """
    return sum(tensor_bytes(file) for file in weight_files(folder))


def loaded_bytes(folder: Path, itemsize: int | None) -> int:
    """Bytes that the weights in `folder` take in memory with `itemsize` bytes a number, or as they are in the files.

    Raises as `weights_bytes` does.
    """
    num_bytes = weights_bytes(folder)
    if itemsize is None:
        return num_bytes
    headers = [_header(file) for file in weight_files(folder)]
    own = {entry["dtype"] for header in headers for name, entry in header.items() if name != "__metadata__"}
    largest = max((_ITEMSIZES.get(dtype, 1) for dtype in own), default=1)
    return num_bytes * itemsize // largest


def check_weights(folder: Path) -> None:
    """Raises `ModelLoadFailed` where a weights file is missing, cut short or broken; takes milliseconds."""
    weights_bytes(folder)


def weight_files(folder: Path) -> list[Path]:
    """The weights files of a folder as transformers and peft choose them; they need not be there.

    Raises `ModelLoadFailed` where there are none, or where the index of the shards is broken.
    """
    for name in _SINGLE_NAMES:
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


def _header(file: Path) -> dict[str, Any]:
    """The header of a file that was checked."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return json.loads(stream.read(length))


def tensor_bytes(file: Path) -> int:
    """Bytes of all tensors in one safetensors file, out of its header, in well under a millisecond.

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


def _checked(file: Path, header: bytes, num_data_bytes: int) -> int:
    try:
        tensors = json.loads(header)
        spans = sorted(_span(entry) for name, entry in tensors.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelLoadFailed(f"{file} has a broken safetensors header: copy or download it again") from error
    end = 0
    for begin, stop in spans:
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
    return end


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    begin, stop = entry["data_offsets"]
    if not (isinstance(begin, int) and isinstance(stop, int)):
        raise TypeError("data_offsets must be two whole numbers")
    return begin, stop
