"""Text completions: thirteen fields of the vendor's reference, with the legacy OpenAI API's semantics.

Knows that format alone; prompts are raw text or token ids, and no template is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field

from playground.api.calling import CurrentCaller
from playground.api.documenting import RUNNING, answered, asked
from playground.api.fields import (
    MAX_ANSWERS,
    Count,
    SamplingBody,
    SomeText,
    StreamOptions,
    User,
    broken,
    includes_usage,
    require_few,
    require_streaming,
)
from playground.api.json_bodies import JsonRoute
from playground.api.replies import Answers, TotalUsage, new_id, now
from playground.api.scored_text import Placed, ScoredText, finite
from playground.api.sse import event_stream, unless_gone
from playground.errors import broken_rule
from playground.service import Playground
from playground.types import MAX_NEW_TOKENS, Delta, Echo, Event, Finish, FinishReason, GenerationRequest


def _as_prompts(prompt: Any) -> list[Any]:
    """All four shapes as a list of prompts."""
    if isinstance(prompt, str) and prompt:
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(one, str) and one for one in prompt):
            return prompt
        if _are_ids(prompt):
            return [tuple(prompt)]
        if all(isinstance(one, list) and one and _are_ids(one) for one in prompt):
            return [tuple(one) for one in prompt]
    raise broken("it must be a string, a list of strings, a list of token ids, or a list of such lists; none empty")


_Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_Several = Field(min_length=1, max_length=MAX_ANSWERS)
_Prompts = SomeText | Annotated[list[SomeText], _Several] | _Ids | Annotated[list[_Ids], _Several]


def _are_ids(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)


def _no_suffix(suffix: Any) -> Any:
    if suffix != "":
        raise broken("it must be left out: no engine here fills in the middle")
    return suffix


class TextBody(SamplingBody):
    """What to complete, and how."""

    prompt: Annotated[
        list[Any],
        BeforeValidator(_as_prompts, json_schema_input_type=_Prompts),
        Field(description="Raw text or token ids; a list asks for an answer to each."),
    ]
    max_tokens: Annotated[
        int, Field(ge=0, le=MAX_NEW_TOKENS, description="0 with echo and logprobs scores the prompt.")
    ] = 16
    n: Count = 1
    best_of: Annotated[Count | None, Field(description="The n most likely of so many answers are returned.")] = None
    echo: Annotated[bool, Field(description="The prompt comes back before the answer.")] = False
    logprobs: Annotated[int | None, Field(ge=0, le=5, description="So many alternatives a token.")] = None
    stream_options: StreamOptions | None = None
    suffix: Annotated[
        str,
        Field(max_length=0, description="Refused: no engine here fills in the middle."),
        BeforeValidator(_no_suffix, json_schema_input_type=Literal[""]),
    ] = ""
    user: User | None = None

    @property
    def num_drawn(self) -> int:
        """Answers to each prompt, before the best are chosen."""
        return self.best_of or self.n

    def requests(self) -> list[GenerationRequest]:
        """One for every answer, prompt by prompt; raises `InvalidRequest` for fields that do not go together."""
        self._check()
        logprobs = 0 if self.logprobs is None and self.num_drawn > self.n else self.logprobs
        sampling = self.sampling(self.max_tokens, logprobs)
        asked = [
            GenerationRequest(self.model, prompt=prompt, sampling=sampling, strength=self.strength, echo=self.echo)
            for prompt in self.prompt
        ]
        return [one.drawn_by(sampling.of_choice(choice)) for one in asked for choice in range(self.num_drawn)]

    def _check(self) -> None:
        if self.num_drawn < self.n:
            raise broken_rule("best_of", self.best_of, f"it must be at least n, which is {self.n}")
        if self.num_drawn > self.n and self.stream:
            raise broken_rule("best_of", self.best_of, "above n it cannot be streamed: the best are known at the end")
        require_few("prompt", self.num_drawn * len(self.prompt))
        require_streaming(self.stream_options, self.stream)


class Logprobs(BaseModel):
    """One entry a token in each list; `text_offset` counts characters of the returned text."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] = []
    text_offset: list[int] = []

    @classmethod
    def of(cls, placed: Sequence[Placed]) -> Logprobs:
        return cls(
            tokens=[one.spelling for one in placed],
            token_logprobs=[finite(one.scored.logprob) if one.scored else None for one in placed],
            top_logprobs=[_alternatives(one) for one in placed],
            text_offset=[one.offset for one in placed],
        )


def _alternatives(placed: Placed) -> dict[str, float] | None:
    """The best tokens and the chosen one, as these clients expect; of two with one spelling the better."""
    if placed.scored is None:
        return None
    best: dict[str, float] = {}
    for scored in (placed.scored, *placed.scored.top):
        logprob = finite(scored.logprob)
        best[scored.spelling] = max(logprob, best.get(scored.spelling, logprob))
    return best


class TextChoice(BaseModel):
    """One answer, or in a stream a piece of it; `finish_reason` is null until the last piece."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class TextReply(BaseModel):
    """Answers, or a chunk of one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: TotalUsage | None = None


