"""`POST /v1/chat/completions`, as OpenAI's clients send it.

Knows that format alone: its messages, its scores, its stream of deltas.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field

from playground.api.calling import CurrentCaller
from playground.api.documenting import CONVERSATION, QUESTION, RUNNING, answered, asked
from playground.api.fields import (
    Body,
    Count,
    MaxTokens,
    SamplingBody,
    StreamOptions,
    Text,
    Thinking,
    Turns,
    User,
    broken,
    includes_usage,
    require_streaming,
)
from playground.api.json_bodies import JsonRoute
from playground.api.replies import Answers, TotalUsage, new_id, now
from playground.api.scored_text import Placed, ScoredText, finite
from playground.api.sse import event_stream, unless_gone
from playground.errors import broken_rule
from playground.service import Playground
from playground.types import (
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    Delta,
    Event,
    Finish,
    FinishReason,
    GenerationRequest,
    Message,
    TokenLogprob,
    Usage,
)

_BYTES = "bytes:\\x"
"""How a token is spelled that holds a part of a character."""


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


def _as_text(content: Any) -> Any:
    """A message's parts as one text; models here read nothing but text."""
    if not isinstance(content, list):
        return content
    if not all(map(_is_text_part, content)):
        raise broken('it must be a string, or a list of parts of the form {"type": "text", "text": "…"}')
    return "".join(part["text"] for part in content)


def _is_text_part(part: Any) -> bool:
    shaped = isinstance(part, dict) and part.keys() == {"type", "text"}
    return shaped and part["type"] == "text" and isinstance(part["text"], str)


class ChatMessage(Body):
    """One turn. `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Text, BeforeValidator(_as_text, json_schema_input_type=str | list[TextPart])]
    reasoning_content: Annotated[
        Text | None, Field(description="An earlier answer's thinking may come back; models are not shown it again.")
    ] = None

    def message(self) -> Message:
        """The engine's words for it."""
        return Message("system" if self.role == "developer" else self.role, self.content)


class PlainText(Body):
    """The one format that answers have."""

    type: Literal["text"]


class ChatBody(SamplingBody):
    """A conversation, and how to go on with it."""

    messages: Annotated[list[ChatMessage], Turns]
    max_tokens: Annotated[MaxTokens | None, Field(description="The older name of max_completion_tokens.")] = None
    max_completion_tokens: Annotated[
        MaxTokens | None, Field(description=f"{MAX_NEW_TOKENS} where neither is given; the context's end ends all.")
    ] = None
    n: Count = 1
    logprobs: Annotated[bool, Field(description="Each token of the answer comes with its score.")] = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS, description="So many alternatives a token.")] = 0
    stream_options: StreamOptions | None = None
    response_format: PlainText | None = None
    thinking: Thinking = False
    user: User | None = None

    def requests(self) -> list[GenerationRequest]:
        """One for every answer; raises `InvalidRequest` for fields that do not go together."""
        if self.top_logprobs and not self.logprobs:
            raise broken_rule("top_logprobs", self.top_logprobs, "it is only for logprobs: true")
        require_streaming(self.stream_options, self.stream)
        sampling = self.sampling(self._max_tokens(), self.top_logprobs if self.logprobs else None)
        messages = tuple(message.message() for message in self.messages)
        asked = GenerationRequest(
            self.model, messages, sampling=sampling, thinking=self.thinking, strength=self.strength
        )
        return [asked.drawn_by(sampling.of_choice(choice)) for choice in range(self.n)]

    def _max_tokens(self) -> int:
        older, newer = self.max_tokens, self.max_completion_tokens
        if older is not None and newer is not None and older != newer:
            raise broken_rule("max_tokens", older, f"it contradicts max_completion_tokens, which is {newer}")
        return newer or older or MAX_NEW_TOKENS


class TokenScore(BaseModel):
    """A token and its log-probability; `bytes` are UTF-8, for tokens that hold a part of a character."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenScore(TokenScore):
    """A token of the answer, and what else could have stood there."""

    top_logprobs: list[TokenScore]


class ChatLogprobs(BaseModel):
    """The scores of an answer's tokens; its thinking has none."""

    content: list[ChosenScore]


class AnswerMessage(BaseModel):
    """An answer, or in a stream what is new of it. `reasoning_content` is what a model thought before."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatDelta(BaseModel):
    """A piece of one answer; `finish_reason` is null until the last piece."""

    index: int
    delta: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class PromptDetails(BaseModel):
    """Of the prompt's tokens those that had been read before, for another answer."""

    cached_tokens: int


class ChatUsage(TotalUsage):
    """Tokens that went in, that came out, and both; of those that went in, how many were known."""

    prompt_tokens_details: PromptDetails

    @classmethod
    def of(cls, usage: Usage) -> ChatUsage:
        details = PromptDetails(cached_tokens=usage.num_reused_tokens)
        return cls(**TotalUsage.of(usage).model_dump(), prompt_tokens_details=details)


class ChatReply(BaseModel):
    """Answers."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage


class ChatChunk(BaseModel):
    """A chunk of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatDelta]
    usage: ChatUsage | None = None


def _raw(spelling: str) -> bytes:
    if spelling.startswith(_BYTES):
        return bytes.fromhex(spelling.removeprefix(_BYTES).replace("\\x", ""))
    return spelling.encode()


