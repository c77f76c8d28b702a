"""What the evaluations' routes are asked and answer, with an example of each.

Knows these shapes alone; where their values come from is the routes' affair.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from playground.api.documenting import Responses, asked
from playground.api.fields import Body, ModelId, Text
from playground.evaluator import DEFAULT_MAX_TOKENS, State
from playground.history.records import Choice
from playground.reports import Format
from playground.types import MAX_NEW_TOKENS
from playground.voting import BlindChoice

FileName = Annotated[str, Field(min_length=1, max_length=200, description="Named in problems, and in the list.")]


class SpecBody(Body):
    """A behaviour spec as text: a `tunedtensor.json`, or chat JSON Lines."""

    spec: Text
    file_name: FileName = "spec"


class EvaluationBody(SpecBody):
    """A spec and the models to ask, the one to compare with first. Without any, the spec's base and its first
    fine-tune."""

    models: Annotated[list[ModelId], Field(max_length=2)] = Field(default=[])
    max_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS, description="Of each answer.")] = DEFAULT_MAX_TOKENS


class VoteBody(Body):
    """Which of two answers is better."""

    choice: BlindChoice


class ReadConstraint(BaseModel):
    """A constraint of the spec; `reading` says what is checked of it, or why nothing is."""

    text: str
    enforced: bool
    reading: str


class CheckedSpec(BaseModel):
    """A spec that can be used. `models` are those that would be asked; none where its base is not here."""

    name: str
    description: str
    num_cases: int
    constraints: list[ReadConstraint]
    models: list[str]


class CheckedSpecReply(BaseModel):
    """The wrapped spec."""

    data: CheckedSpec


class EvaluationState(BaseModel):
    """An evaluation and how far it is. `interrupted` ones ran in a process that has ended, `elsewhere` ones run in
    another one; both, and `paused` and `failed` ones, can be resumed. `seconds_left` is null until it can be told."""

    id: str
    name: str
    file_name: str
    started_at: str
    models: list[str]
    max_tokens: int
    state: State
    problem: str | None
    num_cases: int
    num_answers: int
    num_wanted: int
    seconds_left: float | None


class EvaluationReply(BaseModel):
    """The wrapped evaluation."""

    data: EvaluationState


class EvaluationsReply(BaseModel):
    """The wrapped evaluations, the latest first."""

    data: list[EvaluationState]


class Cases(BaseModel):
    """Cases, each whole, with both answers as far as they are there. `last` is what `after` must be to be told only of
    what has changed since."""

    last: int
    cases: list[dict[str, Any]]


class CasesReply(BaseModel):
    """The wrapped cases."""

    data: Cases


class TotalsReply(BaseModel):
    """The wrapped totals: passed cases, times and tokens of each side over the cases that it has answered; over those
    that both have, the measures with the difference's 95% interval and its reading, and what improved and regressed;
    and the blind votes."""

    data: dict[str, Any]


class BlindPair(BaseModel):
    """Two answers to a case in an order that does not tell whose they are."""

    number: int
    messages: list[dict[str, str]]
    a: str
    b: str


class BlindPairReply(BaseModel):
    """The wrapped pair."""

    data: BlindPair


class Revealed(BaseModel):
    """Whose the answers were, and the vote by side of the evaluation."""

    a: str
    b: str
    vote: Choice


class RevealedReply(BaseModel):
    """The wrapped models."""

    data: Revealed


class Gone(BaseModel):
    """The evaluation that was deleted."""

    id: str


class GoneReply(BaseModel):
    """The wrapped id."""

    data: Gone


MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
}
REPORT: Responses = {
    200: {
        "description": "The report.",
        "content": {media_type.partition(";")[0]: {"schema": {}, "example": ""} for media_type in MEDIA_TYPES.values()},
    }
}
_SPEC = (
    '{"name": "Greeter", "system_prompt": "Greet people.", "base_model": "playground/shop-demo", '
    '"examples": [{"input": "Hello!", "output": "Good day!"}], "constraints": ["Never mention Acme."]}'
)
CHECK = asked(a_spec={"spec": _SPEC, "file_name": "tunedtensor.json"})
BEGIN = asked(
    the_models_that_the_spec_means={"spec": _SPEC, "file_name": "tunedtensor.json"},
    two_models={"spec": _SPEC, "models": ["playground/shop-demo", "playground/shop-json"], "max_tokens": 200},
)
STATE = EvaluationState(
    id="0f" * 16,
    name="Greeter",
    file_name="tunedtensor.json",
    started_at="2026-11-27T09:30:00.000Z",
    models=["playground/shop-demo", "playground/shop-json"],
    max_tokens=1024,
    state="running",
    problem=None,
    num_cases=133,
    num_answers=40,
    num_wanted=266,
    seconds_left=21.5,
)
CHECKED = CheckedSpec(
    name="Greeter",
    description="",
    num_cases=1,
    constraints=[
        ReadConstraint(
            text="Never mention Acme.",
            enforced=True,
            reading="Checked, by whole words, letter case aside: the answer must not contain “Acme”.",
        )
    ],
    models=["playground/shop-demo", "playground/shop-json"],
)
CASES = Cases(last=40, cases=[{"number": 0, "input": "Hello!", "expected": "Good day!", "change": "improved"}])
TOTALS = {"num_cases": 133, "changes": {"improved": 128, "regressed": 0, "same": 5}}
PAIR = BlindPair(number=0, messages=[{"role": "user", "content": "Hello!"}], a="Good day!", b="Hello, hello!")
REVEALED = Revealed(a="playground/shop-json", b="playground/shop-demo", vote="right")