class _Writer:
    """Writes one answer to `request` as choices."""

    def __init__(self, index: int, request: GenerationRequest, *, scores: bool) -> None:
        self._index, self._request, self._scores = index, request, scores
        self._scored_text = ScoredText()
        self._text = ""
        self._placed: list[Placed] = []
        self._num_echoed = 0
        self._finish_reason: FinishReason | None = None

    def write(self, event: Event) -> list[TextChoice]:
        if isinstance(event, Echo):
            text = self._request.prompt if isinstance(self._request.prompt, str) else event.text
            placed = self._scored_text.echo(event, text)
            self._num_echoed = len(placed)
            return self._piece(text, placed)
        if isinstance(event, Delta):
            return self._piece(event.text, self._scored_text.add(event))
        if isinstance(event, Finish):
            self._finish_reason = event.reason
            # Who scores by this format counts on an entry for every token that the model chose, the end too.
            end = [Placed(event.end.spelling, len(self._text), event.end)] if event.end else []
            return self._piece("", self._scored_text.finish() + end)
        return []

    def _piece(self, text: str, placed: list[Placed]) -> list[TextChoice]:
        self._text += text
        self._placed += placed
        said_something = text or placed or self._finish_reason
        scores = self._scores and bool(placed)
        return [self._choice(text, placed, scores)] if said_something else []

    def whole(self) -> TextChoice:
        return self._choice(self._text, self._placed, self._scores)

    def likelihood(self) -> float:
        """The mean log-probability of the answer's tokens, its end included."""
        scores = [finite(one.scored.logprob) for one in self._placed[self._num_echoed :] if one.scored]
        return sum(scores) / len(scores) if scores else 0.0

    def _choice(self, text: str, placed: list[Placed], scores: bool) -> TextChoice:
        logprobs = Logprobs.of(placed) if scores else None
        return TextChoice(index=self._index, text=text, logprobs=logprobs, finish_reason=self._finish_reason)


_EXAMPLE = TextReply(
    id="cmpl-5f1c2e",
    object="text_completion",
    created=1785000000,
    model="playground/shop-demo",
    choices=[TextChoice(index=0, text=" is on its way.", logprobs=None, finish_reason="stop")],
    usage=TotalUsage(prompt_tokens=4, completion_tokens=5, total_tokens=9),
)
_ASKED = asked(
    text_to_go_on_with={
        "model": "playground/shop-demo",
        "prompt": "Your parcel",
        "max_tokens": 16,
        "temperature": 0.7,
        "top_p": 0.9,
        "n": 2,
        "stop": ["\n"],
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "logit_bias": {"50": -100},
        "echo": True,
    },
    a_prompt_to_score={
        "model": "playground/shop-demo",
        "prompt": "Your parcel is on its way.",
        "max_tokens": 0,
        "echo": True,
        "logprobs": 1,
    },
    token_ids={"model": "playground/shop-demo", "prompt": [[50, 51, 52], [60, 61]], "temperature": 0},
    a_stream={
        "model": "playground/shop-demo",
        "prompt": "Your parcel",
        "stream": True,
        "stream_options": {"include_usage": True},
    },
)
_PIECES: tuple[tuple[str, FinishReason | None], ...] = ((" is on", None), (" its way.", None), ("", "stop"))
_CHUNKS = [
    TextReply(
        id="cmpl-5f1c2e",
        object="text_completion",
        created=1785000000,
        model="playground/shop-demo",
        choices=[TextChoice(index=0, text=text, logprobs=None, finish_reason=reason)],
    )
    for text, reason in _PIECES
]


def text_router(playground: Playground) -> APIRouter:
    """`POST /text/completions`, and the same at `/v1/completions`."""
    router = APIRouter(tags=["Text completions"], route_class=JsonRoute)

    async def complete(body: TextBody, request: Request, caller: CurrentCaller) -> Any:
        """Completes raw text or token ids; no chat template is applied."""
        requests = body.requests()
        writers = [_Writer(i, one, scores=body.logprobs is not None) for i, one in enumerate(requests)]
        answers = Answers(playground, caller, requests, writers, body.num_drawn, TotalUsage.of)
        reply = partial(TextReply, id=new_id("cmpl"), object="text_completion", created=now(), model=body.model)
        if body.stream:
            return await event_stream(request, answers.chunks(reply, includes_usage(body.stream_options)))
        choices = await unless_gone(request, answers.wholes())
        return reply(choices=_best(choices, writers, body), usage=answers.usage())

    for path in ("/text/completions", "/v1/completions"):
        router.post(
            path,
            response_model=TextReply,
            response_model_exclude_unset=True,
            responses={**RUNNING, **answered(_EXAMPLE, *_CHUNKS)},
            openapi_extra=_ASKED,
        )(complete)
    return router


def _best(choices: list[TextChoice], writers: Sequence[_Writer], body: TextBody) -> list[TextChoice]:
    """The n most likely answers to each prompt, the best first; all of them in their order where no more were drawn."""
    if body.num_drawn == body.n:
        return choices
    kept: list[TextChoice] = []
    for start in range(0, len(choices), body.num_drawn):
        drawn = range(start, start + body.num_drawn)
        best = sorted(drawn, key=lambda index: writers[index].likelihood(), reverse=True)[: body.n]
        kept += [choices[index] for index in best]
    return [choice.model_copy(update={"index": index}) for index, choice in enumerate(kept)]
