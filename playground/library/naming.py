"""What a fine-tune that is added is called: by whoever adds it, or after where it comes from.

Knows names alone; refuses to know which of them are taken.
"""

from __future__ import annotations

import re
from pathlib import Path

from playground.catalog.adapter_folders import checkpoint_step
from playground.errors import broken_rule
from playground.types import Caller

_MAX_NAME_BYTES = 180


def require_own(id: str, caller: Caller) -> None:
    """Raises `InvalidRequest` where somebody who signed in gives an id that is not below their own name: one that is
    taken would tell them what others have."""
    if caller.account is not None and not id.startswith(f"{caller.account}/"):
        raise broken_rule("id", id, f"yours begin with {caller.account}/")


def id_below(name: str, caller: Caller) -> str:
    """`name` as one who signed in may call it: below their own."""
    return name if caller.account is None or name.startswith(f"{caller.account}/") else f"{caller.account}/{name}"


def stem(file_name: str) -> str:
    """What an archive's name says of its content."""
    return re.sub(r"\.(zip|t[gbx]z2?|tar(\.(gz|bz2|xz))?)$", "", Path(file_name).name, flags=re.IGNORECASE)


def slug(text: str) -> str:
    """A text as the name of a folder: letters of any script, as many as a file system takes."""
    plain = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    return plain.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")


def id_of(folder: Path) -> str:
    """A folder's name; a checkpoint's with its run's."""
    names = folder.parts[-2:] if checkpoint_step(folder) is not None else folder.parts[-1:]
    return re.sub(r"\s+", "-", "/".join(names).encode("utf-8", "replace").decode())
