"""Messages into the exact text and token ids that a model sees.

Knows chat templates and their quirks; takes a tokenizer as it is and imports none. What it returns is
also what the inspector shows: there is no second rendering.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2.exceptions import TemplateRuntimeError, TemplateSyntaxError

from playground.errors import InvalidRequest, ModelLoadFailed, broken_rule
from playground.text import ThinkingMarks, marks_of
from playground.types import GenerationRequest, Message

READ_AT_ONCE = 100_000
"""So many characters are tokenized, and counted exactly, whatever the context: it takes tens of milliseconds."""
CHARACTERS_PER_TOKEN = 8
"""So are so many for each token that the context holds; few texts have more."""

# Templates are programs: they raise jinja2's own errors, or whatever a filter or an attribute fails with.
_REFUSALS = (TemplateRuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, ZeroDivisionError)


class Tokenizer(Protocol):
    """The few things asked of a tokenizer (transformers' fast ones have them)."""

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...
    def __call__(self, text: str, **kwargs: Any) -> Any: ...
    def get_vocab(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is given. `text` is None where token ids came in; `thinking` says that the answer begins
    inside the model's thinking; `marks` fence it, None where the template knows no thinking; `chat` is False
    for raw text, which an answer continues.
    """

    token_ids: tuple[int, ...]
    text: str | None
    thinking: bool = False
    marks: ThinkingMarks | None = None
    chat: bool = False


def encode(tokenizer: Tokenizer, request: GenerationRequest, context_length: int, chat_template: str | None) -> Prompt:
    """The prompt of a request; raises `InvalidRequest` where it is far too long, or the model cannot take it.

    `chat_template` is the one to use, None for a model that has none and so completes raw text.
    """
    read = _Reading(tokenizer, context_length, "messages" if request.messages else "prompt")
    if len(request.messages) > context_length:
        # Each takes a token at least, and templates take their time over thousands.
        raise read.too_long(f"{len(request.messages)} messages are")
    prompt = _chat(read, request, chat_template) if request.messages else _raw(read, request)
    if not prompt.token_ids:
        raise broken_rule(read.param, "", "it must give at least one token")
    return prompt


def check_room(prompt: Prompt, request: GenerationRequest, context_length: int) -> None:
    """Raises `InvalidRequest` where prompt and continuation leave no room for an answer, if one is asked for."""
    num_tokens = len(prompt.token_ids) + len(request.continuation)
    if num_tokens >= context_length + (request.sampling.max_tokens == 0):
        raise _too_long("messages" if request.messages else "prompt", f"{num_tokens} tokens are", context_length)


def _too_long(param: str, what: str, context_length: int) -> InvalidRequest:
    return InvalidRequest(
        f"{param}: {what} too many: the model's context holds {context_length} tokens, the answer included; "
        "shorten the conversation",
        param=param,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """A text becomes tokens here, for a context and in the name of the request's field `param`."""

    tokenizer: Tokenizer
    context_length: int
    param: str

    def token_ids(self, text: str, **settings: bool) -> tuple[int, ...]:
        """All of the text's tokens. Of a text that is far too long no more is read than it takes to see that:
        tokenizing megabytes takes seconds, and others wait."""
        end = max(READ_AT_ONCE, CHARACTERS_PER_TOKEN * self.context_length)
        while end < len(text):
            # Where a text is cut, a few of its tokens come out otherwise; a quarter of the context is far more.
            if len(self.tokenizer(text[:end], **settings)["input_ids"]) > self.context_length * 5 // 4:
                raise self.too_long(f"{len(text)} characters are far")
            end *= 2
        return tuple(self.tokenizer(text, **settings)["input_ids"])

    def too_long(self, what: str) -> InvalidRequest:
        return _too_long(self.param, what, self.context_length)


def _raw(read: _Reading, request: GenerationRequest) -> Prompt:
    if isinstance(request.prompt, str):
        return Prompt(read.token_ids(request.prompt), request.prompt)
    return Prompt(tuple(request.prompt or ()), None)


def _chat(read: _Reading, request: GenerationRequest, chat_template: str | None) -> Prompt:
    if chat_template is None:
        return _completion(read, request)
    tokenizer = read.tokenizer
    text = render(tokenizer, request.messages, chat_template, thinking=request.thinking)
    marks = _usable(marks_of(chat_template), tokenizer)
    # Only what the template writes to begin the answer counts: people write such marks as well. (A template
    # that writes something else there altogether leaves all of its text to look at.)
    asked = render(tokenizer, request.messages, chat_template, thinking=request.thinking, begin_answer=False)
    added = text.removeprefix(asked)
    thinking = marks is not None and added.rfind(marks.open) > added.rfind(marks.close)
    # The template has written the special tokens already.
    return Prompt(read.token_ids(text, add_special_tokens=False), text, thinking, marks, chat=True)


def _usable(marks: ThinkingMarks | None, tokenizer: Tokenizer) -> ThinkingMarks | None:
    """Marks that are tokens of this model; others could not be told from what somebody wrote."""
    if marks is None:
        return None
    vocabulary = tokenizer.get_vocab()
    return marks if marks.open in vocabulary and marks.close in vocabulary else None


def _completion(read: _Reading, request: GenerationRequest) -> Prompt:
    """A model without a template completes one text and knows no roles."""
    if len(request.messages) != 1 or request.messages[0].role != "user":
        raise InvalidRequest(
            "messages: this model has no chat template, so it knows no system prompt and no earlier turns; "
            "send one user message, which it continues as raw text (or give its entry a chat_template)",
            param="messages",
        )
    text = request.messages[0].content
    return Prompt(read.token_ids(text), text)


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    chat_template: str,
    *,
    thinking: bool,
    begin_answer: bool = True,
) -> str:
    """The template's text, with `begin_answer` up to where the model goes on.

    Raises `InvalidRequest` where the template refuses the messages.
    """
    conversation = [{"role": message.role, "content": message.content} for message in messages]
    # A conversation that ends in an assistant's turn is one to be continued, not answered.
    continued = messages[-1].role == "assistant"
    try:
        return tokenizer.apply_chat_template(
            conversation,
            chat_template=chat_template,
            tokenize=False,
            add_generation_prompt=begin_answer and not continued,
            continue_final_message=continued,
            enable_thinking=thinking,
        )
    except _REFUSALS as error:
        raise InvalidRequest(f"messages: the model's chat template refuses them: {error}", param="messages") from error


def check_template(tokenizer: Tokenizer, model_id: str, chat_template: str | None) -> None:
    """Raises `ModelLoadFailed` for a template that is no valid Jinja: then no messages are at fault."""
    if chat_template is None:
        return
    try:
        with suppress(*_REFUSALS):
            turns = [{"role": "user", "content": "x"}]
            tokenizer.apply_chat_template(turns, chat_template=chat_template, tokenize=False)
    except TemplateSyntaxError as error:
        raise ModelLoadFailed(
            f"{model_id}: its chat_template is broken in line {error.lineno}: {error.message}"
        ) from error
