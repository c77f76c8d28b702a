"""A model that one of Hugging Face's providers answers for, through huggingface_hub's own client. The router's
address is a scripted server's here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from playground.errors import Cancelled, InternalError, InvalidRequest, ModelLoadFailed, Overloaded
from playground.remote import Limits, RemoteEngine
from playground.types import Delta, GenerationRequest, Message, ModelCard, Sampling
from tests.drive import Watch, start, wait_for
from tests.far import END, Asked, Far, far_server, said, used

QUESTION = (Message("user", "Hi"),)
CARD = ModelCard("org/model", "model", "base", "org/model", provider="together", api_key_env="MY_TOKEN")
TOKEN = "hf_s3cret"


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    """The router, and the Hub that is asked how the provider calls the model."""
    from huggingface_hub.hf_api import InferenceProviderMapping
    from huggingface_hub.inference._providers import _common

    mapping = InferenceProviderMapping(
        provider="together", hf_model_id="org/model", providerId="their-name", status="live", task="conversational"
    )
    monkeypatch.setitem(_common.HARDCODED_MODEL_INFERENCE_MAPPING, "together", {"org/model": mapping})
    with far_server() as running:
        address = f"http://127.0.0.1:{running.port}/{{provider}}"
        monkeypatch.setattr(constants, "INFERENCE_PROXY_TEMPLATE", address)
        yield running


@pytest.fixture
def engine(far: Far) -> Iterator[RemoteEngine]:
    running = RemoteEngine(CARD, {"MY_TOKEN": TOKEN}, Limits(num_tries=1))
    running.prepare(CARD, Watch())
    yield running
    running.close()


def ask(engine: RemoteEngine, **settings):
    asked = {"messages": QUESTION} if "prompt" not in settings else {}
    return start(engine, CARD, GenerationRequest(CARD.id, **asked, **settings))


def test_an_answer(far, engine):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("Good") + said(" day") + said(finish="stop") + used(5, 3) + END)

    far.answer(script)
    sampling = Sampling(max_tokens=9, temperature=0, seed=7, stop=("x",), top_k=3)
    answer = ask(engine, sampling=sampling).answer()
    assert (answer.text, answer.finish.reason, answer.finish.usage.num_prompt_tokens) == ("Good day", "stop", 5)
    (asked,) = far.asked
    assert (asked.path, asked.headers["authorization"]) == ("/together/v1/chat/completions", f"Bearer {TOKEN}")
    sent = {"model": "their-name", "max_tokens": 9, "temperature": 0, "seed": 7, "stop": ["x"], "top_k": 3}
    assert sent.items() <= asked.body.items()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, InvalidRequest, "so it says"),
        (401, ModelLoadFailed, "MY_TOKEN"),
        (404, ModelLoadFailed, "org/model"),
        (429, Overloaded, "so it says"),
        (500, InternalError, "so it says"),
    ],
)
def test_refusals(far, engine, status, kind, words):
    far.answer(lambda asked: asked.reply(status, {"error": {"message": f"so it says to {TOKEN}"}}))
    error = ask(engine).error()
    assert type(error) is kind
    assert words in error.message
    assert TOKEN not in error.message


def test_an_answer_that_breaks_off_is_an_error(far, engine):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("Good"))

    far.answer(script)
    assert isinstance(ask(engine).error(), InternalError)


def test_a_cancelled_answer_closes_its_connection(far, engine):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("Good"))
        asked.wait_until_hung_up()

    far.answer(script)
    running = ask(engine)
    wait_for(lambda: isinstance(running.next(), Delta))
    running.job.cancelled.set()
    assert isinstance(running.error(), Cancelled)


def test_an_answer_that_never_ends_is_cut_off(far, engine):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send_until_hung_up(said("tick "))

    far.answer(script)
    assert ask(engine, sampling=Sampling(max_tokens=20)).answer().finish.reason == "length"


def test_a_line_that_never_ends_is_the_providers_fault(far, engine):
    def script(asked: Asked) -> None:
        assert asked.headers["accept-encoding"] == "identity"
        asked.begin()
        asked.send("data: ")
        asked.send_until_hung_up("x" * 2**20)

    far.answer(script)
    error = ask(engine).error()
    assert isinstance(error, InternalError)
    assert "it sent more than 16 MiB in one line" in error.message


def test_raw_text_is_refused(far, engine):
    error = ask(engine, prompt="x").error()
    assert isinstance(error, InvalidRequest)
    assert "takes messages only" in error.message


@pytest.mark.usefixtures("far")
def test_what_is_not_there():
    with pytest.raises(ModelLoadFailed, match="'MY_TOKEN'"):
        RemoteEngine(CARD, {})
    unknown = ModelCard("org/model", "model", "base", "org/model", provider="nobody", api_key_env="MY_TOKEN")
    engine = RemoteEngine(unknown, {"MY_TOKEN": TOKEN})
    error = start(engine, unknown, GenerationRequest(unknown.id, QUESTION)).error()
    engine.close()
    assert isinstance(error, ModelLoadFailed)
    assert "'nobody' not supported" in error.message
