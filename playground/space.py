"""What a Hugging Face Space gives a program: its variables, its storage, and the GPU that it lends for a while.

Imports nothing but the standard library, since much of this must be settled before other libraries are imported;
refuses to know what is stored or run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

STORAGE = Path("/data")
"""Where a Space's persistent storage is mounted, if it has any. Source: the Hub's documentation of Spaces' storage."""
PARENT_SITES = ("https://huggingface.co",)
"""The sites that show a Space in a frame."""


def is_space(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a Space."""
    return bool(environ.get("SPACE_ID"))


def has_zero_gpu(environ: Mapping[str, str]) -> bool:
    """Whether this Space is lent a GPU for each call of a decorated function, and has none in between."""
    return is_space(environ) and environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def storage() -> Path | None:
    """The persistent storage; None where there is none, or where it cannot be written to."""
    return STORAGE if STORAGE.is_dir() and os.access(STORAGE, os.W_OK | os.X_OK) else None


def home() -> Path:
    """Where a Space keeps what the program writes: in its storage, else where the next restart forgets it."""
    return (storage() or Path(tempfile.gettempdir())) / "playground"


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment must say before huggingface_hub is imported: where weights are kept over restarts."""
    kept = storage() if is_space(environ) else None
    return {"HF_HOME": str(kept / "huggingface")} if kept is not None and not environ.get("HF_HOME") else {}
