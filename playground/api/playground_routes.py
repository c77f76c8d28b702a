"""The playground's own routes: the models there are, and one answer of one of them.

Knows the vendor's two routes, whose replies are wrapped in `data`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from playground.api.calling import CurrentCaller
from playground.api.documenting import CONVERSATION, LISTING, QUESTION, RUNNING, answered, asked
from playground.api.fields import MaxTokens, SamplingBody, Temperature, Thinking, TurnBody, Turns
from playground.api.insight_routes import FirstToken, ProofBody
from playground.api.json_bodies import JsonRoute
from playground.api.sse import event_stream, unless_gone
from playground.service import Playground
from playground.types import (
    Answer,
    Caller,
    Delta,
    Finish,
    FinishReason,
    GenerationRequest,
    ModelState,
    ModelStatus,
    StepperName,
    View,
)


class ListedModel(BaseModel):
    """A model. `status` is where its weights are: on the Hub, on this disk, loading, ready in memory; or failed,
    for `reason`. `size_bytes` is on disk, or to download. `dtype` is what its entry asks for, such as int8; without it
    the weights stay as they are in the files. `run` and `step` tell a training run's checkpoints. `closed` is there
    where another server answers, and says what cannot be had of it."""

    id: str
    name: str
    type: Literal["base", "fine-tuned"]
    base_model: str | None = None
    context_length: int | None = None
    status: ModelState
    description: str = ""
    reason: str | None = None
    closed: str | None = None
    size_bytes: int | None = None
    dtype: str | None = None
    owner: str | None = None
    run: str | None = None
    step: int | None = None


class Inventory(BaseModel):
    """Base models, and the fine-tunes that the caller may see."""

    base_models: list[ListedModel]
    fine_tuned_models: list[ListedModel]


class InventoryReply(BaseModel):
    """The wrapped inventory."""

    data: Inventory


class CompletionBody(SamplingBody):
    """What one model is asked."""

    messages: Annotated[list[TurnBody], Turns]
    temperature: Temperature = 0.7
    max_tokens: MaxTokens = 1024
    thinking: Thinking = False

    def request(self) -> GenerationRequest:
        """The engine's words for it."""
        return GenerationRequest(
            self.model,
            tuple(turn.message() for turn in self.messages),
            sampling=self.sampling(self.max_tokens),
            thinking=self.thinking,
            strength=self.strength,
        )


class CompletionUsage(BaseModel):
    """Tokens that went in and came out."""

    prompt_tokens: int
    completion_tokens: int


class CompletionTiming(BaseModel):
    """Where the milliseconds went, as the page shows it: waiting for the weights, for a free place, for the first
    token (from the arrival on), and from the first token to the last."""

    load_ms: float
    queued_ms: float
    first_token_ms: float | None
    decode_ms: float


class Completion(BaseModel):
    """An answer. `view` is what gave it: the base, the adapter attached to it, or a merged copy; `seed` asks for
    it again, with the same tokens for certain where `exact_seed`; `notes` are sentences to know; `proof` can be held
    against the weights by the route `check`; `stepper` is what computed it in this server, by compiled kernels or by
    transformers' modules.

    In a stream `content` and `thinking` are what is new, and all else comes with the last piece.
    """

    content: str
    thinking: str = ""
    latency_ms: float | None = None
    usage: CompletionUsage | None = None
    finish_reason: FinishReason | None = None
    seed: int | None = None
    exact_seed: bool | None = None
    view: View | None = None
    stepper: StepperName | None = None
    timing: CompletionTiming | None = None
    notes: list[str] | None = None
    proof: ProofBody | None = None


class CompletionReply(BaseModel):
    """The wrapped answer."""

    data: Completion


