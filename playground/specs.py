"""Behaviour specs: reading a `tunedtensor.json` and checking one answer against a case's assertions.

Knows the file's shape and the six kinds of assertion; refuses to know models, runs and how answers are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

AssertionKind = Literal["contains", "not-contains", "matches", "max-length", "min-length", "is-json"]
KINDS: tuple[AssertionKind, ...] = get_args(AssertionKind)
_SHOWN_LENGTH = 80


class SpecError(ValueError):
    """A spec cannot be used; `problems` lists everything that is wrong, each with key, value and rule."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Assertion:
    """One rule about an answer, as `kind:argument`; `is-json` has no argument.

    Lengths count characters, both ends included. `contains` and `matches` tell upper from lower case;
    `matches` looks anywhere in the answer. Raises SpecError where the argument does not suit the kind.
    """

    kind: AssertionKind
    argument: str = ""

    def __post_init__(self) -> None:
        if rule := _broken_argument_rule(self.kind, self.argument):
            raise SpecError([_problem("assert", str(self), rule)])

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    def holds(self, answer: str) -> bool:
        """Whether the answer keeps the rule."""
        match self.kind:
            case "contains":
                return self.argument in answer
            case "not-contains":
                return self.argument not in answer
            case "matches":
                return re.search(self.argument, answer) is not None
            case "max-length":
                return len(answer) <= int(self.argument)
            case "min-length":
                return len(answer) >= int(self.argument)
            case "is-json":
                return is_json(answer)


@dataclass(frozen=True, slots=True)
class Case:
    """One question with what is asked of its answer: assertions, an expected answer, or both."""

    input: str
    expected: str | None
    assertions: tuple[Assertion, ...]

    def failures(self, answer: str) -> tuple[Assertion, ...]:
        """The assertions that the answer breaks, in the spec's order; none means that it passes."""
        return tuple(assertion for assertion in self.assertions if not assertion.holds(answer))


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the answer that the fine-tune is meant to give."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Spec:
    """A behaviour spec, checked. `cases` are its eval cases; without any, its examples."""

    name: str
    system_prompt: str
    base_model: str
    cases: tuple[Case, ...]
    examples: tuple[Example, ...]
    description: str = ""
    guidelines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    id: str | None = None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _ExampleEntry(_Strict):
    input: str = Field(min_length=1)
    output: str


class _CaseEntry(_Strict):
    input: str = Field(min_length=1)
    expected: str | None = None
    rules: list[str] = Field(default_factory=list, alias="assert")


class _File(_Strict):
    name: str = Field(min_length=1)
    description: str | None = None
    system_prompt: str
    guidelines: list[str] = Field(default_factory=list)
    constraints: list[str] = Field(default_factory=list)
    examples: list[_ExampleEntry] = Field(default_factory=list)
    eval_cases: list[_CaseEntry] | None = None
    base_model: str = Field(min_length=1)
    id: str | None = None


def read_spec(path: Path) -> Spec:
    """The spec in a UTF-8 JSON file. Raises SpecError, each problem with the file's name in front."""
    try:
        return parse_spec(json.loads(path.read_text("utf-8")))
    except SpecError as error:
        raise SpecError([f"{path.name}: {problem}" for problem in error.problems]) from None
    except json.JSONDecodeError as error:
        raise SpecError([f"{path.name}: line {error.lineno} is not JSON: {error.msg}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"{path.name}: cannot be read: {error}"]) from None


def parse_spec(data: object) -> Spec:
    """The spec from parsed JSON. Raises SpecError with all problems: unknown keys, types, assertions."""
    problems = [] if isinstance(data, Mapping) else [_problem("spec", data, "must be a JSON object")]
    if not problems:
        try:
            entry = _File.model_validate(data)
        except ValidationError as error:
            problems = [_read_problem(cast("Mapping[str, Any]", detail)) for detail in error.errors()]
            entry = None
        problems += _assertion_problems(cast("Mapping[str, Any]", data))
        if entry is not None and not problems:
            return _spec(entry)
    raise SpecError(problems)


def parse_assertion(text: str) -> Assertion:
    """`kind:argument` as an Assertion. Raises SpecError with the rule that the text breaks."""
    kind, colon, argument = text.partition(":")
    if kind not in KINDS:
        raise SpecError([_problem("assert", text, f"must begin with one of {', '.join(KINDS)}")])
    if kind == "is-json" and colon:
        raise SpecError([_problem("assert", text, "is-json takes no argument")])
    if rule := _broken_argument_rule(cast("AssertionKind", kind), argument):
        raise SpecError([_problem("assert", text, rule)])
    return Assertion(cast("AssertionKind", kind), argument)


def is_json(text: str) -> bool:
    """Whether the whole text is one JSON value by the standard: no NaN, no Infinity, nothing around it."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _broken_argument_rule(kind: AssertionKind, argument: str) -> str | None:
    if kind in ("max-length", "min-length"):
        whole = argument.isascii() and argument.isdigit()
        return None if whole and len(argument) <= 9 else "needs a whole number of characters, 0 to 999999999"
    if kind == "is-json":
        return "is-json takes no argument" if argument else None
    if not argument:
        return f"{kind} needs a text after the colon"
    if kind == "matches":
        try:
            re.compile(argument)
        except (re.error, RecursionError, OverflowError) as error:
            return f"is no regular expression: {error}"
    return None


def _spec(entry: _File) -> Spec:
    examples = tuple(Example(example.input, example.output) for example in entry.examples)
    if entry.eval_cases is None:
        cases = tuple(Case(example.input, example.output, ()) for example in examples)
    else:
        cases = tuple(
            Case(case.input, case.expected, tuple(parse_assertion(rule) for rule in case.rules))
            for case in entry.eval_cases
        )
    return Spec(
        name=entry.name,
        system_prompt=entry.system_prompt,
        base_model=entry.base_model,
        cases=cases,
        examples=examples,
        description=entry.description or "",
        guidelines=tuple(entry.guidelines),
        constraints=tuple(entry.constraints),
        id=entry.id,
    )


def _assertion_problems(data: Mapping[str, Any]) -> list[str]:
    """Problems of well-typed assertions, found even where other parts of the spec are broken."""
    problems: list[str] = []
    cases = data.get("eval_cases")
    for number, case in enumerate(cases if isinstance(cases, list) else []):
        rules = case.get("assert") if isinstance(case, dict) else None
        for place, rule in enumerate(rules if isinstance(rules, list) else []):
            if not isinstance(rule, str):
                continue
            try:
                parse_assertion(rule)
            except SpecError as error:
                where = f"eval_cases[{number}].assert[{place}]"
                problems += [where + problem.removeprefix("assert") for problem in error.problems]
        if isinstance(case, dict) and case.get("expected") is None and not rules:
            problems.append(_problem(f"eval_cases[{number}]", case, "needs expected, assert or both"))
    return problems


def _read_problem(detail: Mapping[str, Any]) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    if detail["type"] == "missing":
        return f"{key}: is missing"
    rule = "is not a known key" if detail["type"] == "extra_forbidden" else detail["msg"]
    return _problem(key, detail["input"], rule)


def _problem(key: str, value: object, rule: str) -> str:
    shown = repr(value)
    if len(shown) > _SHOWN_LENGTH:
        shown = shown[: _SHOWN_LENGTH - 3] + "..."
    return f"{key}: {shown}: {rule}"
