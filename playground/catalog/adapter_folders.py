"""PEFT folders on this machine's disk: where they are, what base they are for, what is wrong with them.

Reads names, adapter_config.json and safetensors headers; refuses to know the catalog, and never a tensor.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playground.errors import ModelLoadFailed
from playground.hub.tensor_files import tensors_of_file

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
PICKLE_NAME = "adapter_model.bin"

_MARKS = frozenset({CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME})
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,12})")
_MAX_DEPTH = 32
_MAX_FOLDERS = 50_000
_MAX_CONFIG_BYTES = 4_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A folder with an adapter in it, or with one that is broken: `problem` then says how.

    `base_name` is the base as adapter_config.json names it, whatever that is.
    """

    folder: Path
    base_name: str | None = None
    problem: str | None = None


def checkpoint_step(folder: Path) -> int | None:
    """N where the folder is called `checkpoint-N`, as every trainer does it."""
    match = _CHECKPOINT.fullmatch(folder.name)
    return int(match[1]) if match else None


def written_at(folder: Path) -> int | None:
    """When an adapter's weights were written, in nanoseconds; None where they cannot be seen. A trainer that writes
    them again has made another adapter."""
    try:
        return (folder / WEIGHTS_NAME).stat().st_mtime_ns
    except OSError:
        return None


def read_adapter(folder: Path) -> AdapterFolder:
    """Looks into one folder; never raises for what it finds there."""
    found = read_config(folder)
    if found.problem is not None:
        return found
    try:
        return replace(found, problem=_weights_problem(folder))
    except OSError as error:
        return _unreadable(folder, error)


def read_config(folder: Path) -> AdapterFolder:
    """The same without its weights."""
    if not os.path.lexists(folder / CONFIG_NAME):
        return AdapterFolder(folder, problem=f"{CONFIG_NAME} is missing")
    try:
        config = _read_config(folder)
        base_name = config.get("base_model_name_or_path")
        base_name = base_name if isinstance(base_name, str) and base_name else None
        return AdapterFolder(folder, base_name, _kind_problem(config))
    except OSError as error:
        return _unreadable(folder, error)
    except (ValueError, RecursionError) as error:
        return AdapterFolder(folder, problem=f"{CONFIG_NAME} is not a PEFT configuration: {error}")


def find_adapters(top: Path) -> list[AdapterFolder]:
    """All adapter folders at or below `top`, links followed, each real folder once, hidden ones skipped.

    A folder that cannot be read is listed as broken. Deeper than 32 folders, and beyond 50,000 of them, it
    looks no further.
    """
    found: list[AdapterFolder] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([(top, 0)])
    while waiting and len(seen) < _MAX_FOLDERS:
        folder, depth = waiting.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            names, folders, links = _look_into(folder)
        except OSError as error:
            found.append(_unreadable(folder, error))
            continue
        if names & _MARKS:
            found.append(read_adapter(folder))
        if depth < _MAX_DEPTH:
            waiting.extend((below, depth + 1) for below in folders)
            # Links wait until all real folders are seen, so that a folder keeps its own name.
            waiting.extendleft((below, depth + 1) for below in links)
    if waiting:
        logger.warning("%s: stopped looking for adapters after %d folders", top, _MAX_FOLDERS)
    return sorted(found, key=_order)


def checkpoints_of(run: Path) -> list[AdapterFolder]:
    """The adapters in `checkpoint-N` folders right below a run's folder, in the order of their steps."""
    try:
        _, folders, links = _look_into(run)
    except OSError:
        return []
    found: list[AdapterFolder] = []
    for folder in sorted((*folders, *links), key=_step_order):
        if checkpoint_step(folder) is None:
            continue
        try:
            names, _, _ = _look_into(folder)
        except OSError as error:
            found.append(_unreadable(folder, error))
            continue
        if names & _MARKS:
            found.append(read_adapter(folder))
    return found


def _look_into(folder: Path) -> tuple[set[str], list[Path], list[Path]]:
    """All names in a folder, its real folders and its links to folders; the latter two not hidden."""
    names: set[str] = set()
    folders: list[Path] = []
    links: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_symlink() and _may_be_folder(entry):
                links.append(Path(entry.path))
    return names, sorted(folders, reverse=True), sorted(links)


def _may_be_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError as error:
        # A link in a circle: nobody knows what it was meant to be, unless its name says that it is a file.
        return error.errno == errno.ELOOP and "." not in link.name


def _order(adapter: AdapterFolder) -> tuple[str, int]:
    return _step_order(adapter.folder)


def _step_order(folder: Path) -> tuple[str, int]:
    step = checkpoint_step(folder)
    return (str(folder), -1) if step is None else (str(folder.parent), step)


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG_NAME
    if file.stat().st_size > _MAX_CONFIG_BYTES:
        raise ValueError("it is far too large")
    config = json.loads(file.read_bytes())
    if not isinstance(config, dict):
        raise ValueError("it must hold one JSON object")
    return config


def _kind_problem(config: dict[str, Any]) -> str | None:
    kind = config.get("peft_type")
    if kind == "LORA":
        return None
    if kind is None:
        return f"{CONFIG_NAME} names no peft_type: only LoRA adapters that PEFT wrote can be run"
    return f"its PEFT type is {kind!r}: only LORA can be run"


def _weights_problem(folder: Path) -> str | None:
    if os.path.lexists(folder / WEIGHTS_NAME):
        try:
            tensors_of_file(folder / WEIGHTS_NAME)
        except ModelLoadFailed as error:
            return error.message.replace(f"{folder}{os.sep}", "")
        return None
    if os.path.lexists(folder / PICKLE_NAME):
        return (
            f"its weights are a pickle ({PICKLE_NAME}), which can run code when it is opened: "
            "save the adapter again as safetensors"
        )
    return f"it has no weights: {WEIGHTS_NAME} is missing"


def _unreadable(folder: Path, error: OSError) -> AdapterFolder:
    where = Path(error.filename).name if error.filename else folder.name
    return AdapterFolder(folder, problem=f"{where} cannot be read: {error.strerror or error}")
