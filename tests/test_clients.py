"""The clients that people already have, unchanged, against the running program: openai's SDK, LiteLLM, LangChain
and curl. None of them may call another host."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from transformers import AutoTokenizer

from tests.offline import only_this_machine
from tests.server import DEMO, JSON, LLAMA, PATIENCE, PLAIN, THINKER, TUNED, Server

QUESTION = "Where is my parcel?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHATTING = (DEMO, JSON, LLAMA, TUNED, THINKER)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with only_this_machine(monkeypatch):
        yield


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def chat(client: openai.OpenAI) -> Any:
    """The SDK's chat call; what it is sent is tried on purpose, so it is not typed."""
    return client.chat.completions.create


@pytest.fixture
def text(client: openai.OpenAI) -> Any:
    return client.completions.create


def gathered(chunks: Iterable[Any], field: str = "content") -> dict[int, str]:
    """The text of a stream by index."""
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            new = getattr(choice, "text", None) if field == "text" else getattr(choice.delta, field, None)
            texts[choice.index] = texts.get(choice.index, "") + (new or "")
    return texts


def reasons(chunks: Iterable[Any]) -> dict[int, list[str]]:
    """The finish reasons of a stream by index, in order; there must be one each, in its last chunk."""
    found: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            found.setdefault(choice.index, []).append(choice.finish_reason)
    return found


def ended_once(chunks: Iterable[Any]) -> dict[int, str]:
    """The reason of each choice, which only its last chunk may name."""
    found = reasons(chunks)
    assert all(last is not None and not any(before) for *before, last in found.values())
    return {index: last for index, (*_, last) in found.items()}


def brings_usage_last(chunks: list[Any], usage: Any) -> None:
    *pieces, last = chunks
    assert all("usage" in piece.model_fields_set and piece.usage is None for piece in pieces)
    assert last.choices == []
    assert last.usage == usage


# openai's SDK: models


def test_models_are_listed_and_retrieved_by_ids_that_hold_slashes(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    checkpoint = f"{JSON}/checkpoint-31"
    assert {*CHATTING, PLAIN, checkpoint} <= set(ids)
    for model_id in ids:
        model = client.models.retrieve(model_id)
        assert (model.id, model.object) == (model_id, "model")
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("playground/shop-demo/no-such")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


# openai's SDK: the same answer, whole and in pieces


@pytest.mark.parametrize("model", [DEMO, JSON, TUNED])
def test_a_streamed_chat_says_what_the_whole_one_says(chat: Any, model: str) -> None:
    ask = {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": 30}
    whole = chat(**ask)
    answer = whole.choices[0]
    assert (whole.object, whole.model, answer.index, answer.message.role) == ("chat.completion", model, 0, "assistant")
    assert answer.message.content
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    chunks = list(chat(stream=True, stream_options={"include_usage": True}, **ask))
    brings_usage_last(chunks, whole.usage)
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", model)}
    assert len({chunk.id for chunk in chunks}) == 1
    first, *others = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert (first.role, first.content) == ("assistant", "")
    assert not any(delta.role for delta in others)
    assert gathered(chunks) == {0: answer.message.content}
    assert ended_once(chunks) == {0: answer.finish_reason}
    plain = list(chat(stream=True, **ask))
    assert gathered(plain) == gathered(chunks)
    assert all(chunk.choices and chunk.usage is None for chunk in plain)


@pytest.mark.parametrize("model", [DEMO, JSON, PLAIN])
def test_a_streamed_text_says_what_the_whole_one_says(text: Any, model: str) -> None:
    ask = {"model": model, "prompt": "Where is", "temperature": 0}
    whole = text(**ask)
    answer = whole.choices[0]
    assert (whole.object, whole.model, answer.index) == ("text_completion", model, 0)
    assert answer.text
    assert (answer.finish_reason, whole.usage.completion_tokens) == ("length", 16)
    chunks = list(text(stream=True, stream_options={"include_usage": True}, **ask))
    brings_usage_last(chunks, whole.usage)
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("text_completion", model)}
    assert gathered(chunks, "text") == {0: answer.text}
    assert ended_once(chunks) == {0: "length"}
    assert len(chunks) > 5


def test_the_sdks_own_stream_helper_folds_to_the_whole_answer(client: openai.OpenAI) -> None:
    ask: Any = {"model": DEMO, "messages": MESSAGES, "temperature": 0, "n": 2, "logprobs": True, "top_logprobs": 2}
    whole: Any = client.chat.completions.create(**ask)
    with client.chat.completions.stream(**ask) as stream:
        kinds = {event.type for event in stream}
        folded: Any = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.done"} <= kinds
    for ours, theirs in zip(whole.choices, folded.choices, strict=True):
        assert (theirs.index, theirs.finish_reason) == (ours.index, ours.finish_reason)
        assert (theirs.message.role, theirs.message.content) == ("assistant", ours.message.content)
        assert [one.token for one in theirs.logprobs.content] == [one.token for one in ours.logprobs.content]


def test_several_streams_of_the_async_client_at_once(server: Server, chat: Any) -> None:
    ask: Any = {"messages": MESSAGES, "temperature": 0, "max_tokens": 20}
    models = (DEMO, JSON, LLAMA)

    async def stream(client: openai.AsyncOpenAI, model: str) -> str:
        chunks = await client.chat.completions.create(model=model, stream=True, **ask)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(stream(client, model) for model in models))

    expected = [chat(model=model, **ask).choices[0].message.content for model in models]
    assert len(set(expected)) == 3
    assert asyncio.run(all_of_them()) == expected


