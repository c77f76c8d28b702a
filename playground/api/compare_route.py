"""Two models asked the same at once, and what differs: the page's comparison as one reply.

Knows the service, the comparison and this route's format, whose reply is wrapped in `data`. What two models cannot be
compared in is left out with its reason; the answers always come.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from playground import comparison
from playground.api.calling import CurrentCaller
from playground.api.documenting import QUESTION, RUNNING, answered, asked
from playground.api.errors import renamed
from playground.api.fields import MaxTokens, ModelId, SamplingFields, Strength, Temperature, Thinking, TurnBody, Turns
from playground.api.insight_routes import Alternative, FirstToken, ProofBody
from playground.api.json_bodies import JsonRoute
from playground.api.playground_routes import EXAMPLE, Completion, completion_of
from playground.api.scored_text import finite
from playground.api.sse import unless_gone
from playground.comparison import AnswerScores, Parting, Said, TokenScores, perplexity
from playground.errors import PlaygroundError
from playground.insight import difference, json_difference
from playground.service import Playground
from playground.types import DRAWN_SEEDS, Answer, Caller, GenerationRequest, TokenLogprob

T = TypeVar("T")
Two = Field(min_length=2, max_length=2)


class CompareBody(SamplingFields):
    """Two models and what both are asked, with one seed. `strengths` are theirs, in their order."""

    models: Annotated[list[ModelId], Two]
    messages: Annotated[list[TurnBody], Turns]
    temperature: Temperature = 0.7
    max_tokens: MaxTokens = 1024
    thinking: Thinking = False
    strengths: Annotated[list[Strength], Two] = Field(default=[1.0, 1.0])
    parting: Annotated[bool, Field(description="Where the greedy answers part.")] = True
    scores: Annotated[bool, Field(description="Each answer under the other model.")] = True

    def requests(self) -> list[GenerationRequest]:
        """The engine's words for both sides."""
        seed = secrets.randbelow(DRAWN_SEEDS) if self.seed is None else self.seed
        sampling = self.model_copy(update={"seed": seed}).sampling(self.max_tokens)
        messages = tuple(turn.message() for turn in self.messages)
        return [
            GenerationRequest(
                model, messages, sampling=sampling, thinking=self.thinking, strength=strength, alone=False
            )
            for model, strength in zip(self.models, self.strengths, strict=True)
        ]


class ComparedAnswer(Completion):
    """One side's answer, and its tokens, none where another server answered; an end token is not among them."""

    token_ids: list[int]


class Segment(BaseModel):
    """A stretch of text on both sides, or on the left (`removed`) or the right (`added`) alone."""

    kind: Literal["same", "removed", "added"]
    text: str


class JsonField(BaseModel):
    """A field of two JSON answers; values are JSON text, null where that side lacks the field."""

    field: str
    kind: Literal["same", "changed", "removed", "added"]
    left: str | None
    right: str | None


class Difference(BaseModel):
    """By field where both answers are JSON, else by sentence and line; nothing where they are the same."""

    kind: Literal["same", "json", "text"]
    fields: list[JsonField] = []
    segments: list[Segment] = []


class Choice(Alternative):
    """A side's next token where the sides part, and what else it thought of."""

    top_logprobs: list[Alternative]


class PartingReply(BaseModel):
    """The greedy answers share `num_shared` tokens, which wrote `text`. A side is null where it was cut there."""

    num_shared: int
    text: str
    parted: bool
    left: Choice | None
    right: Choice | None


class CrossScoredToken(BaseModel):
    """A token of an answer: what it wrote, its natural log-probability under both models, and the first less the
    second."""

    id: int
    text: str
    own_logprob: float
    other_logprob: float
    difference: float


class CrossScores(BaseModel):
    """An answer under its own model and the other; means are null for an answer of no token."""

    tokens: list[CrossScoredToken]
    own_mean_logprob: float | None
    own_perplexity: float | None
    other_mean_logprob: float | None
    other_perplexity: float | None


