"""What can be shown of one model: its exact prompt, how it scores an answer, its adapter, and whether a proof holds.

Knows the service's questions and these routes' format, whose replies are wrapped in `data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field

from playground.api.calling import CurrentCaller
from playground.api.documenting import QUESTION, RUNNING, answered, asked
from playground.api.errors import renamed
from playground.api.fields import Body, ModelId, SomeText, Strength, Text, Thinking, TurnBody, Turns, broken
from playground.api.json_bodies import JsonRoute
from playground.api.model_routes import ModelIdPath
from playground.api.scored_text import finite
from playground.api.sse import unless_gone
from playground.comparison import perplexity
from playground.errors import InternalError, InvalidRequest, broken_rule
from playground.evidence import AdapterDetails, PromptToken, Proof, Verdict
from playground.service import Playground
from playground.types import MAX_LOGPROBS, MAX_PROMPT_TOKENS, Caller, GenerationRequest, Sampling, TokenLogprob

TokenId = Annotated[int, Field(ge=0)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_TOKENS, fail_fast=True)]
"""The first one that is wrong is told, as there may be a million."""
SCORING = Sampling(max_tokens=0, temperature=0)
"""No word of an answer is wanted, so that a prompt may fill the context."""


def _as_prompt(prompt: Any) -> Any:
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(type(one) is int for one in prompt):
        return tuple(prompt)
    raise broken("it must be a string or a list of token ids, not empty")


class AskedBody(Body):
    """A model and what it is asked: messages, or raw text or token ids."""

    model: ModelId
    messages: Annotated[list[TurnBody] | None, Turns] = None
    prompt: Annotated[Any, BeforeValidator(_as_prompt, json_schema_input_type=SomeText | TokenIds)] = None
    thinking: Thinking = False

    def request(self, **more: Any) -> GenerationRequest:
        """The engine's words for it; raises `InvalidRequest` for fields that do not go together."""
        if self.thinking and self.messages is None:
            raise broken_rule("thinking", True, "it is only for messages")
        turns = tuple(turn.message() for turn in self.messages or ())
        return GenerationRequest(self.model, turns, prompt=self.prompt, thinking=self.thinking, **more)


class TokenizedToken(BaseModel):
    """A token by itself; `special` ones are the template's own."""

    id: int
    text: str
    special: bool


class Tokenized(BaseModel):
    """What the model is really given. `text` is null for token ids; `thinking` says that the answer begins inside the
    model's thinking; models of one `tokenizer_hash` cut text alike."""

    text: str | None
    tokens: list[TokenizedToken]
    thinking: bool
    tokenizer_hash: str


class TokenizedReply(BaseModel):
    """The wrapped prompt."""

    data: Tokenized


class ScoreBody(AskedBody):
    """An answer to be scored: its token ids, or its text, which is then cut into tokens by itself."""

    completion: SomeText | None = None
    completion_ids: TokenIds | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS, description="So many alternatives a token.")] = 5
    strength: Strength = 1.0


class Alternative(BaseModel):
    """A token that was possible, and its natural log-probability."""

    id: int
    text: str
    logprob: float


class ScoredToken(Alternative):
    """A token of the answer. `text` is what it adds to the answer: all of them join to it."""

    top_logprobs: list[Alternative]


class Scored(BaseModel):
    """The answer's tokens, their mean natural log-probability and the perplexity that it means."""

    tokens: list[ScoredToken]
    mean_logprob: float
    perplexity: float


class ScoredReply(BaseModel):
    """The wrapped scores."""

    data: Scored


class Change(BaseModel):
    """How much one weight is changed: Frobenius norms at strength 1, and their ratio."""

    module: str
    layer: int | None
    kind: str
    change: float
    weight: float
    ratio: float


class Adapter(BaseModel):
    """A fine-tune's adapter. `fixed_strength` is null where any strength is possible, else why only 1 is."""

    hash: str
    kind: str
    ranks: list[int]
    alphas: list[float]
    targets: list[str]
    parameters: int
    size_bytes: int
    trained_on: str | None
    trained_on_revision: str | None
    fixed_strength: str | None
    changes: list[Change]


class AdapterReply(BaseModel):
    """The wrapped adapter."""

    data: Adapter


class MergeFidelity(BaseModel):
    """The adapter by row against one way to merge it: the largest difference of any logit over the prompt, and after
    how many of `num_tokens` greedy tokens the answers part, null where they do not."""

    way: str
    max_difference: float
    parts_after: int | None
    num_tokens: int


class FidelityReply(BaseModel):
    """The wrapped findings."""

    data: list[MergeFidelity]


class FirstToken(Body):
    """One of the likeliest first tokens of an answer."""

    id: TokenId
    logprob: float