def listed(model: ModelStatus) -> ListedModel:
    """A model as the lists tell it."""
    card = model.card
    return ListedModel(
        id=card.id,
        name=card.name,
        type=card.type,
        status=model.state,
        description=card.description,
        context_length=card.context_length,
        **_given(
            base_model=card.base_model,
            reason=model.reason or None,
            closed=model.closed or None,
            size_bytes=model.size_bytes,
            dtype=card.dtype,
            owner=card.owner,
            run=card.run,
            step=card.step,
        ),
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def completion_of(text: str, thinking: str, finish: Finish) -> Completion:
    """An answer, or the last piece of one, as the playground's routes write it."""
    usage, timing, proof = finish.usage, finish.timing, finish.proof
    return Completion(
        content=text,
        **_given(
            thinking=thinking or None, seed=finish.seed, proof=proof and ProofBody.of(proof), stepper=finish.stepper
        ),
        latency_ms=round(timing.total_ms, 1),
        usage=CompletionUsage(prompt_tokens=usage.num_prompt_tokens, completion_tokens=usage.num_completion_tokens),
        finish_reason=finish.reason,
        exact_seed=finish.exact_seed,
        view=finish.view,
        timing=CompletionTiming(
            load_ms=round(timing.load_ms, 1),
            queued_ms=round(timing.queued_ms, 1),
            first_token_ms=None if timing.first_token_ms is None else round(timing.first_token_ms, 1),
            decode_ms=round(timing.decode_ms, 1),
        ),
        notes=list(finish.notes),
    )


def _whole(answer: Answer) -> CompletionReply:
    return CompletionReply(data=completion_of(answer.text, answer.thinking, answer.finish))


async def _pieces(
    playground: Playground, request: GenerationRequest, caller: Caller
) -> AsyncGenerator[CompletionReply, None]:
    async with aclosing(playground.stream(request, caller)) as events:
        async for event in events:
            if isinstance(event, Delta) and event.text:
                new = Completion(content="", thinking=event.text) if event.thinking else Completion(content=event.text)
                yield CompletionReply(data=new)
            elif isinstance(event, Finish):
                yield CompletionReply(data=completion_of("", "", event))


_MODELS = InventoryReply(
    data=Inventory(
        base_models=[
            ListedModel(
                id="playground/shop-demo",
                name="Shop demo",
                type="base",
                context_length=512,
                status="ready",
                description="A very small model of a web shop's help desk.",
            )
        ],
        fine_tuned_models=[
            ListedModel(
                id="playground/shop-json",
                name="shop-json",
                type="fine-tuned",
                base_model="playground/shop-demo",
                context_length=512,
                status="disk",
                description="Turns a customer's message into a JSON ticket.",
            )
        ],
    )
)
EXAMPLE = Completion(
    content="Your parcel is on its way.",
    latency_ms=212.4,
    usage=CompletionUsage(prompt_tokens=14, completion_tokens=7),
    finish_reason="stop",
    seed=48213,
    exact_seed=True,
    view="base",
    stepper="kernels",
    timing=CompletionTiming(load_ms=0.1, queued_ms=0.2, first_token_ms=31.0, decode_ms=180.2),
    notes=[],
    proof=ProofBody(
        base="playground/shop-demo",
        revision=None,
        base_hash="5d2c9c0fa4b6",
        tokenizer_hash="0b9e3a71c8d2",
        adapter=None,
        adapter_hash=None,
        strength=1.0,
        first=[FirstToken(id=58, logprob=-0.21)],
        dtype="float32",
    ),
)
"""For the documentation: an answer, also as one side of a comparison."""
_ASKED = asked(
    a_system_prompt={
        "model": "playground/shop-demo",
        "messages": CONVERSATION,
        "temperature": 0.7,
        "max_tokens": 1024,
    },
    a_fine_tune_at_half_its_strength={
        "model": "playground/shop-json",
        "messages": QUESTION,
        "temperature": 0,
        "strength": 0.5,
    },
    a_stream={
        "model": "playground/shop-demo",
        "messages": QUESTION,
        "stream": True,
    },
)
_CHUNKS = [
    CompletionReply(data=Completion(content="Your parcel")),
    CompletionReply(data=Completion(content=" is on its way.")),
    CompletionReply(data=EXAMPLE.model_copy(update={"content": ""})),
]


def playground_router(playground: Playground) -> APIRouter:
    """`GET models` and `POST completions` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground", tags=["Playground"], route_class=JsonRoute)

    @router.get("/models", response_model_exclude_unset=True, responses={**LISTING, **answered(_MODELS)})
    def list_models(caller: CurrentCaller) -> InventoryReply:
        """Base models, and the fine-tunes that the caller may see."""
        models = playground.models(caller)
        return InventoryReply(
            data=Inventory(
                base_models=[listed(model) for model in models if model.card.type == "base"],
                fine_tuned_models=[listed(model) for model in models if model.card.type == "fine-tuned"],
            )
        )

    @router.post(
        "/completions",
        response_model=CompletionReply,
        response_model_exclude_unset=True,
        responses={**RUNNING, **answered(CompletionReply(data=EXAMPLE), *_CHUNKS)},
        openapi_extra=_ASKED,
    )
    async def complete_messages(body: CompletionBody, request: Request, caller: CurrentCaller) -> Any:
        """One model's answer to a conversation."""
        asked = body.request()
        if body.stream:
            return await event_stream(request, _pieces(playground, asked, caller))
        return _whole(await unless_gone(request, playground.complete(asked, caller)))

    return router
