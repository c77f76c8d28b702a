"""What answers tell about each other: their difference, by sentence and line, or field by field for JSON; and how
much several of them agree.

Pure text in, plain values out. Knows neither models nor how a difference is drawn.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

Kind = Literal["same", "changed", "removed", "added"]

MAX_PIECES = 1500
"""Beyond this many sentences a side only the common start and end are told from the rest."""

# Where a sentence or line ends. Looks back rather than ahead, so that no text takes quadratic time.
_END = re.compile(r"""(?<=[.!?…])\s+|(?<=[.!?…]["'”’)\]])\s+|\n\s*|(?<=[。！？])""")
# Scripts that write no spaces are taken by the character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_FENCED = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text on both sides (`same`), on the left alone (`removed`), or the right (`added`)."""

    kind: Literal["same", "removed", "added"]
    text: str


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field of two JSON answers; values are JSON text, None where that side lacks the field."""

    field: str
    kind: Kind
    left: str | None
    right: str | None


def difference(left: str, right: str) -> list[Segment]:
    """By sentence and line, in reading order. White space alone makes no difference.

    The texts of `same` and `removed` together are the left answer; on the right, `same` differs at most in
    white space from what stands there.
    """
    lefts, rights = _pieces(left), _pieces(right)
    segments: list[Segment] = []
    for tag, i1, i2, j1, j2 in _opcodes([_key(p) for p in lefts], [_key(p) for p in rights]):
        if tag == "equal":
            segments.append(Segment("same", "".join(lefts[i1:i2])))
            continue
        if i1 < i2:
            segments.append(Segment("removed", "".join(lefts[i1:i2])))
        if j1 < j2:
            segments.append(Segment("added", "".join(rights[j1:j2])))
    return segments


def json_difference(left: str, right: str) -> list[FieldDifference] | None:
    """Field by field, the left's order first; None unless both answers are a JSON object or array."""
    one, two = json_value(left), json_value(right)
    if one is None or two is None:
        return None
    lefts, rights = dict(_fields(one)), dict(_fields(two))
    fields = [*lefts, *(name for name in rights if name not in lefts)]
    return [_compare(name, lefts, rights) for name in fields]


def common_ends(lefts: Sequence[object], rights: Sequence[object]) -> tuple[int, int]:
    """How many of the first, and of the last of the rest, are the same on both sides."""
    shortest = min(len(lefts), len(rights))
    start = next((i for i in range(shortest) if lefts[i] != rights[i]), shortest)
    rest = shortest - start
    return start, next((i for i in range(rest) if lefts[-1 - i] != rights[-1 - i]), rest)


def is_json(text: str) -> bool:
    """Whether the text is a JSON object or array, in a code fence or bare."""
    return json_value(text) is not None


def json_value(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that a text is, in a code fence or bare; None where it is neither."""
    text = text.strip()
    fenced = _FENCED.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _pieces(text: str) -> list[str]:
    """Sentences and lines, each with the white space that follows it; blank pieces join the one before."""
    pieces: list[str] = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        piece, start = text[start:end], end
        if pieces and not piece.strip():
            pieces[-1] += piece
        elif piece:
            pieces.append(piece)
    return pieces


def _key(piece: str) -> str:
    return " ".join(piece.split())


def _opcodes(lefts: list[str], rights: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    if max(len(lefts), len(rights)) <= MAX_PIECES:
        return SequenceMatcher(None, lefts, rights, autojunk=False).get_opcodes()
    start, end = common_ends(lefts, rights)
    left_end, right_end = len(lefts) - end, len(rights) - end
    spans = [
        ("equal", 0, start, 0, start),
        ("replace", start, left_end, start, right_end),
        ("equal", left_end, len(lefts), right_end, len(rights)),
    ]
    return [span for span in spans if span[1] < span[2] or span[3] < span[4]]


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Leaves with their place, as in `order.items[0]`. A stack, so that deep nesting cannot end us."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict) and value:
            stack.extend((_join(name, key), item) for key, item in reversed(value.items()))
        elif isinstance(value, list) and value:
            stack.extend((f"{name}[{i}]", item) for i, item in reversed(list(enumerate(value))))
        else:
            yield name or "(all)", value


def _join(name: str, key: str) -> str:
    if not re.fullmatch(r"[\w-]+", key):
        return f"{name}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{name}.{key}" if name else key


def _compare(name: str, lefts: dict[str, Any], rights: dict[str, Any]) -> FieldDifference:
    left = _shown(lefts[name]) if name in lefts else None
    right = _shown(rights[name]) if name in rights else None
    if left is None:
        return FieldDifference(name, "added", None, right)
    if right is None:
        return FieldDifference(name, "removed", left, None)
    same = _equal(lefts[name], rights[name])
    return FieldDifference(name, "same" if same else "changed", left, right)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _equal(left: Any, right: Any) -> bool:
    """As JSON sees it: 1 equals 1.0, and true is not 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def similarity(left: str, right: str) -> float:
    """How much two answers have in common, 0 to 1: F1 over their words, however ordered; 1 only for equal texts of
    no word at all."""
    one, other = Counter(_words(left)), Counter(_words(right))
    if not one or not other:
        return float(left.strip() == right.strip())
    return 2 * (one & other).total() / (one.total() + other.total())


def agreement(texts: Sequence[str]) -> float | None:
    """The mean similarity of every two of several answers; None for fewer than two."""
    pairs = [similarity(one, other) for one, other in combinations(texts, 2)]
    return fmean(pairs) if pairs else None


def agreement_between(lefts: Sequence[str], rights: Sequence[str]) -> float | None:
    """The mean similarity of each left answer to each right one; None where a side has none."""
    pairs = [similarity(one, other) for one in lefts for other in rights]
    return fmean(pairs) if pairs else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