def _score(scored: TokenLogprob) -> dict[str, Any]:
    return {"token": scored.spelling, "logprob": finite(scored.logprob), "bytes": list(_raw(scored.spelling))}


def _scores(placed: Sequence[Placed]) -> ChatLogprobs:
    scored = [one.scored for one in placed if one.scored is not None]
    return ChatLogprobs(
        content=[ChosenScore(**_score(one), top_logprobs=[TokenScore(**_score(o)) for o in one.top]) for one in scored]
    )


class _Writer:
    """Writes one answer as choices."""

    def __init__(self, index: int, *, scores: bool) -> None:
        self._index, self._scores = index, scores
        self._scored_text = ScoredText()
        self._text = self._thinking = ""
        self._placed: list[Placed] = []
        self._finish_reason: FinishReason | None = None
        self._began = False

    def write(self, event: Event) -> list[ChatDelta]:
        if isinstance(event, Delta) and event.thinking:
            self._thinking += event.text
            return self._pieces(AnswerMessage(reasoning_content=event.text), event.text, [])
        if isinstance(event, Delta):
            self._text += event.text
            return self._pieces(AnswerMessage(content=event.text), event.text, self._scored_text.add(event))
        if isinstance(event, Finish):
            pieces = [*self._pieces(AnswerMessage(content=""), "", self._scored_text.finish()), *self._beginning()]
            self._finish_reason = event.reason
            return [*pieces, self._piece(AnswerMessage(), [])]
        return []

    def whole(self) -> ChatChoice:
        assert self._finish_reason is not None, "a stream ends with Finish or an error"
        thought = {"reasoning_content": self._thinking} if self._thinking else {}
        message = AnswerMessage(role="assistant", content=self._text, **thought)
        return ChatChoice(
            index=self._index, message=message, logprobs=self._logprobs(self._placed), finish_reason=self._finish_reason
        )

    def _pieces(self, new: AnswerMessage, text: str, placed: list[Placed]) -> list[ChatDelta]:
        self._placed += placed
        return [*self._beginning(), self._piece(new, placed)] if text or placed else []

    def _beginning(self) -> list[ChatDelta]:
        """Clients wait for a first piece that says who speaks."""
        begins, self._began = not self._began, True
        return [self._piece(AnswerMessage(role="assistant", content=""), [])] if begins else []

    def _piece(self, new: AnswerMessage, placed: list[Placed]) -> ChatDelta:
        return ChatDelta(
            index=self._index,
            delta=new,
            logprobs=self._logprobs(placed) if placed else None,
            finish_reason=self._finish_reason,
        )

    def _logprobs(self, placed: list[Placed]) -> ChatLogprobs | None:
        return _scores(placed) if self._scores else None


_ABOUT: dict[str, Any] = {"id": "chatcmpl-5f1c2e", "created": 1785000000, "model": "playground/shop-demo"}
_EXAMPLE = ChatReply(
    **_ABOUT,
    object="chat.completion",
    choices=[
        ChatChoice(
            index=0,
            message=AnswerMessage(role="assistant", content="Your parcel is on its way."),
            logprobs=None,
            finish_reason="stop",
        )
    ],
    usage=ChatUsage.of(Usage(14, 7, num_reused_tokens=14)),
)
_ASKED = asked(
    a_system_prompt={
        "model": "playground/shop-demo",
        "messages": CONVERSATION,
        "temperature": 0.7,
    },
    two_answers_with_scores={
        "model": "playground/shop-json",
        "messages": QUESTION,
        "max_completion_tokens": 16,
        "n": 2,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 2,
    },
    a_stream={
        "model": "playground/shop-demo",
        "messages": QUESTION,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
)
_PIECES: tuple[tuple[AnswerMessage, FinishReason | None], ...] = (
    (AnswerMessage(role="assistant", content=""), None),
    (AnswerMessage(content="Your parcel is on its way."), None),
    (AnswerMessage(), "stop"),
)
_CHUNKS = [
    ChatChunk(
        **_ABOUT,
        object="chat.completion.chunk",
        choices=[ChatDelta(index=0, delta=new, logprobs=None, finish_reason=reason)],
    )
    for new, reason in _PIECES
]


def chat_router(playground: Playground) -> APIRouter:
    """`POST /v1/chat/completions`."""
    router = APIRouter(tags=["Chat completions"], route_class=JsonRoute)

    @router.post(
        "/v1/chat/completions",
        response_model=ChatReply,
        response_model_exclude_unset=True,
        responses={**RUNNING, **answered(_EXAMPLE, *_CHUNKS)},
        openapi_extra=_ASKED,
    )
    async def complete_chat(body: ChatBody, request: Request, caller: CurrentCaller) -> Any:
        """Answers a conversation."""
        requests = body.requests()
        writers = [_Writer(index, scores=body.logprobs) for index in range(body.n)]
        answers = Answers(playground, caller, requests, writers, body.n, ChatUsage.of)
        about: dict[str, Any] = {"id": new_id("chatcmpl"), "created": now(), "model": body.model}
        if body.stream:
            chunk = partial(ChatChunk, object="chat.completion.chunk", **about)
            return await event_stream(request, answers.chunks(chunk, includes_usage(body.stream_options)))
        choices = await unless_gone(request, answers.wholes())
        return ChatReply(object="chat.completion", **about, choices=choices, usage=answers.usage())

    return router
