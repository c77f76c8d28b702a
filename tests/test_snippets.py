"""The code that the page shows, run as shown: what it sends is what the page would send, to the character."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from playground.snippets import KEY_VARIABLE, snippets
from playground.types import GenerationRequest, Message, Role, Sampling
from tests.shown_code import WAYS, run

MODELS = ("me/base", 'me/it\'s "$HOME" `tuned`')
KEY = "tt_of-a-test"
ANSWER = "It's on its way 📦"
COMPLETIONS, CHAT = "/api/v1/playground/completions", "/v1/chat/completions"
NASTY = (
    "Two\nlines",
    "\n\n  an end of line first, and last\n",
    "carriage\r\nreturn\rand\ttab",
    "'single' and \"double\" and \"\"\"three\"\"\" and '''three'''",
    "\\ and \\n and \\\\ and \\u0041 and a last \\",
    "$HOME ${HOME} $(id) `id` %s {} {{}} #{x}",
    "wow!! and !1 and !echo",
    "👩‍👩‍👧 你好 עברית e\u0301",
    "</script><!-- <b>&amp;",
    "'EOF'\nEOF\nJSON\n'JSON'",
    "line\u2028separator, paragraph\u2029separator, next\x85line",
    "\x00\x07\x1b[31m\x7f\ufeff\u202etfel",
    '","role":"system" "seed":null',
    "// no comment /* */ # neither",
)
SHARP = Sampling(
    max_tokens=7,
    temperature=0,
    top_p=0.35,
    top_k=40,
    seed=2**63 - 1,
    stop=("END", '"\n\u2028$'),
    frequency_penalty=-0.5,
    presence_penalty=1.5,
)


@dataclass
class Recorder:
    """A server that keeps what it is asked and gives one answer, in the shape that the route promises."""

    url: str = ""
    asked: list[tuple[str, str | None, Any]] = field(default_factory=list)
    status: int = 200

    def reply(self, path: str) -> dict[str, Any]:
        if self.status != 200:
            return {"error": {"code": "model_not_found", "message": "no such model", "type": "x", "param": "model"}}
        if path == CHAT:
            message = {"role": "assistant", "content": ANSWER}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return {"data": {"content": ANSWER, "latency_ms": 1, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}}


@pytest.fixture(scope="module")
def listening() -> Iterator[Recorder]:
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            recorder.asked.append((self.path, self.headers["Authorization"], json.loads(body)))
            answer = json.dumps(recorder.reply(self.path), ensure_ascii=False).encode()
            self.send_response(recorder.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    yield recorder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def recorder(listening: Recorder) -> Recorder:
    listening.asked, listening.status = [], 200
    return listening


def code_of(way: str, requests: list[GenerationRequest], url: str, keys_on: bool = False) -> str:
    return next(snippet.code for snippet in snippets(requests, url, keys_on) if snippet.name == way)


def conversation(texts: tuple[str, ...]) -> tuple[Message, ...]:
    """A system prompt, then turns; a question comes last."""
    turns: tuple[Role, Role] = ("assistant", "user")
    roles: list[Role] = ["system" if i == 0 else turns[i % 2] for i in range(len(texts))]
    return (*(Message(role, text) for role, text in zip(roles, texts, strict=True)), Message("user", "And?"))


def body_of(request: GenerationRequest, **settings: Any) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    return {"model": request.model, "messages": messages, **settings}


@pytest.mark.parametrize("keys_on", [False, True], ids=["open", "keys"])
@pytest.mark.parametrize("models", [MODELS[:1], MODELS], ids=["single", "compare"])
@pytest.mark.parametrize("way", WAYS)
def test_every_text_arrives_as_it_was_written(way, models, keys_on, recorder, tmp_path):
    requests = [GenerationRequest(model, conversation(NASTY)) for model in models]
    code = code_of(way, requests, recorder.url, keys_on)
    done = run(way, code, tmp_path, KEY if keys_on else None)
    assert done.returncode == 0, done.stderr
    route, unkeyed = (CHAT, "Bearer none") if way == "Python (openai)" else (COMPLETIONS, None)
    authorization = f"Bearer {KEY}" if keys_on else unkeyed
    expected = [body_of(request, temperature=0.7, max_tokens=1024) for request in requests]
    assert recorder.asked == [(route, authorization, body) for body in expected]
    told = done.stdout
    assert told.count(ANSWER) == len(models)
    if len(models) > 1:
        places = [told.index(models[0]), told.index(ANSWER), told.index(models[1]), told.rindex(ANSWER)]
        assert places == sorted(places)


@pytest.mark.parametrize("text", NASTY)
def test_a_text_alone_does_as_little_harm(text, recorder, tmp_path):
    request = GenerationRequest(MODELS[0], (Message("system", text), Message("user", text)))
    ways = ["curl", "JavaScript (fetch)"]
    for way in ways:
        done = run(way, code_of(way, [request], recorder.url), tmp_path)
        assert done.returncode == 0, done.stderr
    expected = body_of(request, temperature=0.7, max_tokens=1024)
    assert [body for _, _, body in recorder.asked] == [expected] * len(ways)


@pytest.mark.parametrize("way", WAYS)
def test_settings_that_were_touched_are_sent(way, recorder, tmp_path):
    request = GenerationRequest(MODELS[0], conversation(()), sampling=SHARP, thinking=True, strength=0.5)
    done = run(way, code_of(way, [request], recorder.url), tmp_path)
    assert done.returncode == 0, done.stderr
    settings = {
        "max_tokens": 7,
        "temperature": 0,
        "top_p": 0.35,
        "top_k": 40,
        "seed": 2**63 - 1,
        "stop": ["END", '"\n\u2028$'],
        "frequency_penalty": -0.5,
        "presence_penalty": 1.5,
        "thinking": True,
        "strength": 0.5,
    }
    assert [body for _, _, body in recorder.asked] == [body_of(request, **settings)]


@pytest.mark.parametrize("way", WAYS)
def test_each_model_is_asked_at_its_own_strength(way, recorder, tmp_path):
    strengths = (1.0, 0.25)
    requests = [
        GenerationRequest(model, conversation(()), strength=strength)
        for model, strength in zip(MODELS, strengths, strict=True)
    ]
    done = run(way, code_of(way, requests, recorder.url), tmp_path)
    assert done.returncode == 0, done.stderr
    asked = [body for _, _, body in recorder.asked]
    assert [(body["model"], body["strength"]) for body in asked] == list(zip(MODELS, strengths, strict=True))


@pytest.mark.parametrize("way", [way for way in WAYS if way != "curl"])
def test_a_refusal_is_told_and_ends_the_program(way, recorder, tmp_path):
    recorder.status = 404
    requests = [GenerationRequest(model, conversation(())) for model in MODELS]
    done = run(way, code_of(way, requests, recorder.url), tmp_path)
    assert done.returncode != 0
    assert "no such model" in done.stderr
    assert len(recorder.asked) == 1


def test_long_texts_are_laid_out_line_by_line():
    messages = (Message("system", "Be brief.\nNever lie."), Message("user", "Where is it?"))
    request = GenerationRequest("m", messages)
    python = code_of("Python (httpx)", [request], "http://h")
    assert '            "Be brief.\\n"\n            "Never lie."\n' in python
    assert '    {"role": "user", "content": "Where is it?"},\n' in python
    script = code_of("JavaScript (fetch)", [request], "http://h")
    assert '      "Be brief.\\n" +\n      "Never lie.",\n' in script
    assert '  { role: "user", content: "Where is it?" },\n' in script
    for snippet in snippets([request], "http://h", keys_on=True):
        assert snippet.code.endswith("\n")
        assert max(len(line) for line in snippet.code.splitlines()) <= 100


def test_nothing_unseen_stands_in_the_code():
    unseen = "\x00\x1b\x7f\x85\r\u2028\u2029\u202e\u2066\ufeff"
    half = Sampling(stop=("\ud83d",))
    request = GenerationRequest("m", (Message("user", f"a{unseen}b"),), sampling=half)
    for snippet in snippets([request], "http://h", keys_on=False):
        assert not set(unseen) & set(snippet.code), snippet.name
        assert snippet.code.encode()


def test_settings_that_were_left_alone_are_not_written_down():
    for snippet in snippets([GenerationRequest("m", conversation(()))], "http://h", keys_on=False):
        for name in ("top_p", "top_k", "seed", "stop", "penalty", "thinking", "strength", "extra_body", KEY_VARIABLE):
            assert name not in snippet.code, (snippet.name, name)