# openai's SDK: several answers


def test_several_chats_have_seeds_of_their_own_and_one_prompt(chat: Any) -> None:
    ask = {"model": LLAMA, "messages": MESSAGES, "temperature": 1.5, "max_tokens": 12}
    three = chat(n=3, seed=7, **ask)
    alone = [chat(seed=7 + i, **ask) for i in range(3)]
    texts = [answer.message.content for answer in three.choices]
    assert [answer.index for answer in three.choices] == [0, 1, 2]
    assert texts == [one.choices[0].message.content for one in alone]
    assert len(set(texts)) == 3
    assert three.usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert three.usage.completion_tokens == sum(one.usage.completion_tokens for one in alone)
    chunks = list(chat(n=3, seed=7, stream=True, stream_options={"include_usage": True}, **ask))
    assert gathered(chunks) == dict(enumerate(texts))
    assert ended_once(chunks).keys() == {0, 1, 2}
    brings_usage_last(chunks, three.usage)
    drawn = chat(n=3, **ask)
    assert len({answer.message.content for answer in drawn.choices}) == 3


def test_choices_of_several_prompts_are_numbered_prompt_by_prompt(text: Any) -> None:
    prompts = ["Where is", "I ordered a", "Thank"]
    ask = {"model": DEMO, "temperature": 1.2, "seed": 5, "max_tokens": 6}
    many = text(prompt=prompts, n=2, **ask)
    alone = [text(prompt=prompt, n=2, **ask) for prompt in prompts]
    assert [choice.index for choice in many.choices] == list(range(6))
    expected = [choice.text for one in alone for choice in one.choices]
    assert [choice.text for choice in many.choices] == expected
    assert len(set(expected)) == 6
    for kind in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(many.usage, kind) == sum(getattr(one.usage, kind) for one in alone)
    chunks = list(text(prompt=prompts, n=2, stream=True, stream_options={"include_usage": True}, **ask))
    assert gathered(chunks, "text") == dict(enumerate(expected))
    brings_usage_last(chunks, many.usage)


def test_a_prompt_may_be_text_or_token_ids_or_a_list_of_either(text: Any, models_file: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models_file.parent / "llama")
    prompts = ["the quick", "lazy dog again"]
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    ask = {"model": LLAMA, "temperature": 0, "max_tokens": 8}
    expected = [text(prompt=prompt, **ask) for prompt in prompts]
    texts = [one.choices[0].text for one in expected]
    assert texts[0] != texts[1]
    assert text(prompt=ids[0], **ask).choices[0].text == texts[0]
    for several in (prompts, ids):
        reply = text(prompt=several, **ask)
        assert [choice.text for choice in reply.choices] == texts
        assert reply.usage.prompt_tokens == sum(map(len, ids))


