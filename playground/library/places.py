"""Places of this machine's disk as a person names them, `~` for a home.

Refuses to know whether anything is there.
"""

from __future__ import annotations

from pathlib import Path

from playground.errors import broken_rule


def place_named(text: str, param: str) -> Path:
    """The path, which may be a relative one; raises `InvalidRequest` where it can be none."""
    if "\0" in text:
        raise broken_rule(param, text, "it must be a path, without a zero character")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise broken_rule(param, text, "there is no such person's home") from None


def whole_place(text: str, param: str) -> Path:
    """The same where there is no folder that a relative path could start in."""
    path = place_named(text, param)
    if not path.is_absolute():
        raise broken_rule(param, text, "it must be a whole path, such as /home/me/merged")
    return path
