"""What the API makes of bad bodies: never a 5xx, always the one error body, with the field, its value and the rule."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from playground.api.errors import MAX_BODY_BYTES
from tests.server import LLAMA, PATIENCE, TUNED, Reply, Server

PLAYGROUND, CHAT = "/api/v1/playground/completions", "/v1/chat/completions"
TEXT, TEXT_AGAIN = "/text/completions", "/v1/completions"
TALKS, PATHS = (PLAYGROUND, CHAT), (PLAYGROUND, TEXT, TEXT_AGAIN, CHAT)
LOOKS = TOKENIZE, SCORE, COMPARE, FIDELITY, CHECK = tuple(
    f"/api/v1/playground/{name}" for name in ("tokenize", "score", "compare", "fidelity", "check")
)
EVERY = (*PATHS, *LOOKS)
USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "Yes?"}
CONTEXT, VOCABULARY = 256, 320
JSON = {"Content-Type": "application/json"}


PROOF = {"base": LLAMA, "tokenizer_hash": "x", "strength": 1, "first": [{"id": 1, "logprob": -1}]}
LOOKED_AT: dict[str, dict[str, Any]] = {
    TOKENIZE: {"model": LLAMA},
    SCORE: {"model": LLAMA, "completion_ids": [7]},
    COMPARE: {"models": [LLAMA, TUNED], "max_tokens": 1},
    FIDELITY: {"model": TUNED},
    CHECK: {"model": LLAMA, "proof": PROOF},
}


def body(path: str, **changes: Any) -> dict[str, Any]:
    """A good body with some fields changed, without those whose new value is `...`."""
    asked = {"prompt": "hi"} if path in (TEXT, TEXT_AGAIN) else {"messages": [USER]}
    fields = {**LOOKED_AT.get(path, {"model": LLAMA, "max_tokens": 1}), **asked, **changes}
    for name, other in INSTEAD.items():
        if path in LOOKS and name in changes and name in FIELDS[path] and other not in changes:
            fields.pop(other, None)
    return {name: value for name, value in fields.items() if value is not ...}


INSTEAD = {"prompt": "messages", "completion": "completion_ids"}
"""Fields of looks that stand in place of another."""


def raw(path: str, literal: str, **changes: Any) -> bytes:
    """A body with one more field, written as it stands."""
    return json.dumps(body(path, **changes))[:-1].encode() + f", {literal}}}".encode()


def said(reply: Reply, param: str) -> str:
    """The message of a refusal that names the field, the value and, in nobody's jargon, the rule."""
    assert reply.status == 400, (reply.status, reply.body[:300])
    error = reply.error()
    assert (error["code"], error["type"]) == ("validation_error", "invalid_request_error")
    assert error["param"] == param
    message = error["message"]
    rule = "(.+ is not allowed: |[0-9]+ tokens are|it is required|it is given [0-9]|there is no such field|it must )"
    assert re.match(f"{re.escape(param)}: {rule}", message, re.DOTALL), message
    assert not re.search(r"Input|\bvalid\b|dictionary|parse|pattern|NoneType|\[key\]|\(\)", message), message
    assert len(message) < 1000
    return message


# Every field by itself.

Field = tuple[Callable[[Any], bool], Iterable[Any]]
"""Whether a value of `ANYTHING` is one for the field, and what else is not."""
ANYTHING = ("x", "1", True, False, 0, 1, 1.5, 1.0, [], [1], ["x", 1], {}, {"a": 1}, [[{"a": [None]}]])
INFINITE = float("inf")
NOT_FINITE = (float("nan"), INFINITE, -INFINITE)
HUGE = 10**299


def a_number(value: Any) -> bool:
    return type(value) in (int, float)


def whole(value: Any) -> bool:
    return type(value) is int


def a_flag(value: Any) -> bool:
    return type(value) is bool


def a_text(value: Any) -> bool:
    return type(value) is str


def an_object(value: Any) -> bool:
    return value == {}


def a_prompt(value: Any) -> bool:
    return type(value) is str or value == [1]


def stops(value: Any) -> bool:
    return type(value) is str or value == []


def nothing(value: Any) -> bool:
    return False