def test_the_best_of_several_are_the_likeliest_by_token(text: Any) -> None:
    ask = {"model": DEMO, "prompt": "Where is", "temperature": 1.5, "seed": 11, "max_tokens": 8, "logprobs": 0}
    drawn = text(n=5, **ask)
    likeliest = sorted(drawn.choices, key=lambda one: statistics.fmean(one.logprobs.token_logprobs), reverse=True)
    assert len({choice.text for choice in drawn.choices}) == 5
    best = text(n=2, best_of=5, **{**ask, "logprobs": None})
    assert [(choice.index, choice.text) for choice in best.choices] == [(i, likeliest[i].text) for i in range(2)]
    assert best.choices[0].logprobs is None
    assert best.usage == drawn.usage
    for wrong in ({"n": 3, "best_of": 2}, {"n": 1, "best_of": 2, "stream": True}):
        with pytest.raises(openai.BadRequestError) as refused:
            text(**wrong, **ask)
        assert refused.value.param == "best_of"


# openai's SDK: scores


def test_scores_of_a_chat_spell_its_bytes(chat: Any) -> None:
    ask = {"model": DEMO, "messages": MESSAGES, "temperature": 0, "logprobs": True, "top_logprobs": 3}
    answer = chat(**ask).choices[0]
    scores = answer.logprobs.content
    assert b"".join(bytes(one.bytes) for one in scores) == answer.message.content.encode()
    assert "".join(one.token for one in scores) == answer.message.content
    for one in scores:
        best = one.top_logprobs
        assert [top.logprob for top in best] == sorted((top.logprob for top in best), reverse=True)
        assert len(best) == 3
        # Greedy: what was chosen is the best of them.
        assert (best[0].token, best[0].logprob) == (one.token, one.logprob)
        assert one.logprob < 0
    streamed = [choice for chunk in chat(stream=True, **ask) for choice in chunk.choices]
    assert [one for choice in streamed if choice.logprobs for one in choice.logprobs.content] == scores
    bare = chat(**{**ask, "top_logprobs": None}).choices[0]
    assert [one.top_logprobs for one in bare.logprobs.content] == [[]] * len(scores)


def test_scores_of_a_text_stand_where_its_tokens_begin(text: Any) -> None:
    ask = {"model": DEMO, "prompt": "Where is", "temperature": 0, "max_tokens": 20, "logprobs": 2}
    answer = text(**ask).choices[0]
    scores = answer.logprobs
    assert "".join(scores.tokens) == answer.text
    ends = [*scores.text_offset[1:], len(answer.text)]
    assert [answer.text[at:end] for at, end in zip(scores.text_offset, ends, strict=True)] == scores.tokens
    for token, logprob, top in zip(scores.tokens, scores.token_logprobs, scores.top_logprobs, strict=True):
        assert len(top) == 2
        assert logprob == top[token] == max(top.values())
    pieces = [choice.logprobs for chunk in text(stream=True, **ask) for choice in chunk.choices if choice.logprobs]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [one for piece in pieces for one in getattr(piece, name)] == getattr(scores, name)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_scored_and_nothing_written(text: Any, stream: bool) -> None:
    """As evaluation harnesses ask."""
    prompt = "Where is my parcel?"
    ask = {"model": DEMO, "prompt": prompt, "echo": True, "logprobs": 1, "stream": stream, "temperature": 0}
    reply = text(max_tokens=0, **ask)
    choices = [choice for chunk in reply for choice in chunk.choices] if stream else reply.choices
    assert "".join(choice.text for choice in choices) == prompt
    assert choices[-1].finish_reason == "length"
    scores = next(choice.logprobs for choice in choices if choice.logprobs)
    assert "".join(scores.tokens) == prompt
    assert (scores.token_logprobs[0], scores.top_logprobs[0], scores.text_offset[0]) == (None, None, 0)
    assert all(logprob < 0 for logprob in scores.token_logprobs[1:])
    further = text(max_tokens=2, **{**ask, "stream": False}).choices[0]
    assert further.text.startswith(prompt)
    assert further.logprobs.token_logprobs[: len(scores.tokens)] == pytest.approx(scores.token_logprobs, abs=1e-5)
    assert len(further.logprobs.tokens) == len(scores.tokens) + 2
    if not stream:
        assert reply.usage.completion_tokens == 0
        assert reply.usage.prompt_tokens == len(scores.tokens)


