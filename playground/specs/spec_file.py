"""A `tunedtensor.json`: its keys, and how they become a spec.

Knows parsed JSON; refuses to know files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from playground.specs.constraints import read_constraint
from playground.specs.rules import KINDS, AssertionKind, argument_problem
from playground.specs.spec import Assertion, Case, Constraint, Example, Spec, SpecError, problem
from playground.types import Message

MAX_CASES = 10_000
TOO_MANY_CASES = f"at most {MAX_CASES:,} cases are read"

# What pydantic finds, in the words that a person would use.
_RULES = {
    "extra_forbidden": "is not a known key",
    "string_type": "must be a string",
    "string_unicode": "must be text, without halves of characters",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length}",
    "too_long": "may have at most {max_length}",
}


def _whole(text: str) -> str:
    """Half of a surrogate pair is no character, and no model can be asked it."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must be text, without halves of characters")
    return text


def _present(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Text = Annotated[str, AfterValidator(_whole)]
Present = Annotated[Text, AfterValidator(_present)]


class Strict(BaseModel):
    """An object of a spec file: no unknown keys, no other types."""

    model_config = ConfigDict(strict=True, extra="forbid")


Entry = TypeVar("Entry", bound=Strict)


class _ExampleEntry(Strict):
    input: Present
    output: Text


class _CaseEntry(Strict):
    input: Present
    expected: Text | None = None
    rules: list[Text] | None = Field(default=None, alias="assert")


class _File(Strict):
    name: Present
    description: Text | None = None
    system_prompt: Text
    guidelines: list[Text] | None = None
    constraints: list[Text] | None = None
    examples: list[_ExampleEntry] | None = None
    eval_cases: list[_CaseEntry] | None = None
    base_model: Present
    id: Text | None = None


def parse_spec(data: object) -> Spec:
    """The spec from parsed JSON. Raises SpecError with all problems: unknown keys, types, assertions."""
    problems: list[str] = []
    spec = spec_from(data, problems)
    if spec is None:
        raise SpecError(problems)
    return spec


def spec_from(data: object, problems: list[str]) -> Spec | None:
    """The spec from parsed JSON; None where there are problems, which are added to those that are known."""
    if not isinstance(data, Mapping):
        problems.append(problem("spec", data, "must be a JSON object"))
        return None
    entry = validated(_File, data, found := [])
    found += _assertion_problems(data.get("eval_cases"))
    if entry is not None:
        constraints = tuple(map(read_constraint, entry.constraints or ()))
        found += _case_problems(entry, constraints)
        if not found:
            return _spec(entry, constraints)
    problems += found
    return None


def parse_assertion(text: str) -> Assertion:
    """`kind:argument` as an Assertion. Raises SpecError with the rule that the text breaks."""
    kind, colon, argument = text.partition(":")
    if rule := _assertion_problem(kind, colon, argument):
        raise SpecError([problem("assert", text, rule)])
    return Assertion(cast("AssertionKind", kind), argument)


def validated(model: type[Entry], data: object, problems: list[str]) -> Entry | None:
    """Data as an object of a spec file; None where it breaks rules, which are added to the problems."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems += [_rule_problem(cast("Mapping[str, Any]", detail)) for detail in error.errors()]
        return None


def _assertion_problem(kind: str, colon: str, argument: str) -> str | None:
    if kind not in KINDS:
        return f"must begin with one of {', '.join(KINDS)}"
    if kind == "is-json" and colon:
        return "is-json takes no argument"
    return argument_problem(kind, argument)


def _assertion_problems(cases: object) -> Iterator[str]:
    """Problems of well-typed assertions, found even where other parts of the spec are broken."""
    for number, case in enumerate(cases if isinstance(cases, list) else []):
        rules = case.get("assert") if isinstance(case, Mapping) else None
        for place, rule in enumerate(rules if isinstance(rules, list) else []):
            broken = _assertion_problem(*rule.partition(":")) if isinstance(rule, str) else None
            if broken:
                yield problem(f"eval_cases[{number}].assert[{place}]", rule, broken)


def _case_problems(entry: _File, constraints: Iterable[Constraint]) -> Iterator[str]:
    cases = entry.eval_cases or []
    num_cases = len(cases or entry.examples or [])
    if not num_cases:
        yield "eval_cases: there are none, and no examples either: give cases to ask, or examples"
    if num_cases > MAX_CASES:
        yield problem("eval_cases" if cases else "examples", num_cases, TOO_MANY_CASES)
    if any(constraint.enforced for constraint in constraints):
        return
    for number, case in enumerate(cases):
        if case.expected is None and not case.rules:
            rule = "needs expected, assert or both: nothing would be checked"
            yield problem(f"eval_cases[{number}]", case.model_dump(by_alias=True, exclude_unset=True), rule)


def _spec(entry: _File, constraints: tuple[Constraint, ...]) -> Spec:
    examples = tuple(Example(example.input, example.output) for example in entry.examples or ())
    system = (Message("system", entry.system_prompt),) if entry.system_prompt.strip() else ()
    return Spec(
        name=entry.name,
        cases=tuple(_cases(entry.eval_cases or (), examples, system)),
        base_model=entry.base_model,
        system_prompt=entry.system_prompt,
        examples=examples,
        description=entry.description or "",
        guidelines=tuple(entry.guidelines or ()),
        constraints=constraints,
        id=entry.id,
    )


def _cases(entries: Sequence[_CaseEntry], examples: Sequence[Example], system: tuple[Message, ...]) -> Iterator[Case]:
    for entry in entries:
        rules = tuple(map(parse_assertion, entry.rules or ()))
        yield Case((*system, Message("user", entry.input)), entry.expected, rules)
    if not entries:
        for example in examples:
            yield Case((*system, Message("user", example.input)), example.output, ())


def _rule_problem(detail: Mapping[str, Any]) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    if detail["type"] == "missing":
        return f"{key}: is missing"
    told = {"rule": detail["msg"].removeprefix("Value error, "), **detail.get("ctx", {})}
    rule = _RULES.get(detail["type"], "{rule}").format_map(told)
    return problem(key, detail["input"], rule)