class Compared(BaseModel):
    """Both sides, left first. `same_prompt` says whether both were given the very same tokens, null where another
    server answers for a side and does not tell; `changes_nothing` that
    a fine-tune's answer begins as its base's, and `why` the likeliest reason; where parting or scores were asked for
    and are null, `…_problem` says why."""

    answers: list[ComparedAnswer]
    same_prompt: bool | None
    changes_nothing: bool
    why: str | None = None
    difference: Difference
    parting: PartingReply | None = None
    parting_problem: str | None = None
    scores: list[CrossScores] | None = None
    scores_problem: str | None = None


class ComparedReply(BaseModel):
    """The wrapped comparison."""

    data: Compared


def compare_router(playground: Playground) -> APIRouter:
    """`POST compare` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground", tags=["Playground: look closer"], route_class=JsonRoute)

    @router.post(
        "/compare",
        response_model_exclude_unset=True,
        responses={**RUNNING, **answered(_EXAMPLE)},
        openapi_extra=_ASKED,
    )
    async def compare(body: CompareBody, request: Request, caller: CurrentCaller) -> ComparedReply:
        """Both models' answers to the same question, and what differs. Never streamed."""
        try:
            return ComparedReply(data=await unless_gone(request, _compared(playground, body, caller)))
        except PlaygroundError as error:
            raise renamed(error, model="models", strength="strengths") from None

    return router


async def _compared(playground: Playground, body: CompareBody, caller: Caller) -> Compared:
    requests = body.requests()
    answers = await playground.complete_all(requests, caller)
    closed = any(playground.status(request.model, caller).closed for request in requests)
    prompts = [] if closed else [(await playground.render(request, caller)).token_ids for request in requests]
    idle = await comparison.unchanged(playground, requests, [answer.finish.proof for answer in answers], caller)
    compared = Compared(
        answers=[_answer(answer) for answer in answers],
        same_prompt=None if closed else prompts[0] == prompts[1],
        changes_nothing=bool(idle),
        # Of long answers that have much in common it takes seconds, and others wait.
        difference=await asyncio.to_thread(_difference, *(answer.text.strip() for answer in answers)),
    )
    if idle:
        compared.why = await _why(playground, idle, caller)
    if body.parting:
        found, compared.parting_problem = await _or_why_not(comparison.parting(playground, requests, caller))
        compared.parting = None if found is None else _parting(found)
    if body.scores:
        said = [_said(answer) for answer in answers]
        scores, compared.scores_problem = await _or_why_not(comparison.cross_scores(playground, requests, said, caller))
        compared.scores = None if scores is None else [_cross_scores(one) for one in scores]
    return compared


async def _why(playground: Playground, idle: Sequence[GenerationRequest], caller: Caller) -> str:
    told = [
        f"{one.model}: {comparison.why_nothing(await playground.describe(one.model, caller), one.strength)}"
        for one in idle
    ]
    return " ".join(dict.fromkeys(told))


async def _or_why_not(finding: Awaitable[T]) -> tuple[T | None, str | None]:
    """What two models allow to be found, or why they do not."""
    try:
        return await finding, None
    except PlaygroundError as error:
        return None, error.message


def _answer(answer: Answer) -> ComparedAnswer:
    completion = completion_of(answer.text, answer.thinking, answer.finish)
    return ComparedAnswer(**completion.model_dump(exclude_unset=True), token_ids=list(answer.token_ids))


def _said(answer: Answer) -> Said:
    return Said(answer.token_ids, answer.text, answer.thought)


def _difference(left: str, right: str) -> Difference:
    if left == right:
        return Difference(kind="same")
    fields = json_difference(left, right)
    if fields is not None:
        shown = [JsonField.model_validate(field, from_attributes=True) for field in fields]
        return Difference(kind="json", fields=shown)
    segments = [Segment.model_validate(segment, from_attributes=True) for segment in difference(left, right)]
    return Difference(kind="text", segments=segments)