# openai's SDK: where an answer ends


def straddling_stop(tokens: list[str]) -> tuple[str, str]:
    """A string that begins within one token and ends within the next, with the text before its first occurrence."""
    whole = "".join(tokens)
    for i in range(3, len(tokens) - 1):
        left, right = tokens[i], tokens[i + 1]
        stop, before = left[-2:] + right[:2], "".join(tokens[:i]) + left[:-2]
        if min(len(left), len(right)) > 2 and whole.find(stop) == len(before):
            return stop, before
    raise AssertionError("no two tokens of this answer can be straddled")


def test_a_stop_string_across_two_tokens_ends_a_chat_before_it(chat: Any) -> None:
    ask = {"model": DEMO, "messages": MESSAGES, "temperature": 0, "logprobs": True}
    free = chat(**ask).choices[0]
    stop, before = straddling_stop([one.token for one in free.logprobs.content])
    for stops in (stop, [stop], ["nowhere", stop, free.message.content[-3:], "never"]):
        cut = chat(stop=stops, **ask).choices[0]
        assert (cut.message.content, cut.finish_reason) == (before, "stop")
        # The token that begins the stop string wrote the end of the answer too.
        spelled = "".join(one.token for one in cut.logprobs.content)
        assert spelled.startswith(before)
        assert len(spelled) - len(before) == 2
        chunks = list(chat(stop=stops, stream=True, **ask))
        assert gathered(chunks) == {0: before}
        assert ended_once(chunks) == {0: "stop"}
        scored = [one for chunk in chunks if chunk.choices[0].logprobs for one in chunk.choices[0].logprobs.content]
        assert scored == cut.logprobs.content


def test_a_stop_string_across_two_tokens_ends_a_text_before_it(text: Any) -> None:
    ask = {"model": DEMO, "prompt": "Where is", "temperature": 0, "max_tokens": 40, "logprobs": 0}
    stop, before = straddling_stop(text(**ask).choices[0].logprobs.tokens)
    cut = text(stop=stop, **ask).choices[0]
    assert (cut.text, cut.finish_reason) == (before, "stop")
    chunks = list(text(stop=stop, stream=True, **ask))
    assert gathered(chunks, "text") == {0: before}
    assert ended_once(chunks) == {0: "stop"}
    echoed = text(stop=stop, echo=True, **ask).choices[0]
    assert echoed.text == "Where is" + before


def test_what_only_begins_a_stop_string_is_given_at_the_end(chat: Any) -> None:
    ask = {"model": DEMO, "messages": MESSAGES, "temperature": 0, "max_tokens": 6}
    free = chat(**ask).choices[0].message.content
    stop = free[-4:] + "and never this"
    cut = chat(stop=stop, **ask).choices[0]
    assert (cut.message.content, cut.finish_reason) == (free, "length")
    assert gathered(chat(stop=stop, stream=True, **ask)) == {0: free}


def test_an_answer_is_cut_by_its_length_or_comes_to_an_end(chat: Any, text: Any) -> None:
    ask = {"model": DEMO, "messages": MESSAGES, "temperature": 0}
    free = chat(**ask)
    num_tokens = free.usage.completion_tokens
    assert free.choices[0].finish_reason == "stop"
    for limit in ("max_tokens", "max_completion_tokens"):
        enough = chat(**{limit: num_tokens + 1}, **ask)
        assert (enough.choices[0].finish_reason, enough.usage) == ("stop", free.usage)
        short = chat(**{limit: num_tokens - 1}, **ask)
        assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", num_tokens - 1)
        assert free.choices[0].message.content.startswith(short.choices[0].message.content)
    full = text(model=LLAMA, prompt=[65] * 250, temperature=0, max_tokens=100, logit_bias={"0": -100})
    assert (full.choices[0].finish_reason, full.usage.total_tokens) == ("length", 256)