COUNT, LENGTH = (whole, (0, -1, 129, HUGE)), (whole, (0, -1, 4097, HUGE))
PENALTY = (a_number, (-2.01, 2.01, HUGE, *NOT_FINITE))
STREAM_OPTIONS = (an_object, ({"include_usage": 1}, {"include_usage": "true"}))
ANY_BODY: dict[str, Field] = {
    "model": (a_text, ("",)),
    "temperature": (a_number, (-0.01, 2.01, HUGE, *NOT_FINITE)),
    "top_p": (a_number, (0, -0.5, 1.01, HUGE, *NOT_FINITE)),
    "top_k": (whole, (-1, -HUGE)),
    "seed": (whole, (2**63, -(2**63) - 1, HUGE)),
    "stop": (stops, ("", [""], ["a", ""], list("abcde"), [None], [["a"]])),
    "frequency_penalty": PENALTY,
    "presence_penalty": PENALTY,
    "logit_bias": (
        an_object,
        (
            *({key: 1} for key in ("", "-1", "1.5", " 1", "01", "1\n", "٣", "1" * 11, str(VOCABULARY))),
            *({"1": bias} for bias in (-100.1, 100.1, HUGE, "5", None, True, [1], *NOT_FINITE)),
            {str(key): 1 for key in range(1025)},
        ),
    ),
    "strength": (a_number, (-4.01, 4.01, HUGE, *NOT_FINITE)),
    "stream": (a_flag, ()),
}
ANY_TEXT: dict[str, Field] = {
    **ANY_BODY,
    "prompt": (
        a_prompt,
        (
            *("", [""], ["a", ""], [[]], [[1], []]),
            *(["a", 1], ["a", [1]], [1, [1]], [["a"]], [[[1]]], [None], [True], [1.0], [[True]], [[1.5]], [INFINITE]),
            *([-1], [VOCABULARY], [HUGE], [[1], [VOCABULARY]], [1] * CONTEXT, "a" * CONTEXT * 8),
        ),
    ),
    "max_tokens": (whole, (-1, 4097, HUGE)),
    "n": COUNT,
    "best_of": COUNT,
    "echo": (a_flag, ()),
    "logprobs": (whole, (-1, 6, HUGE)),
    "stream_options": STREAM_OPTIONS,
    "suffix": (nothing, (" ",)),
    "user": (a_text, ()),
}
ANY_TALK: dict[str, Field] = {
    **ANY_BODY,
    "messages": (nothing, ({"0": USER}, [[USER]], [None], [USER, 1], [{**USER, "content": "a" * CONTEXT * 8}])),
    "max_tokens": LENGTH,
    "thinking": (a_flag, ()),
}
FIELDS: dict[str, dict[str, Field]] = {
    PLAYGROUND: ANY_TALK,
    TEXT: ANY_TEXT,
    TEXT_AGAIN: ANY_TEXT,
    CHAT: {
        **ANY_TALK,
        "max_completion_tokens": LENGTH,
        "n": COUNT,
        "logprobs": (a_flag, ()),
        "top_logprobs": (whole, (-1, 21, HUGE)),
        "stream_options": STREAM_OPTIONS,
        "response_format": (nothing, ({"type": "json_object"}, {"type": 1}, {"type": "text", "strict": True})),
        "user": (a_text, ()),
    },
}
HALF = "a\ud800"
OF_A_LOOK: dict[str, Field] = {
    "model": ANY_BODY["model"],
    "messages": ANY_TALK["messages"],
    "prompt": (
        a_prompt,
        (
            *("", [""], ["a"], ["a", 1], [1, [1]], [[1]], [None], [True], [1.0], [INFINITE]),
            *([-1], [VOCABULARY], [HUGE], [1] * (CONTEXT + 1), "a" * CONTEXT * 8),
        ),
    ),
    "thinking": (a_flag, ()),
}
FIELDS |= {
    TOKENIZE: OF_A_LOOK,
    FIDELITY: OF_A_LOOK,
    SCORE: {
        **OF_A_LOOK,
        "completion": (a_text, ("", "a" * CONTEXT * 8)),
        "completion_ids": (
            lambda value: value == [1],
            ([-1], [VOCABULARY], [HUGE], [True], ["1"], [None], [1.5], [[1]], [1] * CONTEXT),
        ),
        "top_logprobs": (whole, (-1, 21, HUGE)),
        "strength": ANY_BODY["strength"],
    },
    COMPARE: {
        **{name: field for name, field in ANY_TALK.items() if name not in ("model", "strength", "stream")},
        "models": (
            nothing,
            ([LLAMA], [LLAMA] * 3, [LLAMA, 1], [LLAMA, ""], [LLAMA, None], [[LLAMA, LLAMA]], {"0": LLAMA}),
        ),
        "strengths": (
            nothing,
            ([1, "1"], [1, True], [1, None], [1, 4.01], [-4.01, 1], [1, HUGE], [1, INFINITE], [1, 1, 1], [0.5, 1]),
        ),
        "parting": (a_flag, ()),
        "scores": (a_flag, ()),
    },
    CHECK: {
        **OF_A_LOOK,
        "proof": (
            nothing,
            (
                *({name: value for name, value in PROOF.items() if name != left_out} for left_out in PROOF),
                *({**PROOF, name: 1} for name in ("base", "base_hash", "revision", "tokenizer_hash", "adapter_hash")),
                *({**PROOF, "strength": value} for value in ("1", True, 4.01, -4.01, 0.5, INFINITE)),
                *({**PROOF, "first": first} for first in ({}, "x", [], [1], [[1, -1]], [{"id": 1}], [{"logprob": -1}])),
                *({**PROOF, "first": [{"id": 1, "logprob": -1, **wrong}]} for wrong in ({"id": -1}, {"id": "1"})),
                *({**PROOF, "first": [{"id": 1, "logprob": -1, **wrong}]} for wrong in ({"logprob": "x"}, {"a": 1})),
                *({**PROOF, "first": [{"id": 1, "logprob": logprob}]} for logprob in NOT_FINITE),
                {**PROOF, "first": [{"id": 1, "logprob": -1}] * 1000},
                {**PROOF, "adapter": TUNED},
                {**PROOF, "adapter": TUNED, "adapter_hash": "x"},
                {**PROOF, "adapter_hash": "x"},
                {**PROOF, "base": TUNED},
                {**PROOF, "a": 1},
            ),
        ),
    },
}
REQUIRED = {
    **dict.fromkeys(TALKS, ("model", "messages")),
    **dict.fromkeys((TEXT, TEXT_AGAIN), ("model", "prompt")),
    **dict.fromkeys((TOKENIZE, SCORE, FIDELITY), ("model",)),
    COMPARE: ("models", "messages"),
    CHECK: ("model", "proof"),
}
EVERY_FIELD = [(path, name) for path in EVERY for name in FIELDS[path]]


