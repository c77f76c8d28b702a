"""llama.cpp's server as the other server, with the demo base made into a GGUF file: another engine altogether, the
same answers. Skipped where llama-cpp-python is not installed: see requirements-remote.txt."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from playground.errors import Cancelled, ModelLoadFailed
from playground.remote import RemoteEngine
from playground.types import Delta, GenerationRequest, Message, ModelCard, Sampling
from tests.drive import Watch, free_port, start, wait_for
from tests.server import DEMO, ROOT, Server

WHY = "llama-cpp-python and gguf are not installed: pip install -r requirements-remote.txt (it compiles for long)"
pytest.importorskip("llama_cpp", reason=WHY)
pytest.importorskip("gguf", reason=WHY)

QUESTION = (Message("user", "How much is delivery?"),)
ASKED = [{"role": "user", "content": QUESTION[0].content}]
KEY = "far-key"
END_TOKEN = 2


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelCard]:
    """A model that llama.cpp answers for, which wants a key."""
    from tests.gguf_model import save_gguf

    folder = tmp_path_factory.mktemp("llama_cpp")
    save_gguf(ROOT / "demo/base", folder / "demo.gguf")
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(folder / "demo.gguf"), "--model_alias", "demo"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512", "--logits_all", "true"]
    environ = {**os.environ, "API_KEY": KEY}
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen([*command, *options], stdout=out, stderr=out, env=environ) as server:

        def is_up() -> bool:
            assert server.poll() is None, log.read_text()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models")
            request.add_header("Authorization", f"Bearer {KEY}")
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status == 200
            except OSError:
                return False

        try:
            wait_for(is_up)
            yield ModelCard(
                "far",
                "far",
                "base",
                "far",
                endpoint=f"http://127.0.0.1:{port}/v1",
                served_model_name="demo",
                api_key_env="FAR_KEY",
            )
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def remote(card: ModelCard) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(card, {"FAR_KEY": KEY})
    engine.prepare(card, Watch())
    yield engine
    engine.close()


def local_choice(server: Server, **body) -> dict:
    reply = server.post("/v1/chat/completions" if "messages" in body else "/v1/completions", {"model": DEMO, **body})
    assert reply.status == 200, reply.body
    (choice,) = reply.json()["choices"]
    return choice


def test_a_chat_is_the_local_one(server, card, remote):
    sampling = Sampling(max_tokens=40, temperature=0)
    answer = start(remote, card, GenerationRequest(card.id, QUESTION, sampling=sampling)).answer()
    choice = local_choice(server, messages=ASKED, temperature=0, max_tokens=40)
    assert (answer.text, answer.finish.reason) == (choice["message"]["content"], choice["finish_reason"])


def test_raw_text_its_limit_and_its_scores_are_the_local_ones(server, card, remote):
    sampling = Sampling(max_tokens=8, temperature=0, logprobs=2)
    answer = start(remote, card, GenerationRequest(card.id, prompt="Your parcel", sampling=sampling)).answer()
    choice = local_choice(server, prompt="Your parcel", temperature=0, max_tokens=8, logprobs=2)
    assert (answer.text, answer.finish.reason) == (choice["text"], "length")
    assert "".join(one.piece for one in answer.logprobs) == answer.text
    # Two engines, two orders of summing: float32 agrees to a few digits.
    assert [one.logprob for one in answer.logprobs] == pytest.approx(choice["logprobs"]["token_logprobs"], abs=1e-2)


def test_a_stop_string(server, card, remote):
    sampling = Sampling(max_tokens=40, temperature=0, stop=(" is",))
    answer = start(remote, card, GenerationRequest(card.id, QUESTION, sampling=sampling)).answer()
    choice = local_choice(server, messages=ASKED, temperature=0, max_tokens=40, stop=[" is"])
    assert (answer.text, answer.finish.reason) == (choice["message"]["content"], "stop")


def test_a_seed_gives_the_same_again(card, remote):
    sampling = Sampling(max_tokens=20, temperature=1, seed=3)
    request = GenerationRequest(card.id, prompt="Your parcel", sampling=sampling)
    one, other = (start(remote, card, request).answer() for _ in range(2))
    assert one.text == other.text
    assert one.finish.seed == 3


def test_a_cancelled_answer_leaves_the_server_free(card, remote):
    # Without its end token the model goes on to the limit, far longer than it takes to hang up.
    sampling = Sampling(max_tokens=480, temperature=1, seed=1, logit_bias={END_TOKEN: -100})
    running = start(remote, card, GenerationRequest(card.id, prompt="a b c", sampling=sampling))
    wait_for(lambda: isinstance(running.next(), Delta))
    running.job.cancelled.set()
    assert isinstance(running.error(), Cancelled)
    again = GenerationRequest(card.id, prompt="Your parcel", sampling=Sampling(max_tokens=3, temperature=0))
    assert start(remote, card, again).answer().text


def test_a_wrong_key_is_named_by_its_variable(card):
    engine = RemoteEngine(card, {"FAR_KEY": "wrong"})
    with pytest.raises(ModelLoadFailed, match="FAR_KEY"):
        engine.prepare(card, Watch())
    engine.close()