# openai's SDK: characters over several tokens


@pytest.mark.parametrize("characters", ["😀", "日本", "é😀日"])
def test_characters_over_several_tokens_arrive_whole(chat: Any, models_file: Path, characters: str) -> None:
    """Random bytes of these characters: whole ones among broken ones."""
    tokenizer = AutoTokenizer.from_pretrained(models_file.parent / "llama")
    ids = {token_id for char in characters for token_id in tokenizer(char)["input_ids"]}
    assert len(ids) > len(characters)
    ask = {
        "model": LLAMA,
        "messages": MESSAGES,
        "temperature": 2,
        # With these, one answer is in the midst of a character when its broken bytes have been held back long enough.
        "seed": 6,
        "n": 3,
        "max_tokens": 100,
        "logit_bias": dict.fromkeys(map(str, ids), 100),
        "logprobs": True,
    }
    texts = []
    for answer in chat(**ask).choices:
        raw = b"".join(bytes(one.bytes) for one in answer.logprobs.content)
        texts.append(answer.message.content)
        assert texts[-1] == raw.decode(errors="replace")
    assert any(char in answer for char in characters for answer in texts)
    assert any("\ufffd" in answer for answer in texts)
    # Half a character given too early would show up as one broken sign more.
    chunks = list(chat(stream=True, **ask))
    streamed: dict[int, bytes] = {}
    for choice in (chunk.choices[0] for chunk in chunks):
        scores = choice.logprobs.content if choice.logprobs else []
        streamed[choice.index] = streamed.get(choice.index, b"") + b"".join(bytes(one.bytes) for one in scores)
    assert gathered(chunks) == {index: raw.decode(errors="replace") for index, raw in streamed.items()}


def test_an_echoed_character_is_one_however_many_tokens_it_takes(text: Any) -> None:
    prompt = "a😀日é"
    reply = text(model=LLAMA, prompt=prompt, echo=True, logprobs=0, max_tokens=0)
    choice = reply.choices[0]
    assert choice.text == prompt
    num_bytes = len(prompt.encode())
    assert reply.usage.prompt_tokens == len(choice.logprobs.tokens) == num_bytes
    raw = bytes.fromhex("".join(token.removeprefix("bytes:\\x") for token in choice.logprobs.tokens[1:]))
    assert choice.logprobs.tokens[0].encode() + raw == prompt.encode()
    assert choice.logprobs.text_offset == [0, 1, 1, 1, 1, 2, 2, 2, 3, 3]


# openai's SDK: errors


