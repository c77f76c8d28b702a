"""This program's own REST API as the other server: local and remote give the same answers, to the last figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from playground.accounts import Accounts
from playground.errors import ModelLoadFailed
from playground.remote import RemoteEngine
from playground.store import Store
from playground.types import Answer, Engine, GenerationRequest, Message, ModelCard, Sampling
from tests.drive import Watch, start
from tests.server import DEMO, JSON, Server, serving

GREEDY = Sampling(max_tokens=40, temperature=0)
QUESTION = (Message("user", "How much is delivery?"),)
BASE = ModelCard("far/demo", "demo", "base", "far/demo", served_model_name=DEMO)
TUNED = ModelCard("far/json", "json", "fine-tuned", "far/demo", base_model="far/demo", served_model_name=JSON)


def card(server: Server, of: ModelCard = BASE) -> ModelCard:
    return replace(of, endpoint=f"{server.url}/v1")


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(card(server), {})
    for one in (BASE, TUNED):
        engine.prepare(card(server, one), Watch())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def local(server: Server) -> Engine:
    """The very engine that the server answers with."""
    for model in (DEMO, JSON):
        body = {"model": model, "prompt": "x", "max_tokens": 1}
        assert server.post("/v1/completions", body).status == 200
    engines = [slot.engine for slot in server.app.registry._slots.values() if slot.engine and slot.base.id == DEMO]
    assert len(engines) == 1
    assert engines[0] is not None
    return engines[0]


def both(server: Server, local: Engine, remote: Engine, of: ModelCard, **asked) -> tuple[Answer, Answer]:
    here = server.app.playground.status(of.served_model_name or "").card
    there = card(server, of)
    ours = start(local, here, GenerationRequest(here.id, **asked)).answer()
    theirs = start(remote, there, GenerationRequest(there.id, **asked)).answer()
    return ours, theirs


@pytest.mark.parametrize("of", [BASE, TUNED], ids=["base", "tuned"])
@pytest.mark.parametrize("asked", [{"messages": QUESTION}, {"prompt": "Your parcel"}], ids=["chat", "raw"])
@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(max_tokens=40, temperature=1, seed=11),
        Sampling(max_tokens=5, temperature=0.7, seed=-3, top_p=0.8, top_k=7),
        Sampling(max_tokens=40, temperature=0, frequency_penalty=1.5, presence_penalty=-0.5, logit_bias={50: -100}),
        Sampling(max_tokens=40, temperature=0, stop=("e", "zz")),
        Sampling(max_tokens=30, temperature=0, logprobs=3),
        Sampling(max_tokens=30, temperature=1, seed=5, logprobs=0, stop=(" is",)),
    ],
    ids=["greedy", "seed", "shapes", "penalties", "stop", "scores", "scores and stop"],
)
def test_answers_are_the_local_engines(server, local, remote, of, asked, sampling):
    ours, theirs = both(server, local, remote, of, sampling=sampling, **asked)

    assert theirs.text == ours.text
    assert theirs.finish.reason == ours.finish.reason
    assert theirs.finish.usage == ours.finish.usage
    assert theirs.token_ids == ()
    assert (theirs.finish.view, theirs.finish.exact_seed, theirs.finish.proof) == ("remote", False, None)
    assert theirs.finish.seed == sampling.seed
    assert theirs.finish.notes == ()
    if sampling.logprobs is not None:
        same_scores(ours, theirs)


def same_scores(ours: Answer, theirs: Answer) -> None:
    """Those of the tokens that wrote the text: a stop string's are not sent."""
    assert len(theirs.logprobs) > 0
    for one, other in zip(ours.logprobs, theirs.logprobs, strict=False):
        assert other.token_id is None
        assert (other.spelling, other.piece) == (one.spelling, one.piece)
        assert other.logprob == pytest.approx(one.logprob, abs=1e-4)
        assert [(t.spelling, pytest.approx(t.logprob, abs=1e-4)) for t in one.top] == [
            (t.spelling, t.logprob) for t in other.top
        ]
    assert len(theirs.logprobs) == len(ours.logprobs) or "".join(t.piece for t in theirs.logprobs) == theirs.text
    if theirs.finish.end is not None:
        assert ours.finish.end is not None
        assert theirs.finish.end.spelling == ours.finish.end.spelling


def test_a_prompt_is_scored_as_it_is_here(server, local, remote):
    asked = {"prompt": "Your parcel is on its way – 2 €.", "echo": True}
    ours, theirs = both(server, local, remote, BASE, sampling=Sampling(max_tokens=0, logprobs=2), **asked)

    assert ours.echo is not None
    assert theirs.echo is not None
    assert theirs.echo.text == asked["prompt"]
    assert "".join(theirs.echo.pieces) == asked["prompt"]
    known = [(one.spelling, pytest.approx(one.logprob, abs=1e-4)) for one in ours.echo.logprobs if one]
    assert [(one.spelling, one.logprob) for one in theirs.echo.logprobs if one] == known
    assert theirs.echo.logprobs[0] is None
    assert (theirs.text, theirs.finish.reason) == ("", "length")
    assert theirs.finish.usage == ours.finish.usage


def test_an_echo_without_scores_needs_no_server(server, remote):
    there = card(server)
    request = GenerationRequest(there.id, prompt="Your parcel", echo=True, sampling=GREEDY)
    answer = start(remote, there, request).answer()
    assert answer.echo is not None
    assert answer.echo.text == "Your parcel"


def test_many_answers_at_once(server, local, remote):
    there = card(server)
    requests = [
        GenerationRequest(there.id, QUESTION, sampling=Sampling(max_tokens=12, temperature=1, seed=seed))
        for seed in range(12)
    ]
    running = [start(remote, there, request) for request in requests]
    texts = [one.answer().text for one in running]
    here = server.app.playground.status(DEMO).card
    assert texts == [start(local, here, request).answer().text for request in requests]


def test_a_key_is_sent_where_one_is_needed_and_never_told(models_file, tmp_path):
    key = Accounts(Store(tmp_path)).create("alice", [])
    with serving(models_file, tmp_path) as guarded:
        base = replace(card(guarded), api_key_env="FAR_KEY")
        engine = RemoteEngine(base, {"FAR_KEY": key})
        engine.prepare(base, Watch())
        request = GenerationRequest(base.id, QUESTION, sampling=GREEDY)
        assert start(engine, base, request).answer().text
        engine.close()

        wrong = "tt_" + "x" * 40
        for environ, named, words in (({"FAR_KEY": wrong}, base, "FAR_KEY"), ({}, card(guarded), "api_key_env")):
            engine = RemoteEngine(named, environ)
            with pytest.raises(ModelLoadFailed, match=words) as caught:
                engine.prepare(named, Watch())
            error = start(engine, named, request).error()
            engine.close()
            assert isinstance(error, ModelLoadFailed)
            assert "401" in error.message
            assert words in error.message
            assert wrong not in error.message + caught.value.message

    with pytest.raises(ModelLoadFailed, match="'FAR_KEY'"):
        RemoteEngine(base, {})
