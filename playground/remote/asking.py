"""A request in the words of OpenAI's API: which route, which fields; and what no server there can be asked.

Knows requests and field names; refuses to know how they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from playground.errors import broken_rule
from playground.types import GenerationRequest, ModelCard, Sampling


class Refused(Protocol):
    """What can be learned from: a server's words on a request, and the field that they name."""

    words: str
    param: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """What a server is sent. `chat` says which route; `extra` are fields that OpenAI's API does not have."""

    chat: bool
    fields: dict[str, Any]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a model's server differs from the others, as far as its refusals have told. `newer_limit`: it wants
    max_completion_tokens; `tells_usage`: it takes stream_options; `takes_all`: it takes a top_p of 1, which it must be
    told where it can, since its own default may be another."""

    newer_limit: bool = False
    tells_usage: bool = True
    takes_all: bool = True

    def after(self, refused: Refused) -> Dialect:
        """What a refusal teaches; this very dialect where it is about something else."""
        about = f"{refused.param} {refused.words}"
        if "max_completion_tokens" in about:
            return replace(self, newer_limit=True)
        if "stream_options" in about or "include_usage" in about:
            return replace(self, tells_usage=False)
        if "top_p" in about:
            return replace(self, takes_all=False)
        return self


def call_for(card: ModelCard, request: GenerationRequest, dialect: Dialect) -> Call:
    """The request as `card`'s server is sent it; raises `InvalidRequest` for what no such server can be asked."""
    require_askable(card, request)
    chat = bool(request.messages)
    sampling = request.sampling
    limit = "max_completion_tokens" if dialect.newer_limit and chat else "max_tokens"
    fields: dict[str, Any] = {
        "model": card.name_there,
        limit: sampling.max_tokens,
        "temperature": sampling.temperature,
        **({"top_p": sampling.top_p} if sampling.top_p != 1 or dialect.takes_all else {}),
        **_unless_neutral(sampling),
        **(_chat_fields(request) if chat else _text_fields(request)),
    }
    if dialect.tells_usage:
        fields["stream_options"] = {"include_usage": True}
    extra: dict[str, Any] = {"top_k": sampling.top_k} if sampling.top_k else {}
    if chat and request.thinking:
        extra["chat_template_kwargs"] = {"enable_thinking": True}
    return Call(chat, fields, extra)


def require_askable(card: ModelCard, request: GenerationRequest) -> None:
    """Raises `InvalidRequest` for what only the embedded engine can do."""
    if request.strength != 1:
        rule = f"another server answers for {card.id}, which applies a fine-tune whole: only 1 is possible"
        raise broken_rule("strength", request.strength, rule)
    if request.continuation:
        raise broken_rule("continuation", "…", f"another server answers for {card.id}, which takes no token ids")
    if isinstance(request.prompt, tuple):
        rule = f"another server answers for {card.id}, whose token ids are not known here: send text"
        raise broken_rule("prompt", request.prompt, rule)
    if request.messages and request.sampling.max_tokens == 0:
        raise broken_rule("max_tokens", 0, f"another server answers for {card.id}, which scores no chat prompts")
    if request.messages and request.echo:
        raise broken_rule("echo", True, f"another server answers for {card.id}, and does not show what it reads")
    if card.provider is not None and not request.messages:
        raise broken_rule("prompt", request.prompt, f"a provider answers for {card.id}, which takes messages only")


def scores_prompt(request: GenerationRequest) -> bool:
    """Whether the server itself is to send the prompt back, for the scores of its tokens."""
    return request.echo and request.sampling.logprobs is not None


def _unless_neutral(sampling: Sampling) -> dict[str, Any]:
    """What changes anything: some servers refuse fields that they do not know, whatever these say."""
    given: dict[str, Any] = {}
    if sampling.seed is not None:
        given["seed"] = sampling.seed
    if sampling.stop:
        given["stop"] = list(sampling.stop)
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(sampling, name):
            given[name] = getattr(sampling, name)
    if sampling.logit_bias:
        given["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias.items()}
    return given


def _chat_fields(request: GenerationRequest) -> dict[str, Any]:
    num_top = request.sampling.logprobs
    scores = {} if num_top is None else {"logprobs": True, **({"top_logprobs": num_top} if num_top else {})}
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in request.messages], **scores}


def _text_fields(request: GenerationRequest) -> dict[str, Any]:
    num_top = request.sampling.logprobs
    return {
        "prompt": request.prompt,
        **({} if num_top is None else {"logprobs": num_top}),
        **({"echo": True} if scores_prompt(request) else {}),
    }
