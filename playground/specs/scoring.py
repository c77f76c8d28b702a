"""What an answer is worth against a case: whether it passes, why not, and how near it is to the expected answer.

Knows one case and one answer; refuses to know models and other cases.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from playground.errors import shortened
from playground.insight import json_value
from playground.specs.rules import folded
from playground.specs.spec import Case, Constraint

MAX_FAILURE_CHARS = 300

# Scripts that write no spaces are taken by the character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")

Json = dict[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class Score:
    """What an answer is worth. `failures` say why it does not pass, a sentence each.

    `exact` says whether the expected answer is met, whatever else is asked. `fields` is the share, 0 to 1, of the
    fields of an expected JSON object that are right; `f1`, 0 to 1, how many words the two have in common. Each is
    None where nothing of the kind is expected.
    """

    passed: bool
    failures: tuple[str, ...]
    exact: bool | None
    fields: float | None
    f1: float | None


def score(case: Case, constraints: Sequence[Constraint], answer: str) -> Score:
    """An answer against a case. It passes where all assertions hold, no constraint is broken, and, in a case without
    assertions, the expected answer is met."""
    failures = [*_rule_failures(case, constraints, answer)]
    if case.expected is None:
        return Score(not failures, tuple(failures), exact=None, fields=None, f1=None)
    met = is_met(case.expected, answer)
    if not met and not case.assertions:
        failures.append(_cut(f"expected: {_miss(case.expected, answer)}"))
    fields = _share(case.expected, answer, met)
    return Score(not failures, tuple(failures), met, fields, token_f1(case.expected, answer))


def no_answer(case: Case, reason: str) -> Score:
    """What it is worth that no answer came: nothing, for that reason."""
    if case.expected is None:
        return Score(False, (_cut(reason),), exact=None, fields=None, f1=None)
    fields = None if json_value(case.expected) is None else 0.0
    return Score(False, (_cut(reason),), exact=False, fields=fields, f1=0.0)


def is_met(expected: str, answer: str) -> bool:
    """Whether an answer is the expected one: the same text, letter case and white space aside, or the same JSON."""
    if folded(expected) == folded(answer):
        return True
    wanted, found = json_value(expected), json_value(answer)
    return wanted is not None and found is not None and _is_same(wanted, found)


def token_f1(expected: str, answer: str) -> float:
    """How many words two texts have in common, however ordered: the harmonic mean of precision and recall, 0 to 1.

    After the evaluation of SQuAD (Rajpurkar et al., 2016), which also leaves out English articles. Words are runs of
    letters and digits, letter case aside; 1 where neither text has any, 0 where one has none.
    """
    wanted, found = Counter(_WORD.findall(folded(expected))), Counter(_WORD.findall(folded(answer)))
    if not wanted or not found:
        return float(not wanted and not found)
    return 2 * (wanted & found).total() / (wanted.total() + found.total())


def _rule_failures(case: Case, constraints: Sequence[Constraint], answer: str) -> Iterator[str]:
    for assertion in case.assertions:
        if reason := assertion.failure(answer):
            yield _cut(f"{shortened(str(assertion))}: {reason}")
    for constraint in constraints:
        for rule in constraint.rules:
            if reason := rule.failure(answer):
                yield _cut(f"{shortened(constraint.text.rstrip('. '))}: {reason}")


def _share(expected: str, answer: str, met: bool) -> float | None:
    """The fields of both sides together that both have alike; a list is right or wrong as a whole."""
    wanted, found = json_value(expected), json_value(answer)
    if wanted is None:
        return None
    # An answer may be the expected one to the letter and yet hold what equals nothing, as NaN.
    if met or not (isinstance(wanted, dict) and isinstance(found, dict)):
        return float(met)
    return 1 - len(_differing(wanted, found)) / len(wanted.keys() | found.keys())


def _miss(expected: str, answer: str) -> str:
    """How an answer misses the expected one."""
    wanted, found = json_value(expected), json_value(answer)
    if wanted is not None and found is None:
        return f"the answer is no JSON: {_quoted(answer)}"
    if isinstance(wanted, dict) and isinstance(found, dict):
        return "fields that differ: " + ", ".join(_fields_told(wanted, found))
    return f"the answer is {_quoted(answer)}, expected {_quoted(expected)}"


def _fields_told(wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    for name in _differing(wanted, found):
        if name not in found:
            yield f"{name} (missing, expected {_shown(wanted[name])})"
        elif name not in wanted:
            yield f"{name} ({_shown(found[name])}, not expected)"
        else:
            yield f"{name} ({_shown(found[name])}, expected {_shown(wanted[name])})"


def _differing(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    names = [*wanted, *(name for name in found if name not in wanted)]
    return [n for n in names if n not in wanted or n not in found or not _is_same(wanted[n], found[n])]


def _is_same(one: Any, other: Any) -> bool:
    """As JSON sees it, letter case and white space of strings aside: 1 equals 1.0, and true is not 1."""
    # A stack, so that deep nesting cannot end us.
    stack = [(one, other)]
    while stack:
        left, right = stack.pop()
        if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
            stack += [(left[name], right[name]) for name in left]
        elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            stack += zip(left, right, strict=True)
        elif not _is_same_leaf(left, right):
            return False
    return True


def _is_same_leaf(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return folded(left) == folded(right)
    if isinstance(left, dict | list) or isinstance(right, dict | list):
        return False
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    try:
        return shortened(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        # Reading goes a little deeper than writing.
        return "…"


def _quoted(text: str) -> str:
    return f"“{shortened(' '.join(text.split()))}”"


def _cut(sentence: str) -> str:
    # JSON can spell half of a character, which no file or page takes.
    whole = sentence.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= MAX_FAILURE_CHARS else whole[: MAX_FAILURE_CHARS - 1] + "…"