def test_errors_are_the_sdks_own_and_name_the_field(chat: Any, text: Any) -> None:
    for ask in (
        lambda: chat(model="no/such", messages=MESSAGES),
        lambda: text(model="no/such", prompt="x"),
        lambda: chat(model="no/such", messages=MESSAGES, stream=True),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            ask()
        assert (missing.value.code, missing.value.param, missing.value.type) == (
            "model_not_found",
            "model",
            "invalid_request_error",
        )
    too_long = [{"role": "user", "content": "the parcel " * 600}]
    for ask, param in (
        (lambda: chat(model=DEMO, messages=MESSAGES, temperature=3), "temperature"),
        (lambda: chat(model=DEMO, messages=[]), "messages"),
        (lambda: chat(model=DEMO, messages=too_long, stream=True), "messages"),
        (lambda: text(model=DEMO, prompt="x", logprobs=6), "logprobs"),
        (lambda: text(model=DEMO, prompt=[99999]), "prompt"),
        (lambda: text(model=DEMO, prompt="x", stop=["a", "b", "c", "d", "e"]), "stop"),
        (lambda: text(model=DEMO, prompt="x", extra_body={"min_p": 0.1}), "min_p"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            ask()
        assert (refused.value.code, refused.value.param) == ("validation_error", param)
        assert param in refused.value.message


TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", TOOLS),
        ("tool_choice", "auto"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}),
        ("modalities", ["text", "audio"]),
        ("web_search_options", {}),
    ],
)
def test_what_no_model_here_can_honour_is_refused_by_name(chat: Any, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat(model=DEMO, messages=MESSAGES, **{field: value})
    assert str(refused.value.param).split(".")[0] == field


def test_a_suffix_is_refused_by_name(text: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        text(model=DEMO, prompt="Where is", suffix=" parcel?")
    assert refused.value.param == "suffix"


# openai's SDK: conversations


@pytest.mark.parametrize("model", CHATTING)
def test_an_answer_goes_back_into_the_conversation_as_it_came(chat: Any, model: str) -> None:
    ask = {"model": model, "temperature": 0, "max_tokens": 12}
    first = chat(messages=MESSAGES, **ask)
    message = first.choices[0].message
    assert message.content
    more = {"role": "user", "content": "Thank you"}
    spelled = [*MESSAGES, {"role": "assistant", "content": message.content}, more]
    expected = chat(messages=spelled, **ask)
    assert expected.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens
    for again in (message, message.model_dump(), message.to_dict()):
        reply = chat(messages=[*MESSAGES, again, more], **ask)
        assert reply.choices[0].message.content == expected.choices[0].message.content
        assert reply.usage == expected.usage


def test_a_model_without_a_template_says_that_it_knows_no_earlier_turns(chat: Any) -> None:
    ask = {"model": PLAIN, "temperature": 0, "max_tokens": 4}
    message = chat(messages=MESSAGES, **ask).choices[0].message
    with pytest.raises(openai.BadRequestError, match="chat template") as refused:
        chat(messages=[*MESSAGES, message, *MESSAGES], **ask)
    assert refused.value.param == "messages"


def test_thinking_arrives_beside_the_answer_and_may_come_back(chat: Any, models_file: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models_file.parent / "thinker")
    ask = {
        "model": THINKER,
        "messages": MESSAGES,
        "temperature": 1,
        "seed": 3,
        "n": 8,
        "max_tokens": 30,
        # Left to itself, a model that knows nothing hardly ends its thinking.
        "logit_bias": {str(tokenizer.convert_tokens_to_ids("</think>")): 4},
        "extra_body": {"thinking": True},
    }
    answers = chat(**ask).choices
    thoughts = {answer.index: (answer.message.model_extra or {}).get("reasoning_content", "") for answer in answers}
    texts = {answer.index: answer.message.content for answer in answers}
    both = [answer.message for answer in answers if thoughts[answer.index] and answer.message.content]
    assert both
    chunks = list(chat(stream=True, **ask))
    assert gathered(chunks, "reasoning_content") == thoughts
    assert gathered(chunks) == texts
    follow_up = {"model": THINKER, "temperature": 0, "max_tokens": 8}
    without = {"role": "assistant", "content": both[0].content}
    replies = [chat(messages=[*MESSAGES, turn, *MESSAGES], **follow_up) for turn in (both[0], without)]
    assert replies[0].usage == replies[1].usage
    quiet = chat(**{**ask, "extra_body": {}, "n": 1}).choices[0].message
    assert "reasoning_content" not in quiet.model_dump(exclude_unset=True)


def test_other_ways_to_say_the_same_are_read_alike(chat: Any) -> None:
    ask = {"model": DEMO, "temperature": 0, "max_tokens": 12}
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": QUESTION}]
    expected = chat(messages=turns, **ask)
    assert expected.usage.prompt_tokens > chat(messages=turns[1:], **ask).usage.prompt_tokens
    developer = [{"role": "developer", "content": "Be kind."}, turns[1]]
    parts = [
        turns[0],
        {"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "my parcel?"}]},
    ]
    for messages, more in ((developer, {}), (parts, {}), (turns, {"response_format": {"type": "text"}})):
        reply = chat(messages=messages, **more, **ask)
        assert reply.choices[0].message.content == expected.choices[0].message.content
        assert reply.usage == expected.usage
    with pytest.raises(openai.BadRequestError) as refused:
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], **ask)
    assert refused.value.param == "messages.0.content"


# LiteLLM


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, which asks another host for its prices unless it is told not to."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm as library

    return library


@pytest.fixture
def here(server: Server) -> dict[str, Any]:
    """Where LiteLLM finds this server."""
    return {"api_base": f"{server.url}/v1", "api_key": "none", "num_retries": 0}


def test_litellm_chats(litellm: Any, here: dict[str, Any], chat: Any) -> None:
    for model in (DEMO, JSON):
        expected = chat(model=model, messages=MESSAGES, temperature=0)
        ask = {"model": f"openai/{model}", "messages": MESSAGES, "temperature": 0, **here}
        reply = litellm.completion(**ask)
        assert reply.choices[0].message.content == expected.choices[0].message.content
        assert reply.choices[0].finish_reason == expected.choices[0].finish_reason
        for kind in ("prompt_tokens", "completion_tokens", "total_tokens"):
            assert reply.usage[kind] == getattr(expected.usage, kind)
        chunks = list(litellm.completion(stream=True, stream_options={"include_usage": True}, **ask))
        assert gathered(chunks) == {0: expected.choices[0].message.content}
        folded = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
        assert folded.choices[0].message.content == expected.choices[0].message.content
        assert folded.usage.completion_tokens == expected.usage.completion_tokens


def test_litellm_feeds_answers_back_with_their_thinking(litellm: Any, here: dict[str, Any]) -> None:
    ask = {"model": f"openai/{THINKER}", "temperature": 0, "max_tokens": 10, **here}
    message = litellm.completion(messages=MESSAGES, extra_body={"thinking": True}, **ask).choices[0].message
    assert message.reasoning_content
    for turn in (message, message.model_dump()):
        reply = litellm.completion(messages=[*MESSAGES, turn, *MESSAGES], **ask)
        assert reply.usage.completion_tokens == 10


@pytest.mark.parametrize("provider", ["openai", "text-completion-openai"])
def test_litellm_completes_text(litellm: Any, here: dict[str, Any], text: Any, provider: str) -> None:
    ask = {"model": f"{provider}/{DEMO}", "temperature": 0, **here}
    expected = text(model=DEMO, prompt="Where is", temperature=0).choices[0].text
    assert litellm.text_completion(prompt="Where is", **ask).choices[0].text == expected
    chunks = list(litellm.text_completion(prompt="Where is", stream=True, **ask))
    assert gathered(chunks, "text") == {0: expected}
    several = litellm.text_completion(prompt=["Where is", "Thank"], n=2, logprobs=1, max_tokens=4, **ask)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text != several.choices[2].text


def test_litellm_raises_its_own_errors(litellm: Any, here: dict[str, Any]) -> None:
    with pytest.raises(litellm.NotFoundError, match="no/such"):
        litellm.completion(model="openai/no/such", messages=MESSAGES, **here)
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(model=f"openai/{DEMO}", messages=MESSAGES, temperature=3, **here)


# LangChain


@pytest.fixture
def langchain(server: Server) -> Any:
    """Makes LangChain's models of this server: of chats and of texts."""
    import langchain_openai

    def make(kind: str, model: str = DEMO, **settings: Any) -> Any:
        made = getattr(langchain_openai, kind)
        return made(model=model, base_url=f"{server.url}/v1", api_key="none", max_retries=0, **settings)

    return make


def test_langchain_chats(langchain: Any, chat: Any) -> None:
    model = langchain("ChatOpenAI", temperature=0)
    expected = chat(model=DEMO, messages=MESSAGES, temperature=0)
    answer = model.invoke(QUESTION)
    assert answer.content == expected.choices[0].message.content
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] == expected.usage.total_tokens
    chunks = list(model.stream(QUESTION, stream_usage=True))
    assert len(chunks) > 5
    assert "".join(chunk.content for chunk in chunks) == answer.content
    folded = chunks[0]
    for chunk in chunks[1:]:
        folded += chunk
    assert folded.usage_metadata["total_tokens"] == expected.usage.total_tokens
    questions = [QUESTION, "hello", "I want my money back."]
    batch = [one.content for one in model.batch(questions)]
    assert batch == [model.invoke(question).content for question in questions]
    further = [("system", "Be kind."), ("human", QUESTION), answer, ("human", "Thank you")]
    assert model.invoke(further).content == model.invoke([*further[:2], ("ai", answer.content), further[3]]).content
    assert model.invoke([("human", QUESTION), folded, ("human", "Thank you")]).content


