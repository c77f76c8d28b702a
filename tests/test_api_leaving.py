"""Clients that leave: streaming or not, while a prompt is read or an answer is given, the engine is free again."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.drive import Held
from tests.server import LLAMA, PATIENCE, THINKER, TUNED, Server, serving

TEXT, CHAT, OWN = "/v1/completions", "/v1/chat/completions", "/api/v1/playground/completions"
COMPARE, SCORE, FIDELITY = (f"/api/v1/playground/{name}" for name in ("compare", "score", "fidelity"))
QUESTION = [{"role": "user", "content": "hi"}]
ENDLESS = {"max_tokens": 4096, "temperature": 0}
# No end token, so that only a full context ends the answer by itself.
NO_END = {"logit_bias": {"0": -100}}


@contextmanager
def sent(server: Server, path: str, body: dict[str, Any]) -> Iterator[socket.socket]:
    """A connection over which a request went out; leaving the block hangs up at once."""
    address = urlsplit(server.url)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        yield connection


def rows_of(loop: Any) -> list[Any]:
    """All that wait or run."""
    return [*loop._waiting, *loop._filling, *loop._running, *loop._arrived]


def outcomes(server: Server) -> dict[str, float]:
    found = re.findall(r'playground_answers_total{outcome="(\w+)"} ([\d.]+)', server.get("/metrics").body.decode())
    return {outcome: float(count) for outcome, count in found}


def until(happened: Callable[[], bool]) -> None:
    """Waits for what another thread does; gives up where it never comes."""
    for _ in range(int(PATIENCE / 0.01)):
        if happened():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never happened")


def requests() -> list[Any]:
    """Each route, streamed and whole, one answer and several."""
    chat = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}], **ENDLESS, **NO_END}
    text = {"model": LLAMA, "prompt": "hi", **ENDLESS, **NO_END}
    bodies = [(TEXT, text), (TEXT, {**text, "n": 3}), (CHAT, chat), (CHAT, {**chat, "n": 3}), (OWN, chat)]
    return [
        pytest.param(
            path, {**body, "stream": stream}, id=f"{path}-{body.get('n', 1)}-{'stream' if stream else 'whole'}"
        )
        for path, body in bodies
        for stream in (False, True)
    ]


@pytest.mark.parametrize("verb", ["prefill", "step"])
@pytest.mark.parametrize(("path", "body"), requests())
def test_a_client_that_leaves_frees_the_engine(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], verb: str
) -> None:
    loop = server.loop(LLAMA)
    before = outcomes(server)
    held = Held(loop, verb, monkeypatch)
    with sent(server, path, body):
        assert held.reached.wait(PATIENCE)
        jobs = [row.job for row in rows_of(loop)]
    # Hung up. The loop is still held, and every answer has been told already.
    until(lambda: all(job.cancelled.is_set() for job in jobs))
    held.let_go()
    until(loop.is_idle)
    assert held.num_calls <= 2, "nobody listens, and it went on"
    num = body.get("n", 1)
    until(lambda: outcomes(server).get("cancelled", 0) == before.get("cancelled", 0) + num)
    assert server.post(TEXT, {"model": LLAMA, "prompt": "x", "max_tokens": 1}).status == 200


@pytest.mark.parametrize("verb", ["prefill", "step"])
def test_a_client_that_leaves_a_comparison_ends_both_sides(
    server: Server, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    loop = server.loop(LLAMA)
    held = Held(loop, verb, monkeypatch)
    before = outcomes(server)
    with sent(server, COMPARE, {"models": [LLAMA, TUNED], "messages": QUESTION, **ENDLESS, **NO_END}):
        assert held.reached.wait(PATIENCE)
        until(lambda: len(rows_of(loop)) == 2)
        jobs = [row.job for row in rows_of(loop)]
    until(lambda: all(job.cancelled.is_set() for job in jobs))
    held.let_go()
    until(loop.is_idle)
    until(lambda: outcomes(server).get("cancelled", 0) == before.get("cancelled", 0) + 2)
    assert held.num_calls <= 3, "nobody listens, and it went on to look closer"


def test_a_client_that_leaves_a_score_frees_the_engine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = server.loop(LLAMA)
    before = outcomes(server)
    held = Held(loop, "prefill", monkeypatch)
    with sent(server, SCORE, {"model": LLAMA, "messages": QUESTION, "completion_ids": [7, 8]}):
        assert held.reached.wait(PATIENCE)
        (row,) = rows_of(loop)
    until(row.job.cancelled.is_set)
    held.let_go()
    until(loop.is_idle)
    until(lambda: outcomes(server).get("cancelled", 0) == before.get("cancelled", 0) + 1)


def test_a_client_that_leaves_a_question_holds_its_model_until_that_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question cannot be broken off; it must not lose its model under its feet, nor keep it afterwards."""
    reached, go, over = threading.Event(), threading.Event(), threading.Event()

    def held(*_: object) -> list[object]:
        reached.set()
        assert go.wait(PATIENCE)
        over.set()
        return []

    server.loop(LLAMA)
    (slot,) = [slot for slot in server.app.registry._slots.values() if slot.engine and slot.base.id == LLAMA]
    monkeypatch.setattr(slot.engine, "fidelity", held)
    before = len(slot.held)
    with sent(server, FIDELITY, {"model": TUNED, "messages": QUESTION}):
        assert reached.wait(PATIENCE)
    assert len(slot.held) == before + 1
    go.set()
    until(over.is_set)
    until(lambda: len(slot.held) == before)


@pytest.fixture
def new_server(models_file: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, on which no model has been loaded yet."""
    with serving(models_file, tmp_path) as running:
        yield running


def test_a_client_that_leaves_in_a_load_ends_it(new_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = new_server.app.engines.local()
    reached, go, real = threading.Event(), threading.Event(), loader.size_bytes

    def held(*args: Any) -> Any:
        reached.set()
        assert go.wait(PATIENCE)
        return real(*args)

    monkeypatch.setattr(loader, "size_bytes", held)
    with sent(new_server, TEXT, {"model": THINKER, "prompt": "x", "max_tokens": 1}):
        assert reached.wait(PATIENCE)
    registry = new_server.app.registry
    until(lambda: not any(slot.waiting for slot in registry._slots.values()))
    go.set()
    monkeypatch.undo()
    assert new_server.post(TEXT, {"model": THINKER, "prompt": "x", "max_tokens": 1}).status == 200


def test_a_prompt_is_broken_off_between_two_layers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = server.loop(LLAMA)
    layers = loop._stepper._model.get_decoder().layers
    reached, go, entered = threading.Event(), threading.Event(), []

    def hold(layer: Any, *_: object) -> None:
        entered.append(layer)
        reached.set()
        assert go.wait(PATIENCE)

    handles = [layer.register_forward_hook(hold) for layer in layers]
    try:
        with sent(server, TEXT, {"model": LLAMA, "prompt": "the quick brown", "max_tokens": 9}):
            assert reached.wait(PATIENCE)
            (row,) = loop._filling
        until(row.job.cancelled.is_set)
        go.set()
        until(loop.is_idle)
    finally:
        for handle in handles:
            handle.remove()
    assert entered == [layers[0]], "the layers after the first were run for nobody"
