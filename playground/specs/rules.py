"""What can be checked of an answer's text: the kinds of assertion, and what each finds.

Pure text in, a reason or nothing out. Knows neither specs nor cases.
"""

from __future__ import annotations

import json
from typing import Literal, NoReturn, get_args
from unicodedata import normalize

import regex

from playground.patterns import pattern_problem

AssertionKind = Literal["contains", "not-contains", "matches", "max-length", "min-length", "is-json"]
KINDS: tuple[AssertionKind, ...] = get_args(AssertionKind)

MATCH_SECONDS = 1.0
"""So long one pattern may look at one answer, in processor time of the whole process."""

_UNSPACED = ("Han", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
_SPACED = "[^\\W" + "".join(rf"\p{{scx={script}}}" for script in _UNSPACED) + "]"
"""A letter, digit or mark of a script that parts words by spaces."""


def folded(text: str) -> str:
    """A text as answers are compared: without letter case, each run of white space one space, none at the ends, and
    letters with marks composed, as Unicode has both ways to write them."""
    return normalize("NFC", normalize("NFD", " ".join(text.split())).casefold())


def whole_words(phrase: str) -> str:
    """A pattern for `regex` that finds a phrase where no letter or digit goes on at either end of it.

    Scripts that write no spaces between words, or join particles to them, have no such ends.
    """
    begin = f"(?<!{_SPACED})" if regex.match(_SPACED, phrase) else ""
    end = f"(?!{_SPACED})" if regex.search(rf"{_SPACED}\Z", phrase) else ""
    return f"{begin}{regex.escape(phrase)}{end}"


def is_json(text: str) -> bool:
    """Whether the whole text is one JSON value by the standard: no NaN, no Infinity, nothing around it."""
    try:
        json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def refuse_constant(constant: str) -> NoReturn:
    """For `json.loads`, which would take NaN and Infinity."""
    raise ValueError(f"{constant} is not JSON")


def argument_problem(kind: AssertionKind, argument: str) -> str | None:
    """The rule that an assertion's argument breaks, None where it suits the kind."""
    if kind in ("max-length", "min-length"):
        whole = argument.isascii() and argument.isdigit()
        return None if whole and len(argument) <= 9 else "needs a whole number of characters, 0 to 999999999"
    if kind == "is-json":
        return "is-json takes no argument" if argument else None
    if not argument:
        return f"{kind} needs a text after the colon"
    return pattern_problem(argument) if kind == "matches" else None


def failure(kind: AssertionKind, argument: str, answer: str) -> str | None:
    """What an answer does against an assertion, None where it keeps it.

    Lengths count characters, both ends included. `contains` and `matches` tell upper from lower case; `matches`
    looks anywhere in the answer and gives up after `MATCH_SECONDS`, which is a failure too.
    """
    length = len(answer)
    match kind:
        case "contains":
            return None if argument in answer else "the answer does not contain it"
        case "not-contains":
            return "the answer contains it" if argument in answer else None
        case "matches":
            return _match_failure(argument, answer)
        case "max-length":
            return f"the answer has {length} characters" if length > int(argument) else None
        case "min-length":
            return f"the answer has {length} characters" if length < int(argument) else None
        case "is-json":
            return None if is_json(answer) else "the answer is not one JSON value and nothing else"


def _match_failure(pattern: str, answer: str) -> str | None:
    try:
        # Concurrent lets other threads go on while it looks.
        found = regex.search(pattern, answer, timeout=MATCH_SECONDS, concurrent=True)
    except TimeoutError:
        return f"the pattern took more than {MATCH_SECONDS:g} s on this answer and was given up: make it simpler"
    except MemoryError:
        return "the pattern took too much memory on this answer and was given up: make it simpler"
    return None if found else "nothing in the answer matches"