def test_langchain_brings_scores_and_stops(langchain: Any) -> None:
    model = langchain("ChatOpenAI", temperature=0, logprobs=True, top_logprobs=2)
    answer = model.invoke(QUESTION)
    scores = answer.response_metadata["logprobs"]["content"]
    assert b"".join(bytes(one["bytes"]) for one in scores).decode() == answer.content
    assert {len(one["top_logprobs"]) for one in scores} == {2}
    stop, before = straddling_stop([one["token"] for one in scores])
    assert model.invoke(QUESTION, stop=[stop]).content == before
    assert "".join(chunk.content for chunk in model.stream(QUESTION, stop=[stop])) == before


def test_langchains_defaults_are_taken_as_they_are(langchain: Any) -> None:
    assert langchain("ChatOpenAI").invoke(QUESTION).content
    assert langchain("OpenAI").invoke("Where is")


def test_langchain_completes_text(langchain: Any, text: Any) -> None:
    model = langchain("OpenAI", temperature=0, max_tokens=8, logprobs=1)
    prompts = ["Where is", "Thank", "I ordered a"]
    expected = text(model=DEMO, prompt=prompts, temperature=0, max_tokens=8, logprobs=1)
    assert model.invoke(prompts[0]) == expected.choices[0].text
    assert "".join(model.stream(prompts[0])) == expected.choices[0].text
    found = model.generate(prompts)
    assert [one[0].text for one in found.generations] == [choice.text for choice in expected.choices]
    assert found.generations[1][0].generation_info["logprobs"]["tokens"] == expected.choices[1].logprobs.tokens
    assert found.llm_output["token_usage"]["total_tokens"] == expected.usage.total_tokens


