"""Regular expressions that strangers write: what one may cost before it is matched at all.

Pure text in, a reason or nothing out. Whoever matches one sets a time limit, which `regex` has and `re` has not.
"""

from __future__ import annotations

import re
from math import prod

import regex

MAX_CHARS = 10_000
MAX_REPEATS = 100_000
"""Compiling writes a counted repeat out, and one within another many times over: `(.{9999}){9999}` would take hours."""

_COUNT = re.compile(r"\{\s*(\d+)")


def pattern_problem(pattern: str) -> str | None:
    """Why a pattern cannot be used, or would cost too much to compile; None where it is good."""
    if len(pattern) > MAX_CHARS:
        return f"a pattern may have {MAX_CHARS:,} characters, this one has {len(pattern):,}"
    if prod(max(1, int(count[:7])) for count in _COUNT.findall(pattern)) > MAX_REPEATS:
        return f"the least counts of its repeats may come to {MAX_REPEATS:,}, multiplied with each other"
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, RecursionError, OverflowError) as error:
        return f"is no regular expression: {error}"
    return None