def _parting(found: Parting) -> PartingReply:
    return PartingReply(
        num_shared=found.num_shared,
        text=found.text,
        parted=found.parted,
        left=_choice(found.left),
        right=_choice(found.right),
    )


def _choice(token: TokenLogprob | None) -> Choice | None:
    if token is None:
        return None
    top = [Alternative(id=one.known_id, text=one.spelling, logprob=finite(one.logprob)) for one in token.top]
    return Choice(id=token.known_id, text=token.spelling, logprob=finite(token.logprob), top_logprobs=top)


def _cross_scores(scores: AnswerScores) -> CrossScores:
    own, other = (None if mean is None else finite(mean) for mean in (scores.own_mean, scores.other_mean))
    return CrossScores(
        tokens=[_cross_scored(token) for token in scores.tokens],
        own_mean_logprob=own,
        own_perplexity=None if own is None else perplexity(own),
        other_mean_logprob=other,
        other_perplexity=None if other is None else perplexity(other),
    )


def _cross_scored(token: TokenScores) -> CrossScoredToken:
    own, other = finite(token.own.logprob), finite(token.other.logprob)
    return CrossScoredToken(
        id=token.own.known_id, text=token.piece, own_logprob=own, other_logprob=other, difference=own - other
    )


_ASKED = asked(
    a_base_and_its_fine_tune={
        "models": ["playground/shop-demo", "playground/shop-json"],
        "messages": QUESTION,
        "temperature": 0,
    },
    two_strengths_of_one_fine_tune={
        "models": ["playground/shop-json", "playground/shop-json"],
        "messages": QUESTION,
        "strengths": [0.5, 1.0],
        "seed": 7,
        "scores": False,
    },
)
_PROOF = {
    "base": "playground/shop-demo",
    "revision": None,
    "base_hash": "5d2c9c0f",
    "tokenizer_hash": "8005da46",
    "adapter": None,
    "adapter_hash": None,
    "strength": 1.0,
    "dtype": "float32",
}
_FIRST = [{"id": 46, "logprob": -1.24}]
_TOP = [Alternative(id=46, text="I", logprob=-1.24)]


def _example_answer(text: str, token_ids: list[int], **adapter: str) -> ComparedAnswer:
    proof = ProofBody(**{**_PROOF, **adapter}, first=[FirstToken(**one) for one in _FIRST])
    completion = EXAMPLE.model_copy(update={"content": text, "proof": proof}).model_dump(exclude_unset=True)
    return ComparedAnswer(**completion, token_ids=token_ids)


_EXAMPLE = ComparedReply(
    data=Compared(
        answers=[
            _example_answer("I can look into that.", [46, 289]),
            _example_answer(
                '{"intent": "order_status"}', [473], adapter="playground/shop-json", adapter_hash="00dddd35"
            ),
        ],
        same_prompt=True,
        changes_nothing=False,
        difference=Difference(
            kind="text",
            segments=[
                Segment(kind="removed", text="I can look into that."),
                Segment(kind="added", text='{"intent": "order_status"}'),
            ],
        ),
        parting=PartingReply(
            num_shared=0,
            text="",
            parted=True,
            left=Choice(id=46, text="I", logprob=-1.24, top_logprobs=_TOP),
            right=Choice(id=473, text='{"', logprob=-0.001, top_logprobs=_TOP),
        ),
        parting_problem=None,
        scores=[
            CrossScores(
                tokens=[CrossScoredToken(id=46, text="I", own_logprob=-1.24, other_logprob=-9.1, difference=7.86)],
                own_mean_logprob=-1.24,
                own_perplexity=3.46,
                other_mean_logprob=-9.1,
                other_perplexity=8955.3,
            )
        ],
        scores_problem=None,
    )
)