class ProofBody(Body):
    """What gave an answer. `first` are the best tokens after the prompt by that answer's own logits; `dtype` is what
    the base's weights are kept in."""

    base: Text
    revision: Text | None = None
    base_hash: Text | None = None
    tokenizer_hash: Text
    adapter: Text | None = None
    adapter_hash: Text | None = None
    strength: Strength
    first: Annotated[list[FirstToken], Field(min_length=1, max_length=100)]
    dtype: Text | None = None

    @classmethod
    def of(cls, proof: Proof) -> ProofBody:
        names = ("base", "revision", "base_hash", "tokenizer_hash", "adapter", "adapter_hash", "strength", "dtype")
        first = [FirstToken(id=token_id, logprob=finite(logprob)) for token_id, logprob in proof.first]
        return cls(**{name: getattr(proof, name) for name in names}, first=first)

    def proof(self) -> Proof:
        values = {**dict(self), "first": tuple((one.id, one.logprob) for one in self.first)}
        return Proof(**values)


class CheckBody(AskedBody):
    """An answer's question, and the proof that came with the answer."""

    proof: ProofBody


class Finding(BaseModel):
    """One check: `ok` is null where it could not be told."""

    check: Literal["base", "adapter", "side"]
    ok: bool | None
    finding: str


class CheckReply(BaseModel):
    """The wrapped findings."""

    data: list[Finding]


def insight_router(playground: Playground) -> APIRouter:
    """`POST tokenize`, `score`, `fidelity`, `check` and `GET models/…/adapter` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground", tags=["Playground: look closer"], route_class=JsonRoute)
    shared: dict[str, Any] = {"response_model_exclude_unset": True}

    @router.post("/tokenize", responses={**RUNNING, **answered(_TOKENIZED)}, openapi_extra=_ASKED, **shared)
    async def tokenize(body: AskedBody, request: Request, caller: CurrentCaller) -> TokenizedReply:
        """The exact text and tokens that a model is given for a question."""
        found = await unless_gone(request, playground.render(body.request(sampling=SCORING), caller))
        tokens = [TokenizedToken(id=one.id, text=one.text, special=one.special) for one in found.tokens]
        return TokenizedReply(
            data=Tokenized(text=found.text, tokens=tokens, thinking=found.thinking, tokenizer_hash=found.tokenizer_hash)
        )

    @router.post("/score", responses={**RUNNING, **answered(_SCORED)}, openapi_extra=_SCORE, **shared)
    async def score(body: ScoreBody, request: Request, caller: CurrentCaller) -> ScoredReply:
        """How likely a model finds an answer, token by token."""
        return await unless_gone(request, _scored(playground, body, caller))

    @router.post("/fidelity", responses={**RUNNING, **answered(_FIDELITY)}, openapi_extra=_TUNE_ASKED, **shared)
    async def fidelity(body: AskedBody, request: Request, caller: CurrentCaller) -> FidelityReply:
        """A fine-tune by row against merged copies of it. Makes the copies, so it takes time and memory."""
        found = await unless_gone(request, playground.fidelity(body.request(), caller))
        return FidelityReply(data=[MergeFidelity.model_validate(one, from_attributes=True) for one in found])

    @router.post("/check", responses={**RUNNING, **answered(_CHECKED)}, openapi_extra=_CHECK, **shared)
    async def check(body: CheckBody, request: Request, caller: CurrentCaller) -> CheckReply:
        """Holds the proof of an answer against the weights and files as they are now."""
        found = await unless_gone(request, _checked(playground, body, caller))
        return CheckReply(data=[Finding.model_validate(one, from_attributes=True) for one in found])

    @router.get("/models/{model_id:path}/adapter", responses={**RUNNING, **answered(_ADAPTER)}, **shared)
    async def adapter(model_id: ModelIdPath, request: Request, caller: CurrentCaller) -> AdapterReply:
        """A fine-tune's adapter, and where its change lies. Loads the model where it is not loaded."""
        return AdapterReply(data=_adapter(await unless_gone(request, playground.describe(model_id, caller))))

    return router


async def _checked(playground: Playground, body: CheckBody, caller: Caller) -> Sequence[Verdict]:
    proof = body.proof.proof()
    asked = body.request(sampling=SCORING, strength=proof.strength)
    card = playground.status(body.model, caller).card
    if proof.base != (card.base_model or card.id):
        raise broken_rule("proof.base", proof.base, f"it must be {card.base_model or card.id}, as {card.id} is asked")
    try:
        return await playground.check(asked, proof, caller)
    except InvalidRequest as error:
        raise renamed(error, strength="proof.strength") from None


async def _scored(playground: Playground, body: ScoreBody, caller: Caller) -> ScoredReply:
    ids = await _completion_ids(playground, body, caller)
    sampling = replace(SCORING, logprobs=body.top_logprobs)
    asked = body.request(strength=body.strength, echo=True, continuation=ids, sampling=sampling)
    name = "completion" if body.completion_ids is None else "completion_ids"
    try:
        echo = (await playground.complete(asked, caller)).echo
    except InvalidRequest as error:
        if error.param in ("messages", "prompt"):
            # Raises what is wrong with the prompt itself; where nothing is, the answer does not fit behind it.
            await playground.render(body.request(sampling=SCORING), caller)
        raise renamed(error, messages=name, prompt=name, continuation=name) from None
    if echo is None:
        raise InternalError("the answer came back without its scores")
    if body.completion is not None and "".join(echo.pieces) != body.completion:
        raise broken_rule("completion", body.completion, _OTHERWISE)
    tokens = [_scored_token(one) for one in echo.logprobs if one is not None]
    mean = sum(one.logprob for one in tokens) / len(tokens)
    return ScoredReply(data=Scored(tokens=tokens, mean_logprob=mean, perplexity=perplexity(mean)))


