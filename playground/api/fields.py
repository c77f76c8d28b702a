"""The fields that the bodies of several routes share, with their rules.

Knows JSON's types and ranges, strictly: unknown fields and wrong types are refused, and null stands for a
field that was left out. Refuses to know what a route does with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from playground.errors import broken_rule
from playground.types import MAX_MESSAGES, MAX_NEW_TOKENS, MAX_STOPS, Message, Sampling

MAX_CHOICES = 128
MAX_ANSWERS = 1024
"""So many answers may one request ask for, over all its prompts."""
MAX_BIASES = 1024
MAX_FIELDS = 64
TOKEN_ID = "^(0|[1-9][0-9]{0,9})$"
KEPT_ID = "^[0-9a-f]{32}$"
"""Of evaluations and runs. Each pattern has its words in `errors`."""


def broken(rule: str) -> PydanticCustomError:
    """For validators of a field: what the field must be."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule})


def _as_list(stop: Any) -> Any:
    if isinstance(stop, str):
        return [stop]
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        raise broken("it must be a string or a list of strings")
    return stop


def _few_biases(biases: Any) -> Any:
    """Counts them before each is looked at."""
    if isinstance(biases, dict) and len(biases) > MAX_BIASES:
        raise broken(f"at most {MAX_BIASES} are allowed")
    return biases


def _as_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise broken("it must be text: half of a surrogate pair is no character") from None
    return text


Text = Annotated[str, AfterValidator(_as_text)]
SomeText = Annotated[str, Field(min_length=1)]
Turns = Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
"""For lists of messages: the first one that is wrong is told, as there may be thousands."""
ModelId = Annotated[str, Field(min_length=1, description="The id of a base model or of a fine-tune.")]
Temperature = Annotated[float, Field(ge=0, le=2, description="0 is greedy.")]
MaxTokens = Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
TopP = Annotated[float, Field(gt=0, le=1, description="1 considers all tokens.")]
TopK = Annotated[int, Field(ge=0, description="0 is off.")]
Seed = Annotated[
    int,
    Field(ge=-(2**63), lt=2**63, description="The same seed gives the same answer; choice i uses seed + i."),
]
Stop = Annotated[
    list[SomeText],
    Field(max_length=MAX_STOPS, description="The answer ends before the first of these."),
    BeforeValidator(_as_list, json_schema_input_type=SomeText | Annotated[list[SomeText], Field(max_length=MAX_STOPS)]),
]
Penalty = Annotated[float, Field(ge=-2, le=2, description="Over the generated tokens only.")]
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern=TOKEN_ID)], Annotated[float, Field(ge=-100, le=100)]],
    Field(
        max_length=MAX_BIASES,
        description="Token ids as strings, and what is added to their logits.",
        json_schema_extra={"additionalProperties": False},
    ),
    BeforeValidator(_few_biases),
]
Count = Annotated[int, Field(ge=1, le=MAX_CHOICES)]
Strength = Annotated[
    float,
    Field(ge=-4, le=4, description="How much of a fine-tune's LoRA is applied: 0 is the base, 1 as trained."),
]
Thinking = Annotated[bool, Field(description="Lets a model that can think do so before it answers.")]
User = Annotated[Text, Field(description="Accepted for clients that send it; nothing is done with it.")]


def _document_null(schema: dict[str, Any]) -> None:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        if name not in required:
            schema["properties"][name] = _or_null(field)


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    about = {key: field.pop(key) for key in ("title", "description", "default", "examples") if key in field}
    choices = field.get("anyOf", [field])
    return {"anyOf": [*(one for one in choices if one != {"type": "null"}), {"type": "null"}], **about}


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra=_document_null)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        # Each field that is wrong is told, and there may be a million.
        if len(values) > MAX_FIELDS:
            raise broken(f"it must have at most {MAX_FIELDS} fields")
        return {k: v for k, v in values.items() if v is not None}


class TurnBody(Body):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: Text

    def message(self) -> Message:
        """The engine's words for it."""
        return Message(self.role, self.content)


class SamplingFields(Body):
    """How tokens are chosen."""

    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    top_k: TopK = 0
    seed: Seed | None = None
    stop: Stop = []
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: LogitBias = {}

    def sampling(self, max_tokens: int, logprobs: int | None = None) -> Sampling:
        """The engine's words for these fields."""
        shared = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")
        return Sampling(
            max_tokens=max_tokens,
            stop=tuple(self.stop),
            logit_bias={int(token_id): bias for token_id, bias in self.logit_bias.items()},
            logprobs=logprobs,
            **{name: getattr(self, name) for name in shared},
        )


class SamplingBody(SamplingFields):
    """A model, and how its tokens are chosen."""

    model: ModelId
    strength: Strength = 1.0
    stream: bool = False


class StreamOptions(Body):
    """What a stream brings along."""

    include_usage: Annotated[bool, Field(description="A last chunk with no choices has the totals.")] = False


def includes_usage(options: StreamOptions | None) -> bool:
    """Whether a stream is to end with its usage."""
    return options is not None and options.include_usage


def require_few(param: str, num_answers: int) -> None:
    """Raises `InvalidRequest` for a request that asks for more answers than one may."""
    if num_answers > MAX_ANSWERS:
        raise broken_rule(param, num_answers, f"prompts times answers must be at most {MAX_ANSWERS}")


def require_streaming(options: StreamOptions | None, stream: bool) -> None:
    """Raises `InvalidRequest` for options of a stream that was not asked for."""
    if options is not None and not stream:
        raise broken_rule("stream_options", options.model_dump(), "it is only for stream: true")
