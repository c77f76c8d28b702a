"""Where a model may be written: a folder that is not there yet, in one that takes it.

Knows paths and who may write; refuses to know what comes into the folder, and how large it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from playground.errors import broken_rule


def require_new(folder: Path) -> None:
    """Raises `InvalidRequest` where `folder` is there already or cannot be made."""
    if os.path.lexists(folder):
        raise broken_rule("folder", str(folder), "it exists, and nothing is written over: name a new one")
    if not os.path.isdir(folder.parent) or not os.access(folder.parent, os.W_OK | os.X_OK):
        raise broken_rule("folder", str(folder), f"{folder.parent} must be a folder that can be written to")