async def _completion_ids(playground: Playground, body: ScoreBody, caller: Caller) -> tuple[int, ...]:
    """The answer's tokens; of a text, those that the tokenizer makes of it alone, without what it puts before."""
    if body.completion is None and body.completion_ids is None:
        raise InvalidRequest("completion: it is required, or completion_ids in its place", param="completion")
    if body.completion is not None and body.completion_ids is not None:
        raise broken_rule("completion", body.completion, "give either completion or completion_ids, not both")
    if body.completion_ids is not None:
        return tuple(body.completion_ids)
    texts = (body.completion or "", "a")
    requests = [GenerationRequest(body.model, prompt=text, sampling=SCORING) for text in texts]
    try:
        found, plain = [await playground.render(request, caller) for request in requests]
    except InvalidRequest as error:
        raise renamed(error, prompt="completion") from None
    # A special token of the text's own is no matter of the tokenizer's: only what stands before any text goes.
    ids = found.token_ids[_num_special(plain.tokens) :]
    if not ids:
        raise broken_rule("completion", body.completion, _OTHERWISE)
    return ids


def _num_special(tokens: Sequence[PromptToken]) -> int:
    """How many of the first tokens are special."""
    return len(list(takewhile(lambda token: token.special, tokens)))


def _scored_token(one: TokenLogprob) -> ScoredToken:
    top = [Alternative(id=other.known_id, text=other.spelling, logprob=finite(other.logprob)) for other in one.top]
    return ScoredToken(id=one.known_id, text=one.piece, logprob=finite(one.logprob), top_logprobs=top)


def _adapter(details: AdapterDetails) -> Adapter:
    names = ("hash", "kind", "trained_on", "trained_on_revision")
    return Adapter(
        **{name: getattr(details, name) for name in names},
        ranks=list(details.ranks),
        alphas=list(details.alphas),
        targets=list(details.targets),
        parameters=details.num_parameters,
        size_bytes=details.num_bytes,
        fixed_strength=details.scalable,
        changes=[Change.model_validate(change, from_attributes=True) for change in details.changes],
    )


_OTHERWISE = "this model's tokens for it do not read as it is written; send its tokens as completion_ids"
_HASH = "8005da46adda903634fc7d95613c01a8a08d75419a0e5552bad93c80e1de7cbc"
_DEMO, _TUNE = "playground/shop-demo", "playground/shop-json"
_TOKENIZED = TokenizedReply(
    data=Tokenized(
        text="<|bos|><|user|>Hi<|end|><|assistant|>",
        tokens=[TokenizedToken(id=1, text="<|bos|>", special=True), TokenizedToken(id=45, text="Hi", special=False)],
        thinking=False,
        tokenizer_hash=_HASH,
    )
)
_SCORED = ScoredReply(
    data=Scored(
        tokens=[
            ScoredToken(id=46, text="I", logprob=-1.24, top_logprobs=[Alternative(id=46, text="I", logprob=-1.24)])
        ],
        mean_logprob=-1.24,
        perplexity=3.46,
    )
)
_FIDELITY = FidelityReply(
    data=[MergeFidelity(way="merged in float32", max_difference=9.5e-06, parts_after=None, num_tokens=32)]
)
_CHECKED = CheckReply(
    data=[Finding(check="side", ok=True, finding="Its first logits are those of a plain forward of the base.")]
)
_ADAPTER = AdapterReply(
    data=Adapter(
        hash=_HASH,
        kind="LoRA",
        ranks=[16],
        alphas=[32.0],
        targets=["q_proj"],
        parameters=221184,
        size_bytes=449664,
        trained_on=_DEMO,
        trained_on_revision=None,
        fixed_strength=None,
        changes=[
            Change(
                module="model.layers.0.self_attn.q_proj", layer=0, kind="q_proj", change=1.7, weight=11.2, ratio=0.15
            )
        ],
    )
)
_ASKED = asked(a_question={"model": _DEMO, "messages": QUESTION}, raw_text={"model": _DEMO, "prompt": "My parcel"})
_TUNE_ASKED = asked(a_question={"model": _TUNE, "messages": QUESTION})
_SCORE = asked(
    an_answer_by_its_text={"model": _DEMO, "messages": QUESTION, "completion": "It is on its way."},
    an_answer_by_its_tokens={"model": _TUNE, "messages": QUESTION, "completion_ids": [46, 47], "strength": 0.5},
)
_CHECK = asked(
    a_base_s_answer={
        "model": _DEMO,
        "messages": QUESTION,
        "proof": {
            "base": _DEMO,
            "base_hash": _HASH,
            "tokenizer_hash": _HASH,
            "strength": 1.0,
            "first": [{"id": 46, "logprob": -1.24}],
        },
    }
)