def test_langchain_asks_for_the_best_of_several(langchain: Any, text: Any) -> None:
    settings: dict[str, Any] = {"temperature": 1.2, "n": 2, "best_of": 4, "seed": 5, "max_tokens": 6}
    found = langchain("OpenAI", **settings).generate(["Where is", "Thank"])
    expected = text(model=DEMO, prompt=["Where is", "Thank"], **settings)
    texts = [one.text for answers in found.generations for one in answers]
    assert texts == [choice.text for choice in expected.choices]
    assert len(texts) == 4


# curl


def curl(*args: str) -> str:
    done = subprocess.run(["curl", "-sS", *args], capture_output=True, check=True, timeout=PATIENCE)
    return done.stdout.decode()


def test_curl_asks_with_a_bare_key_and_without_any(server: Server, chat: Any) -> None:
    body = json.dumps({"model": DEMO, "messages": MESSAGES, "temperature": 0})
    expected = chat(model=DEMO, messages=MESSAGES, temperature=0).choices[0].message.content
    ask = ("-H", "Content-Type: application/json", "-d", body)
    for headers in (
        (),
        ("-H", "Authorization: tt_abc"),
        ("-H", "Authorization: Bearer tt_abc", "-H", "X-Org-Id: acme"),
    ):
        chatted = json.loads(curl(f"{server.url}/v1/chat/completions", *headers, *ask))
        assert chatted["choices"][0]["message"] == {"role": "assistant", "content": expected}
    own = json.loads(curl(f"{server.url}/api/v1/playground/completions", "-H", "Authorization: tt_abc", *ask))
    assert own["data"]["content"] == expected


@pytest.mark.parametrize("path", ["/text/completions", "/v1/completions"])
def test_curl_reads_a_stream(server: Server, text: Any, path: str) -> None:
    expected = text(model=DEMO, prompt="Where is", temperature=0).choices[0].text
    body = json.dumps({"model": DEMO, "prompt": "Where is", "temperature": 0, "stream": True})
    head, _, events = curl(
        "-N", "-i", f"{server.url}{path}", "-H", "Content-Type: application/json", "-d", body
    ).partition("\r\n\r\n")
    assert "content-type: text/event-stream" in head.lower()
    *data, done, rest = events.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(event.startswith("data: ") for event in data)
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in data]
    assert "".join(choice["text"] for choice in choices) == expected
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["length"]