@pytest.mark.parametrize(("path", "name"), EVERY_FIELD)
def test_a_field_takes_nothing_but_what_it_is_for(server: Server, path: str, name: str):
    belongs, others = FIELDS[path][name]
    for value in (*(value for value in ANYTHING if not belongs(value)), *others):
        reply = server.post(path, body(path, **{name: value}))
        assert reply.status == 400, (value, reply.body[:300])
        param = reply.error()["param"]
        assert param == name or param.startswith(f"{name}.")
        message = said(reply, param)
        if value != "a" * CONTEXT * 8 and not isinstance(value, list | dict):
            assert repr(value)[:20] in message


def test_the_table_has_every_field(server: Server):
    document = server.get("/openapi.json").json()
    for path in EVERY:
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        documented = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert documented["properties"].keys() == FIELDS[path].keys()
        assert set(documented["required"]) == set(REQUIRED[path])


@pytest.mark.parametrize("path", EVERY)
def test_null_stands_for_what_is_left_out(server: Server, path: str):
    kept = (*REQUIRED[path], "max_tokens", "messages", "completion_ids")
    optional = {name: None for name in FIELDS[path] if name not in kept}
    # A null stands in nobody's place.
    optional |= {name: value for name, value in body(path).items() if name in INSTEAD.values()}
    assert server.post(path, body(path, **optional)).status == 200
    for name in REQUIRED[path]:
        for left_out in (None, ...):
            assert said(server.post(path, body(path, **{name: left_out})), name) == f"{name}: it is required"
    if path not in LOOKS:
        assert server.post(path, body(path, max_tokens=None, stop="a", temperature=0)).status == 200


# Fields that do not go together, messages, and what the other formats have.


def turn(**changes: Any) -> dict[str, Any]:
    return {"messages": [{name: value for name, value in {**USER, **changes}.items() if value is not ...}]}


