"""Prompts that are far too long: refused at once, by their number of characters, and only those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from playground import prompts
from playground.errors import InvalidRequest
from playground.prompts import READ_AT_ONCE, Prompt, check_room, encode
from playground.types import GenerationRequest, Message, Sampling

CONTEXT = 64
DEMO = Path(__file__).parent.parent / "demo" / "base"


class Counting:
    """The demo's tokenizer, counting what it is given to read."""

    def __init__(self) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(DEMO)
        self.num_read = 0

    def __call__(self, text: str, **settings: Any) -> Any:
        self.num_read += len(text)
        return self._tokenizer(text, **settings)

    def apply_chat_template(self, conversation: Any, **settings: Any) -> Any:
        return self._tokenizer.apply_chat_template(conversation, **settings)

    def get_vocab(self) -> dict[str, int]:
        return self._tokenizer.get_vocab()

    def decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids)


def ask(prompt: str | None = None, content: str = "", max_tokens: int = 8) -> GenerationRequest:
    messages = () if prompt is not None else (Message("user", content),)
    return GenerationRequest("demo", messages, prompt=prompt, sampling=Sampling(max_tokens=max_tokens))


def made(tokenizer: Counting, request: GenerationRequest) -> Prompt:
    prompt = encode(tokenizer, request, CONTEXT, None)
    check_room(prompt, request, CONTEXT)
    return prompt


TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    "text", ["word " * 200_000, "a" * 1_000_000, "." + " " * 999_999, "日本" * 400_000, "\n" * 999_998 + "x"]
)
@pytest.mark.parametrize("param", ["prompt", "messages", "raw"])
def test_a_text_that_cannot_fit_is_not_read_to_its_end(text: str, param: str) -> None:
    tokenizer = Counting()
    request = ask(text) if param == "prompt" else ask(content=text)
    with pytest.raises(InvalidRequest, match=f"{len(text)} characters.*context holds {CONTEXT}") as refused:
        encode(tokenizer, request, CONTEXT, TEMPLATE if param == "messages" else None)
    assert refused.value.param == ("prompt" if param == "prompt" else "messages")
    assert tokenizer.num_read <= READ_AT_ONCE


def test_a_text_of_long_tokens_fits_however_many_characters_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "READ_AT_ONCE", 0)
    tokenizer = Counting()
    token_id = max(tokenizer.get_vocab().values(), key=lambda one: len(tokenizer.decode([one])))
    text = tokenizer.decode([token_id]) * CONTEXT
    assert len(text) > 10 * CONTEXT
    whole = tokenizer(text)["input_ids"]
    assert len(whole) == CONTEXT
    assert made(tokenizer, ask(text, max_tokens=0)).token_ids == tuple(whole)
    with pytest.raises(InvalidRequest, match=f"{CONTEXT} tokens are too many"):
        made(tokenizer, ask(text))


@pytest.mark.parametrize("num_tokens", [CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT, 8 * CONTEXT])
def test_near_the_limit_every_token_counts(num_tokens: int) -> None:
    tokenizer = Counting()
    text = "1" * num_tokens
    if num_tokens < CONTEXT:
        assert len(made(tokenizer, ask(text)).token_ids) == num_tokens
    else:
        with pytest.raises(InvalidRequest, match=f"prompt: {num_tokens} tokens are too many"):
            made(tokenizer, ask(text))


def test_thousands_of_messages_do_not_reach_the_template() -> None:
    turns = (Message("user", "x"), Message("assistant", "y")) * CONTEXT + (Message("user", "z"),)
    request = GenerationRequest("demo", turns)
    with pytest.raises(InvalidRequest, match=f"{len(turns)} messages are too many") as refused:
        encode(Counting(), request, CONTEXT, "{{ raise_exception('rendered') }}")
    assert refused.value.param == "messages"
