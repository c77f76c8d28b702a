"""What a behaviour spec is: cases, what is asked of their answers, and the rules that hold for all of them.

Values that check themselves. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import regex

from playground.errors import shortened
from playground.specs.rules import AssertionKind, argument_problem, failure, folded, whole_words
from playground.types import Message

MAX_PROBLEMS = 50


class SpecError(ValueError):
    """A spec cannot be used; `problems` lists what is wrong, each with key, value and rule. Of very many the first
    are listed, and how many more there are."""

    def __init__(self, problems: Sequence[str]) -> None:
        num_more = len(problems) - MAX_PROBLEMS
        more = [f"and {num_more} more"] if num_more > 0 else []
        self.problems = (*problems[:MAX_PROBLEMS], *more)
        super().__init__("\n".join(self.problems))


def problem(key: str, value: object, rule: str) -> str:
    """A problem in words: the key, the value (shortened), and the rule that it breaks."""
    return f"{key}: {shortened(repr(value))}: {rule}"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One rule about an answer, as `kind:argument`; `is-json` has no argument.

    Raises SpecError where the argument does not suit the kind.
    """

    kind: AssertionKind
    argument: str = ""

    def __post_init__(self) -> None:
        if rule := argument_problem(self.kind, self.argument):
            raise SpecError([problem("assert", str(self), rule)])

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    def holds(self, answer: str) -> bool:
        """Whether the answer keeps the rule."""
        return self.failure(answer) is None

    def failure(self, answer: str) -> str | None:
        """What the answer does against the rule; None where it keeps it."""
        return failure(self.kind, self.argument, answer)


PhrasePlace = Literal["nowhere", "anywhere", "start", "end"]
_MUST = {
    "nowhere": "must not contain",
    "anywhere": "must contain",
    "start": "must start with",
    "end": "must end with",
}
_ENDS_AT = {"start": (r"\A", ""), "end": ("", r"\Z")}


@dataclass(frozen=True, slots=True)
class Phrase:
    """Where an answer must have one of several phrases, or must have none of them. Whole words are looked for; letter
    case and line breaks are left aside, and so is a full stop at the answer's end."""

    place: PhrasePlace
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"the answer {_MUST[self.place]} {self._named}"

    def failure(self, answer: str) -> str | None:
        """What the answer does against the rule; None where it keeps it."""
        found = [text for text in self.texts if self._is_in(folded(answer), folded(text))]
        if self.place == "nowhere":
            return f"the answer contains “{shortened(found[0])}”" if found else None
        verb = {"anywhere": "contain", "start": "start with", "end": "end with"}[self.place]
        return None if found else f"the answer does not {verb} {self._named}"

    def _is_in(self, answer: str, text: str) -> bool:
        if self.place == "end" and text != ".":
            answer, text = answer.removesuffix("."), text.removesuffix(".")
        begin, end = _ENDS_AT.get(self.place, ("", ""))
        return regex.search(f"{begin}{whole_words(text)}{end}", answer) is not None

    @property
    def _named(self) -> str:
        return " or ".join(f"“{shortened(text)}”" for text in self.texts)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A rule for all answers, in a person's words. `reading` says in a plain sentence what is checked of it, or why
    nothing is; an answer keeps it where it keeps all `rules`."""

    text: str
    reading: str
    rules: tuple[Assertion | Phrase, ...] = ()

    @property
    def enforced(self) -> bool:
        """Whether anything is checked."""
        return bool(self.rules)


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation to be answered, with what is asked of the answer: assertions, an expected answer, or both."""

    messages: tuple[Message, ...]
    expected: str | None
    assertions: tuple[Assertion, ...]

    def __post_init__(self) -> None:
        if not any(message.role == "user" for message in self.messages):
            raise SpecError([problem("messages", self.messages, "there must be a user message")])

    @property
    def input(self) -> str:
        """What the user says last."""
        return next(message.content for message in reversed(self.messages) if message.role == "user")


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the answer that the fine-tune is meant to give."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Spec:
    """A behaviour spec. `base_model` is None where the file does not name one."""

    name: str
    cases: tuple[Case, ...]
    base_model: str | None
    system_prompt: str = ""
    examples: tuple[Example, ...] = ()
    description: str = ""
    guidelines: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    id: str | None = None
