"""`transformers serve` as the other server, with the demo base: another program's answers are the embedded engine's."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.errors import Cancelled, InvalidRequest
from playground.remote import RemoteEngine
from playground.remote.hearing import NO_SCORES
from playground.types import Delta, GenerationRequest, Message, ModelCard, Sampling
from tests.drive import Watch, free_port, start, wait_for
from tests.server import DEMO, ROOT, Server

FOLDER = str(ROOT / "demo/base")
QUESTION = (Message("user", "How much is delivery?"),)
GREEDY = Sampling(max_tokens=40, temperature=0)
END_TOKEN = 2


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelCard]:
    """A model that `transformers serve` answers for."""
    pytest.importorskip("openai", reason="transformers serve needs the openai package")
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", FOLDER]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    log = tmp_path_factory.mktemp("serve") / "log"
    environ = {**os.environ, "HF_HOME": str(log.parent), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out, subprocess.Popen([*command, *options], stdout=out, stderr=out, env=environ) as server:

        def is_up() -> bool:
            assert server.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    return answer.status == 200
            except OSError:
                return False

        try:
            wait_for(is_up)
            endpoint = f"http://127.0.0.1:{port}/v1"
            yield ModelCard("far", "far", "base", "far", endpoint=endpoint, served_model_name=FOLDER)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def remote(card: ModelCard) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(card, {})
    engine.prepare(card, Watch())
    yield engine
    engine.close()


def local_answer(server: Server, **body) -> dict:
    reply = server.post("/v1/chat/completions" if "messages" in body else "/v1/completions", {"model": DEMO, **body})
    assert reply.status == 200, reply.body
    return reply.json()


def test_a_chat_is_the_local_one(server, card, remote):
    answer = start(remote, card, GenerationRequest(card.id, QUESTION, sampling=GREEDY)).answer()
    messages = [{"role": "user", "content": QUESTION[0].content}]
    local = local_answer(server, messages=messages, temperature=0, max_tokens=40)
    (choice,) = local["choices"]
    assert (answer.text, answer.finish.reason) == (choice["message"]["content"], choice["finish_reason"])
    assert answer.finish.usage.num_prompt_tokens == local["usage"]["prompt_tokens"]
    # It counts the end token as well.
    assert answer.finish.usage.num_completion_tokens == local["usage"]["completion_tokens"] + 1
    assert answer.finish.notes == ()


def test_raw_text_is_the_local_one_and_is_cut_at_the_limit(server, card, remote):
    sampling = Sampling(max_tokens=6, temperature=0)
    answer = start(remote, card, GenerationRequest(card.id, prompt="Your parcel", sampling=sampling)).answer()
    (choice,) = local_answer(server, prompt="Your parcel", temperature=0, max_tokens=6)["choices"]
    assert (answer.text, answer.finish.reason) == (choice["text"], "length")


def test_a_stop_string_is_not_in_the_text(server, card, remote):
    sampling = Sampling(max_tokens=40, temperature=0, stop=(" is",))
    answer = start(remote, card, GenerationRequest(card.id, QUESTION, sampling=sampling)).answer()
    messages = [{"role": "user", "content": QUESTION[0].content}]
    (choice,) = local_answer(server, messages=messages, temperature=0, max_tokens=40, stop=[" is"])["choices"]
    assert (answer.text, answer.finish.reason) == (choice["message"]["content"], "stop")


def test_scores_that_it_does_not_give_are_said_to_be_missing(card, remote):
    answer = start(remote, card, GenerationRequest(card.id, QUESTION, sampling=Sampling(logprobs=1))).answer()
    assert answer.text
    assert (answer.logprobs, answer.finish.notes) == ((), (NO_SCORES,))


def test_a_cancelled_answer_ends(card, remote):
    # Without its end token the model goes on to the limit, far longer than it takes to hang up.
    sampling = Sampling(max_tokens=480, temperature=1, seed=1, logit_bias={END_TOKEN: -100})
    running = start(remote, card, GenerationRequest(card.id, prompt="a b c", sampling=sampling))
    wait_for(lambda: isinstance(running.next(), Delta))
    running.job.cancelled.set()
    assert isinstance(running.error(), Cancelled)


def test_a_field_that_it_does_not_know_is_refused_in_its_own_words(card, remote):
    error = start(remote, card, GenerationRequest(card.id, QUESTION, sampling=Sampling(top_k=3))).error()
    assert isinstance(error, InvalidRequest)
    assert "Unexpected fields in the request: {'top_k'}" in error.message
