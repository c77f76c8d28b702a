"""The README of a model's folder: the facts at its head, and the mark of a merge that was saved here.

Knows front matter in YAML; refuses to know what a model is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MARK = "playground-merge"
"""The tag of what this program saved, so that nothing else is pushed by mistake."""
_FENCE = "---\n"


def front_matter(folder: Path) -> dict[str, Any]:
    """The facts at the head of a folder's README.md; empty where there are none that can be read."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        head = text.removeprefix(_FENCE).split("\n" + _FENCE)[0] if text.startswith(_FENCE) else ""
        facts = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_saved_merge(folder: Path) -> bool:
    """Whether this program saved the model in `folder`."""
    tags = front_matter(folder).get("tags")
    return isinstance(tags, list) and MARK in tags


def written(facts: dict[str, Any], text: str) -> str:
    """A README with `facts` at its head."""
    return f"{_FENCE}{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}{_FENCE}\n{text}"