def turns(*messages: dict[str, str]) -> dict[str, Any]:
    return {"messages": list(messages)}


IMAGE = [{"type": "image_url", "image_url": {"url": "data:,"}}]
OF_A_TALK = (
    (turns(SYSTEM), "messages", "'system'"),
    (turns(USER, SYSTEM), "messages", "comes first"),
    (turns(SYSTEM, SYSTEM, USER), "messages", "one system message"),
    (turn(content=""), "messages", "''"),
    (turn(content=" \n"), "messages", "must not be empty"),
    (turn(role="tool"), "messages.0.role", "'tool'"),
    (turn(role="USER"), "messages.0.role", "'system'"),
    (turn(role=["user"]), "messages.0.role", "['user']"),
    (turn(role=...), "messages.0.role", "required"),
    (turn(role=None), "messages.0.role", "required"),
    (turn(content=...), "messages.0.content", "required"),
    (turn(content=None), "messages.0.content", "required"),
    (turn(content=7), "messages.0.content", "7"),
    (turn(content={"text": "a"}), "messages.0.content", "{'text': 'a'}"),
    (turn(content=IMAGE), "messages.0.content", "image_url"),
    (turn(content=["a"]), "messages.0.content", "['a']"),
    (turn(name="Ada"), "messages.0.name", "no such field"),
    ({"messages": [USER, ASSISTANT, {"role": "user"}]}, "messages.2.content", "required"),
    ({"suffix": "a"}, "suffix", "no such field"),
    ({"prompt": "a"}, "prompt", "no such field"),
    ({"echo": True}, "echo", "no such field"),
    ({"strength": 0.5}, "strength", "fine-tune"),
)
OF_TEXT = (
    ({"prompt": ["a"] * 1025}, "prompt", "1024"),
    ({"prompt": ["a"] * 129, "n": 8}, "prompt", "1032"),
    ({"prompt": ["a"] * 9, "best_of": 128}, "prompt", "1152"),
    ({"n": 4, "best_of": 3}, "best_of", "at least n, which is 4"),
    ({"best_of": 2, "stream": True}, "best_of", "cannot be streamed"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
    ({"stream_options": {"a": 1}, "stream": True}, "stream_options.a", "no such field"),
    ({"suffix": "a"}, "suffix", "left out"),
    ({"top_logprobs": 1}, "top_logprobs", "no such field"),
    ({"messages": [USER]}, "messages", "no such field"),
    ({"strength": 0.5}, "strength", "fine-tune"),
    ({"prompt": [1] * (CONTEXT + 1), "max_tokens": 0, "echo": True}, "prompt", f"{CONTEXT + 1} tokens"),
)
OF_CHAT = (
    ({"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
    ({"logprobs": False, "top_logprobs": 2}, "top_logprobs", "logprobs: true"),
    ({"stream_options": {}}, "stream_options", "stream: true"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "which is 4"),
    ({"best_of": 2}, "best_of", "no such field"),
    ({"tools": []}, "tools", "no such field"),
    (turn(content=[{"type": "text", "text": "a", "b": 1}]), "messages.0.content", "'b'"),
    (turn(content=[{"type": "text", "text": 1}]), "messages.0.content", "{'text': 1"),
    (turn(content=[]), "messages", "must not be empty"),
)
OF_ANY = (
    ({"a": 1}, "a", "no such field"),
    ({"min_p": 0.1}, "min_p", "no such field"),
    ({"Temperature": 1}, "Temperature", "no such field"),
    ({"temperature": 3, "top_p": 2}, "temperature", "top_p: 2"),
    ({f"k{number}": 1 for number in range(50)}, "k0", "42 problems more"),
)
OF_LOOKS: dict[str, tuple[tuple[dict[str, Any], str, str], ...]] = {
    TOKENIZE: (
        ({"messages": ...}, "messages", "at least one"),
        ({"messages": [USER], "prompt": "a"}, "prompt", "not both"),
        ({"prompt": "a", "thinking": True}, "thinking", "only for messages"),
        ({"stream": True}, "stream", "no such field"),
        ({"strength": 0.5}, "strength", "no such field"),
        ({"messages": [SYSTEM]}, "messages", "'system'"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "required"),
    ),
    SCORE: (
        ({"completion_ids": ...}, "completion", "it is required"),
        ({"completion": "a", "completion_ids": [1]}, "completion", "not both"),
        ({"completion": "a<|end|>"}, "completion", "completion_ids"),
        ({"completion": HALF}, "completion", "half of a surrogate pair"),
        ({"strength": 0.5}, "strength", "fine-tune"),
        ({"prompt": [1] * (CONTEXT + 1)}, "prompt", f"{CONTEXT + 1} tokens"),
        ({"prompt": [1] * CONTEXT}, "completion_ids", f"{CONTEXT + 1} tokens"),
        ({"prompt": [1] * CONTEXT, "completion": "a", "completion_ids": ...}, "completion", f"{CONTEXT + 1} tokens"),
    ),
    COMPARE: (
        ({"model": LLAMA}, "model", "no such field"),
        ({"strength": 1}, "strength", "no such field"),
        ({"stream": True}, "stream", "no such field"),
        ({"prompt": "a"}, "prompt", "no such field"),
    ),
    FIDELITY: (
        ({"model": LLAMA}, "model", "only a fine-tuned model"),
        ({"prompt": [1] * CONTEXT}, "prompt", f"{CONTEXT} tokens"),
        ({"strength": 1}, "strength", "no such field"),
    ),
    CHECK: (
        ({"strength": 1}, "strength", "no such field"),
        ({"model": TUNED}, "proof", "an answer of"),
    ),
}
TOGETHER = {
    PLAYGROUND: (*OF_ANY, *OF_A_TALK),
    TEXT: (*OF_ANY, *OF_TEXT),
    TEXT_AGAIN: (*OF_ANY, *OF_TEXT),
    CHAT: (*OF_ANY, *OF_A_TALK, *OF_CHAT),
    **OF_LOOKS,
}


@pytest.mark.parametrize(
    ("path", "changes", "param", "part"), [(path, *row) for path in EVERY for row in TOGETHER[path]]
)
def test_fields_that_do_not_go_together(server: Server, path: str, changes: dict[str, Any], param: str, part: str):
    assert part in said(server.post(path, body(path, **changes)), param)


@pytest.mark.parametrize("path", EVERY)
def test_an_unknown_model_is_not_found(server: Server, path: str):
    for model in ("tiny/lama", "\0", " ", "a" * 10_000):
        field = "models" if path == COMPARE else "model"
        reply = server.post(path, body(path, **{field: [LLAMA, model] if path == COMPARE else model}))
        assert reply.status == 404
        assert (reply.error()["code"], reply.error()["param"]) == ("model_not_found", field)
        assert repr(model)[:20] in reply.error()["message"]


# What is no JSON object in UTF-8, and what JSON's text can hold besides.

GOOD = json.dumps(body(TEXT))
DEEP = 100_000
UNREADABLE = (
    (b"", "application/json"),
    (b" \n", "line 2"),
    (b"hello", "line 1, column 1"),
    (GOOD[:-1].encode(), f"column {len(GOOD)}"),
    (GOOD[:20].encode(), "line 1"),
    ((GOOD[:-1] + ",}").encode(), "line 1"),
    ((GOOD + "{}").encode(), "Extra data"),
    (GOOD.replace('"', "'").encode(), "line 1"),
    (GOOD.replace("hi", "h\ni").encode(), "control character"),
    (b"\0", "line 1"),
    (b"[]", "not a list"),
    (f"[{GOOD}]".encode(), "not a list"),
    (json.dumps(GOOD).encode(), "not a string"),
    (b"null", "not null"),
    (b"7", "not a number"),
    (b"true", "not true or false"),
    (GOOD.replace("hi", "h\u00e9").encode("latin-1"), "UTF-8"),
    (GOOD.encode("utf-16"), "UTF-8"),
    (GOOD.encode("utf-16-le"), "column 2"),
    (GOOD.encode("utf-8-sig"), "byte order mark"),
    (b"[" * DEEP + b"]" * DEEP, "so deeply"),
    (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "so deeply"),
    (b"[" * DEEP, "so deeply"),
)


@pytest.mark.parametrize("path", EVERY)
def test_a_body_that_cannot_be_read(server: Server, path: str):
    for sent, part in UNREADABLE:
        assert part in said(server.post(path, sent), "body")


@pytest.mark.parametrize("depth", [100, 800, 900, 950, *range(960, 1000, 3), DEEP])
def test_nesting_is_refused_at_any_depth(server: Server, depth: int):
    """As deep as Python reads, and deeper; what Python reads must also be shown."""
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        deep = opened * depth + "1" + closed * depth
        for name in ("user", "stop", "logit_bias", "stream_options", "prompt"):
            reply = server.post(TEXT, f'{{"model": "{LLAMA}", "{name}": {deep}}}'.encode())
            said(reply, reply.error()["param"])


@pytest.mark.parametrize("path", EVERY)
def test_a_body_of_another_content_type(server: Server, path: str):
    sent = json.dumps(body(path)).encode()
    for kind in ("text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
        assert "application/json" in said(server.post(path, sent, Content_Type=kind), "body")
    with connection(server) as client:
        client.request("POST", path, sent)
        assert "application/json" in said(received(client), "body")
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON"):
        assert server.post(path, sent, Content_Type=kind).status == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_field_that_is_given_twice(server: Server, path: str):
    assert said(server.post(path, raw(path, '"max_tokens": 1')), "max_tokens").endswith("it is given 2 times")
    reply = server.post(path, raw(path, '"stream": true, "logit_bias": {"1": 1, "2": 1, "1": 2, "1": 3}'))
    assert said(reply, "1").endswith("it is given 3 times")


@pytest.mark.parametrize(
    ("path", "name"), [one for one in EVERY_FIELD if FIELDS[one[0]][one[1]][0] in (whole, a_number)]
)
def test_numbers_beyond_all_bounds(server: Server, path: str, name: str):
    for literal in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 5000):
        sent = raw(path, f'"{name}": {literal}', **{name: ...})
        # There is no such thing as too many tokens to choose from.
        if name == "top_k" and literal[0] == "9":
            assert server.post(path, sent).status == 200
        else:
            said(server.post(path, sent), name)


HALVES = {
    TEXT: (
        *({name: HALF} for name in ("model", "prompt", "user", "suffix", "stop", "temperature", "logit_bias")),
        {"prompt": ["a", HALF]},
        {"prompt": "\udc00\ud800"},
        {"stop": ["a", HALF]},
        {"logit_bias": {HALF: 1}},
        {HALF: 1},
    ),
    PLAYGROUND: (turn(content=HALF), turn(role=HALF), turn(**{HALF: "a"})),
    CHAT: (
        turn(content=HALF),
        turn(content=[{"type": "text", "text": HALF}]),
        turn(content=[{"type": "text", "text": "a", HALF: "a"}]),
        turn(role=HALF),
        turn(reasoning_content=HALF),
        {"response_format": {"type": HALF}},
        {"user": HALF},
    ),
}


@pytest.mark.parametrize(("path", "changes"), [(path, changes) for path in HALVES for changes in HALVES[path]])
def test_half_a_character_is_refused_wherever_it_stands(server: Server, path: str, changes: dict[str, Any]):
    reply = server.post(path, body(path, **changes))
    param = reply.error()["param"]
    message = said(reply, param)
    if "\\ud800': " in repr(changes):
        assert message.startswith("body: it must name its fields in text")
    else:
        assert param.split(".")[0] in changes


def test_zero_characters_are_text(server: Server):
    reply = server.post(TEXT, body(TEXT, prompt="a\0b", stop=["\0"], user="\0", echo=True))
    assert reply.status == 200
    assert reply.json()["choices"][0]["text"].startswith("a\0b")
    for path in TALKS:
        assert server.post(path, body(path, messages=[{**USER, "content": "\0"}])).status == 200


@pytest.mark.parametrize("path", LOOKS)
def test_a_field_of_a_look_that_is_given_twice(server: Server, path: str):
    for name in REQUIRED[path]:
        sent = raw(path, f'"{name}": 1')
        assert said(server.post(path, sent), name).endswith("it is given 2 times")


@pytest.mark.parametrize("path", EVERY)
def test_errors_stay_short(server: Server, path: str):
    """However long what they are about: each would be built and sent by the one thread that serves all."""
    many = 20_000
    for changes in (
        {"a" * 1_000_000: 1},
        {f"k{number}": 1 for number in range(many)},
        {"temperature": "a" * 1_000_000},
        {"temperature": [1] * many},
        {"stop": ["a"] * many},
        {"logit_bias": {f"k{number}": "a" for number in range(many)}},
        {"prompt" if path in (TEXT, TEXT_AGAIN) else "messages": [{"role": 1}] * many},
        {"completion_ids": [-1] * many},
        {"models": [1] * many, "strengths": [""] * many},
        {"proof": {**PROOF, "first": [1] * many}},
    ):
        reply = server.post(path, body(path, **changes))
        said(reply, reply.error()["param"])


# Size.


@contextlib.contextmanager
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE)
    try:
        yield client
    finally:
        client.close()


def received(client: http.client.HTTPConnection) -> Reply:
    answer = client.getresponse()
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


@pytest.mark.parametrize("path", LOOKS)
def test_a_million_wrong_ids_hold_nobody_up(server: Server, path: str):
    """Each told by itself took 18 seconds, in the thread that serves all."""
    name = "completion_ids" if path == SCORE else "prompt"
    reply = server.post(path, body(path, **{name: [-1] * 1_000_000}))
    assert len(reply.error()["message"]) < 200


@pytest.mark.parametrize("path", EVERY)
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(server: Server, path: str):
    # White space, so that nothing but its size is wrong with it.
    allowed = json.dumps(body(path)).encode().ljust(MAX_BODY_BYTES)
    assert server.post(path, allowed).status == 200
    too_large = allowed + b" "
    assert_too_large(server.post(path, too_large))
    with connection(server) as client:
        pieces = (too_large[start : start + 2**20] for start in range(0, len(too_large), 2**20))
        client.request("POST", path, pieces, JSON, encode_chunked=True)
        assert_too_large(received(client))


def assert_too_large(reply: Reply) -> None:
    assert reply.status == 413
    assert (reply.error()["code"], reply.error()["param"]) == ("payload_too_large", "body")
    assert f"{MAX_BODY_BYTES:,} bytes" in reply.error()["message"]


# What is just within the bounds.

LEAST = {"seed": -(2**63), "frequency_penalty": -2, "presence_penalty": -2, "stop": [], "top_k": 0}
MOST = {"seed": 2**63 - 1, "frequency_penalty": 2, "presence_penalty": 2, "stop": list("abcd"), "top_k": HUGE}
EDGES_OF_ANY = (
    {**LEAST, "temperature": 0, "top_p": 5e-324, "logit_bias": {}},
    {**MOST, "temperature": 2, "top_p": 1, "logit_bias": {"0": -100, str(VOCABULARY - 1): 100}},
    {"temperature": 5e-324, "top_p": 1e-9, "stop": "a" * 10_000},
    {"model": TUNED, "strength": -4},
    {"model": TUNED, "strength": 4},
    {"max_tokens": 4096, "logit_bias": {"0": 100}},
)
EDGES: dict[str, tuple[dict[str, Any], ...]] = {
    PLAYGROUND: EDGES_OF_ANY,
    TEXT: (
        *EDGES_OF_ANY,
        {"n": 128},
        {"n": 1, "best_of": 8},
        {"n": 2, "best_of": 2, "stream": True},
        {"n": 2, "prompt": ["a"] * 64},
        {"prompt": [[0], [VOCABULARY - 1]]},
        {"prompt": [1] * (CONTEXT - 1)},
        {"prompt": [1] * CONTEXT, "max_tokens": 0, "echo": True, "logprobs": 5},
        {"suffix": ""},
    ),
    TEXT_AGAIN: EDGES_OF_ANY,
    CHAT: (
        *EDGES_OF_ANY,
        {"n": 128},
        {"logprobs": True, "top_logprobs": 20},
        {"logprobs": False, "top_logprobs": 0},
        {"response_format": {"type": "text"}},
        {"max_tokens": 1, "max_completion_tokens": 1},
        turns({**SYSTEM, "role": "developer"}, USER),
        turn(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ),
}


EDGES |= {
    TOKENIZE: ({"prompt": [1] * CONTEXT}, {"prompt": [0, VOCABULARY - 1]}, {"thinking": True}),
    SCORE: (
        {"prompt": [1], "completion_ids": [1] * (CONTEXT - 1)},
        {"completion_ids": [0, VOCABULARY - 1], "top_logprobs": 0},
        {"completion": "a", "top_logprobs": 20},
        {"model": TUNED, "strength": -4},
    ),
    COMPARE: (
        {"models": [LLAMA, LLAMA]},
        {"models": [TUNED, TUNED], "strengths": [-4, 4]},
        {**LEAST, "temperature": 0, "top_p": 5e-324, "logit_bias": {}},
        {**MOST, "temperature": 2, "top_p": 1, "logit_bias": {"0": -100, str(VOCABULARY - 1): 100}},
        {"max_tokens": 4096, "logit_bias": {"0": 100}},
    ),
    FIDELITY: ({"prompt": [1] * (CONTEXT - 1)},),
    CHECK: (
        {"prompt": [1] * CONTEXT},
        {"proof": {**PROOF, "first": [{"id": HUGE, "logprob": -1}]}},
        {"model": TUNED, "proof": {**PROOF, "strength": -4, "adapter": TUNED, "adapter_hash": ""}},
    ),
}


@pytest.mark.parametrize(("path", "changes"), [(path, changes) for path in EVERY for changes in EDGES[path]])
def test_the_last_values_that_are_allowed(server: Server, path: str, changes: dict[str, Any]):
    reply = server.post(path, body(path, **changes))
    assert reply.status == 200, reply.body[:300]
    if "n" in changes and "stream" not in changes:
        assert len(reply.json()["choices"]) == changes["n"] * len(changes.get("prompt", "a"))


# Connections that break off.

HEAD = f"POST {TEXT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
BROKEN_OFF = (
    f"{HEAD}Content-Length: {len(GOOD) + 50}\r\n\r\n{GOOD}",
    f"{HEAD}Content-Length: {2 * MAX_BODY_BYTES}\r\n\r\n",
    f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{len(GOOD):x}\r\n{GOOD}\r\n",
    f"{HEAD}Transfer-Encoding: chunked\r\n\r\nhello\r\n",
    f"{HEAD}\r\n",
    HEAD,
    "POST /text/comp",
    "\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "",
)


@pytest.mark.parametrize("sent", BROKEN_OFF)
@pytest.mark.parametrize("politely", [True, False])
def test_a_connection_that_breaks_off_hurts_nobody(server: Server, sent: str, politely: bool):
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), PATIENCE) as client:
        client.sendall(sent.encode())
        if politely:
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(2**16), b""))
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert server.post(TEXT, body(TEXT)).status == 200


@pytest.mark.parametrize("path", ["/nothing", "/chat/completions", "/v1", "/api", "/v2/models", "/v1/nothing"])
def test_an_address_that_is_none_has_the_one_body(server: Server, path: str):
    error = server.post(path, {}).error()
    assert error["code"] == "not_found"
    assert path in error["message"]


def test_a_person_who_mistypes_an_address_sees_a_page(server: Server):
    assert "text/html" in server.get("/", Accept="text/html").headers["content-type"]
    assert server.get("/nothing", Accept="text/html").status == 404


def test_the_page_takes_no_files(server: Server):
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    reply = server.send("POST", "/gradio_api/upload", form, {"Content-Type": "multipart/form-data; boundary=x"})
    assert reply.status == 404


def test_the_page_reads_no_endless_body(server: Server):
    reply = server.post("/gradio_api/queue/join", b'{"data": ["' + b"x" * (2 * MAX_BODY_BYTES) + b'"]}')
    assert reply.status == 413
    assert server.get("/healthz").status == 200


@pytest.mark.parametrize("path", [TEXT, CHAT])
def test_where_all_places_are_taken_the_client_hears_when_to_come_again(
    server: Server, path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server.app.playground, "_places", threading.BoundedSemaphore(1))
    reply = server.post(path, body(path, n=3))
    assert (reply.status, reply.error()["code"]) == (429, "overloaded")
    assert int(reply.headers["retry-after"]) > 0
    assert server.post(path, body(path)).status == 200


def test_health_can_be_asked_for_its_head_alone(server: Server):
    reply = server.send("HEAD", "/healthz", None, {})
    assert (reply.status, reply.body) == (200, b"")


def test_nobody_makes_up_counters(server: Server):
    assert server.send("BREW", TEXT, None, {}).status == 405
    assert server.get("/healthz").status == 200
    counted = server.get("/metrics").body.decode()
    assert 'method="other"' in counted
    assert "BREW" not in counted


def test_the_page_is_there_all_the_while(server: Server):
    reply = server.get("/")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
