"""The one door, over a real engine: what comes out for what goes in, and what a caller who leaves leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from playground.catalog import LiveCatalog
from playground.errors import (
    Cancelled,
    InternalError,
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    Overloaded,
    PlaygroundError,
    PlaygroundUnavailable,
)
from playground.history import History
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.steppers import Steppers
from playground.prompts import Prompt, encode
from playground.registry import Registry
from playground.service import Playground
from playground.store import Store
from playground.types import Answer, Caller, Delta, Finish, GenerationRequest, Job, Message, Progress, Sampling
from tests import tiny
from tests.drive import PATIENCE, start, wait_for
from tests.test_text import byte_fallback_tokenizer

Door = tuple[Playground, Registry, Path]


def open_door(root: Path, entries: list[dict[str, Any]], **settings: Any) -> tuple[Playground, Registry]:
    (root / "models.yaml").write_text(yaml.safe_dump({"models": entries}))
    catalog = LiveCatalog(root / "models.yaml", root / "added.yaml")
    registry = Registry(
        catalog.base_of, LocalLoader(Steppers(kernels=False), max_rows=settings.pop("max_rows", 16)), 10**9
    )
    return Playground(catalog, registry, History(Store(root)), **settings), registry


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    root = tmp_path_factory.mktemp("door")
    tiny.save_base("llama", root / "llama")
    tiny.save_base("llama", root / "bf16", torch.bfloat16)
    tiny.save_base("qwen3_5", root / "thinks", template=tiny.THINKING_TEMPLATE)
    tiny.save_base("starcoder2", root / "raw", template=None)
    tiny.save_adapter("llama", root / "llama", root / "one", 1)
    tiny.save_adapter("llama", root / "llama", root / "two", 2)
    (tiny.save_adapter("llama", root / "llama", root / "own", 3) / "chat_template.jinja").write_text(
        "{% for m in messages %}<|user|>ME: {{ m.content }}<|end|>{% endfor %}"
    )
    tiny.save_adapter("phi3", tiny.save_base("phi3", root / "phi3"), root / "foreign")
    playground, registry = open_door(
        root,
        [
            {"id": "tiny/llama", "path": "llama", "context_length": 200},
            {"id": "tiny/one", "base_model": "tiny/llama", "adapter": "./one"},
            {"id": "tiny/two", "base_model": "tiny/llama", "adapter": "./two"},
            {
                "id": "tiny/other-manner",
                "path": "llama",
                "context_length": 40,
                "chat_template": "{{ messages[0].content }}",
            },
            {"id": "tiny/bad-template", "path": "llama", "chat_template": "{% if %}{{ x }}"},
            {"id": "tiny/own", "base_model": "tiny/llama", "adapter": "./own", "context_length": 60},
            {"id": "tiny/foreign", "base_model": "tiny/llama", "adapter": "./foreign"},
            {"id": "tiny/gone", "base_model": "tiny/llama", "adapter": "./nowhere"},
            {"id": "tiny/bf16", "path": "bf16"},
            {"id": "tiny/thinks", "path": "thinks"},
            {"id": "tiny/raw", "path": "raw"},
            {"id": "somebody/on-the-hub"},
        ],
    )
    yield playground, registry, root
    registry.close()


def ask(model: str, text: str = "hello there", *, max_tokens: int = 12, **settings: Any) -> GenerationRequest:
    extra = {key: settings.pop(key) for key in ("thinking", "strength", "alone") if key in settings}
    sampling = Sampling(max_tokens=max_tokens, **{"temperature": 0, **settings})
    return GenerationRequest(model, (Message("user", text),), sampling=sampling, **extra)


def complete(playground: Playground, request: GenerationRequest) -> Answer:
    return asyncio.run(playground.complete(request))


def together(playground: Playground, requests: list[GenerationRequest]) -> list[Answer]:
    async def run() -> list[Answer]:
        return await asyncio.gather(*(playground.complete(request) for request in requests))

    return asyncio.run(run())


def test_an_answer_is_what_the_model_gives(door: Door) -> None:
    playground, _, root = door
    answer = complete(playground, ask("tiny/llama", "the quick brown fox"))
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "llama")
    model: Any = AutoModelForCausalLM.from_pretrained(root / "llama")
    ids = tokenizer("<|user|>the quick brown fox<|end|><|assistant|>")["input_ids"]
    out = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
    expected = out[: out.index(0)] if 0 in out else out
    assert list(answer.token_ids) == expected
    assert answer.text == tokenizer.decode(expected, skip_special_tokens=True)
    assert answer.finish.usage.num_prompt_tokens == len(ids)
    assert answer.finish.usage.num_completion_tokens == len(expected)
    assert answer.finish.reason == ("stop" if 0 in out else "length")


def test_timing_adds_up(door: Door) -> None:
    timing = complete(door[0], ask("tiny/llama", temperature=1.0, seed=3, max_tokens=30)).finish.timing
    assert timing.first_token_ms is not None
    assert 0 <= timing.load_ms <= timing.first_token_ms
    assert timing.load_ms + timing.queued_ms <= timing.first_token_ms
    assert timing.first_token_ms + timing.decode_ms <= timing.total_ms + 0.001


def test_seeds_give_the_same_alone_and_beside_others_in_any_order(door: Door) -> None:
    playground = door[0]
    rng = random.Random(2)
    requests = [
        ask(rng.choice(["tiny/llama", "tiny/one", "tiny/two"]), f"number {i}", max_tokens=25, temperature=1.2, seed=i)
        for i in range(10)
    ]
    alone = [complete(playground, request) for request in requests]
    order = rng.sample(range(10), 10)
    beside = together(playground, [requests[i] for i in order])
    for i, answer in zip(order, beside, strict=True):
        assert answer.token_ids == alone[i].token_ids
        assert answer.finish.exact_seed
        assert answer.finish.seed == i


def test_a_drawn_seed_is_named_and_can_be_used_again(door: Door) -> None:
    first = complete(door[0], ask("tiny/one", temperature=1.0, alone=False))
    again = complete(door[0], ask("tiny/one", temperature=1.0, alone=False, seed=first.finish.seed))
    assert again.token_ids == first.token_ids


def test_bf16_says_that_a_seed_is_not_exact(door: Door) -> None:
    assert not complete(door[0], ask("tiny/bf16", temperature=1.0, seed=1)).finish.exact_seed
    assert complete(door[0], ask("tiny/llama", temperature=1.0, seed=1)).finish.exact_seed


def test_each_answer_says_what_gave_it(door: Door) -> None:
    views = [complete(door[0], ask(m, alone=False)).finish.view for m in ("tiny/llama", "tiny/one")]
    assert views == ["base", "attached"]


def test_strength_nought_is_the_base_and_only_fine_tunes_have_one(door: Door) -> None:
    base = complete(door[0], ask("tiny/llama"))
    assert complete(door[0], ask("tiny/one", strength=0.0)).token_ids == base.token_ids
    assert complete(door[0], ask("tiny/one")).token_ids != base.token_ids
    with pytest.raises(InvalidRequest, match="strength"):
        complete(door[0], ask("tiny/llama", strength=0.5))


def test_two_sides_stream_at_the_same_time(door: Door) -> None:
    async def run() -> list[int]:
        order = []
        sides = [ask(m, max_tokens=100, alone=False, logit_bias={0: -100.0}) for m in ("tiny/llama", "tiny/one")]
        async for side, event in door[0].stream_all(sides):
            if isinstance(event, Delta | Finish):
                order.append(side)
        return order

    order = asyncio.run(run())
    first, last = ([order.index(i) for i in (0, 1)], [len(order) - order[::-1].index(i) for i in (0, 1)])
    assert max(first) < min(last)
    assert sum(a != b for a, b in itertools.pairwise(order)) > 50


def test_one_side_that_fails_does_not_stop_the_other(door: Door) -> None:
    async def run() -> dict[int, Any]:
        last = {}
        async for side, event in door[0].stream_all([ask("tiny/foreign"), ask("tiny/llama")]):
            last[side] = event
        return last

    last = asyncio.run(run())
    assert isinstance(last[0], ModelLoadFailed)
    assert isinstance(last[1], Finish)


def test_a_bug_in_one_side_ends_that_side(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    playground = door[0]
    stream = playground.stream

    def broken_stream(request: GenerationRequest, caller: Caller) -> Any:
        if request.model == "tiny/one":
            raise ZeroDivisionError("made to fail")
        return stream(request, caller)

    monkeypatch.setattr(playground, "stream", broken_stream)

    async def run() -> dict[int, Any]:
        return {side: event async for side, event in playground.stream_all([ask("tiny/one"), ask("tiny/llama")])}

    last = asyncio.run(run())
    assert isinstance(last[0], InternalError)
    assert isinstance(last[1], Finish)


def test_stops_cut_the_text_and_say_so(door: Door) -> None:
    whole = complete(door[0], ask("tiny/llama", max_tokens=40, logit_bias={0: -100.0}))
    stop = whole.text[5:8]
    at = whole.text.find(stop)
    cut = complete(door[0], ask("tiny/llama", max_tokens=40, logit_bias={0: -100.0}, stop=(stop,)))
    assert cut.text == whole.text[:at]
    assert cut.finish.reason == "stop"
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]


def test_streams_join_to_the_whole(door: Door) -> None:
    async def pieces(request: GenerationRequest) -> str:
        return "".join([e.text async for e in door[0].stream(request) if isinstance(e, Delta)])

    for seed in range(12):
        request = ask("tiny/llama", temperature=1.5, seed=seed, max_tokens=40)
        assert asyncio.run(pieces(request)) == complete(door[0], request).text


def test_logprobs_are_those_of_a_direct_forward(door: Door) -> None:
    playground, _, root = door
    answer = complete(playground, ask("tiny/llama", max_tokens=8, logprobs=3))
    model: Any = AutoModelForCausalLM.from_pretrained(root / "llama")
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "llama")
    ids = tokenizer("<|user|>hello there<|end|><|assistant|>")["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *answer.token_ids]])).logits[0].log_softmax(-1)
    for i, found in enumerate(answer.logprobs):
        row = logits[len(ids) - 1 + i]
        assert found.logprob == pytest.approx(float(row[found.token_id]), abs=1e-4)
        assert found.top[0].logprob == pytest.approx(float(row.max()), abs=1e-4)


@pytest.mark.parametrize("chunk", [3, 256])
@pytest.mark.parametrize("model", ["tiny/llama", "tiny/one"])
def test_an_echo_scores_the_prompt_as_a_direct_forward_does(
    door: Door, monkeypatch: pytest.MonkeyPatch, chunk: int, model: str
) -> None:
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", chunk)
    playground, _, root = door
    text = "the quick brown fox 🙂 naïve"
    sampling = Sampling(max_tokens=0, logprobs=2)
    answer = complete(playground, GenerationRequest(model, prompt=text, sampling=sampling, echo=True))
    stock: Any = AutoModelForCausalLM.from_pretrained(root / "llama")
    if model == "tiny/one":
        stock = PeftModel.from_pretrained(stock, root / "one")
    ids = AutoTokenizer.from_pretrained(root / "llama")(text)["input_ids"]
    with torch.no_grad():
        expected = stock(torch.tensor([ids])).logits[0].log_softmax(-1)
    echo = answer.echo
    assert echo is not None
    assert echo.text == text == "".join(echo.pieces)
    assert list(echo.token_ids) == ids
    assert echo.logprobs[0] is None
    for i, found in enumerate(echo.logprobs[1:], start=1):
        assert found is not None
        assert found.token_id == ids[i]
        assert found.piece == echo.pieces[i]
        assert found.logprob == pytest.approx(float(expected[i - 1, ids[i]]), abs=1e-4)
        assert found.top[0].logprob == pytest.approx(float(expected[i - 1].max()), abs=1e-4)
    assert (answer.text, answer.finish.reason, answer.finish.usage.num_completion_tokens) == ("", "length", 0)


def test_one_prompt_asked_often_is_read_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    playground, registry, _ = door
    complete(playground, ask("tiny/llama"))
    loop = engine_of(registry)._loop
    prefill, calls, gate = loop._stepper.prefill, [], threading.Event()

    def counted(lane: Any, ids: Any, **settings: Any) -> Any:
        calls.append(len(ids))
        assert gate.wait(PATIENCE)
        return prefill(lane, ids, **settings)

    requests = [ask("tiny/llama", "once", temperature=1.0, seed=seed, max_tokens=20) for seed in range(6)]
    alone = [complete(playground, request).token_ids for request in requests]
    monkeypatch.setattr(loop._stepper, "prefill", counted)
    card = playground.status("tiny/llama").card
    # The loop is held up by another prompt until all six have arrived.
    first = start(engine_of(registry), card, ask("tiny/llama", "another"))
    wait_for(lambda: calls)
    jobs = [start(engine_of(registry), card, request) for request in requests]
    wait_for(lambda: len(loop._arrived) == 6)
    gate.set()
    first.answer()
    assert [job.answer().token_ids for job in jobs] == alone
    assert len(calls) == 2


def test_the_choices_of_one_request_make_its_prompt_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    playground, _, _ = door
    complete(playground, ask("tiny/llama"))
    made: list[GenerationRequest] = []

    def counted(tokenizer: Any, request: GenerationRequest, *settings: Any) -> Prompt:
        made.append(request)
        return encode(tokenizer, request, *settings)

    monkeypatch.setattr("playground.local.engine.encode", counted)
    asked = ask("tiny/llama", "once more", temperature=1.0, seed=1)
    choices = [asked.drawn_by(replace(asked.sampling, seed=seed)) for seed in range(8)]
    answers = together(playground, choices)
    assert len(made) == 1
    assert [answer.token_ids for answer in answers] == [complete(playground, choice).token_ids for choice in choices]
    other = replace(asked, model="tiny/one")
    assert complete(playground, other).token_ids
    assert [request.model for request in made] == ["tiny/llama", "tiny/one"]
    made.clear()
    long = ask("tiny/llama", "word " * 500)
    for _ in range(3):
        with pytest.raises(InvalidRequest, match="too many"):
            complete(playground, long)
    assert len(made) == 1


def test_more_answers_than_there_are_places_are_refused(tmp_path: Path) -> None:
    tiny.save_base("llama", tmp_path / "llama")
    playground, registry = open_door(tmp_path, [{"id": "tiny/llama", "path": "llama"}], max_answers=2)

    async def run() -> list[PlaygroundError]:
        requests = [ask("tiny/llama", f"number {i}") for i in range(5)]
        return [item async for _, item in playground.stream_all(requests) if isinstance(item, PlaygroundError)]

    try:
        refused = asyncio.run(run())
        assert [type(error) for error in refused] == [Overloaded] * 3
        assert complete(playground, ask("tiny/llama")).token_ids, "the places were given back"
    finally:
        registry.close()


def test_who_has_gone_costs_no_prompt(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    playground, registry, _ = door
    complete(playground, ask("tiny/llama"))
    monkeypatch.setattr("playground.local.engine.encode", None)
    card = playground.status("tiny/llama").card
    now = time.perf_counter()
    told: queue.Queue[Any] = queue.Queue()
    job = Job(ask("tiny/llama", "gone already"), card, told.put, now, now)
    job.cancelled.set()
    engine_of(registry).submit(job)
    assert isinstance(told.get(timeout=PATIENCE), Cancelled)


def test_a_stop_string_in_bytes_that_were_held_back_ended_the_answer(tmp_path: Path) -> None:
    tiny.save_base("llama", tmp_path / "bytes", template=None)
    byte_fallback_tokenizer().save_pretrained(tmp_path / "bytes")
    playground, registry = open_door(tmp_path, [{"id": "tiny/bytes", "path": "bytes"}])
    try:
        sampling = Sampling(max_tokens=4, temperature=0, stop=("\n",), logit_bias={0x0A: 100.0})
        answer = complete(playground, GenerationRequest("tiny/bytes", prompt="ab", sampling=sampling))
        assert (answer.text, answer.finish.reason) == ("", "stop")
    finally:
        registry.close()


def test_thinking_is_shown_apart_and_asked_for(door: Door) -> None:
    quiet = complete(door[0], ask("tiny/thinks", max_tokens=20))
    assert quiet.thinking == ""
    for prompt in ("hello there", "hi", "think", ">"):  # some of which stand in the mark itself
        aloud = complete(door[0], ask("tiny/thinks", prompt, max_tokens=20, thinking=True))
        assert aloud.text == ""
        assert aloud.thinking
    assert door[0].status("tiny/thinks").thinking
    assert not door[0].status("tiny/llama").thinking


def test_a_model_without_a_template_completes_raw_text(door: Door) -> None:
    playground, _, root = door
    answer = complete(playground, ask("tiny/raw", "the quick"))
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "raw")
    assert answer.finish.usage.num_prompt_tokens == len(tokenizer("the quick")["input_ids"])
    system = (Message("system", "be brief"), Message("user", "hi"))
    with pytest.raises(InvalidRequest, match="no chat template"):
        complete(playground, GenerationRequest("tiny/raw", system))
    assert not playground.status("tiny/raw").chat


def test_a_fine_tune_is_asked_with_the_template_it_was_trained_with(door: Door) -> None:
    playground, _, root = door
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "llama")
    answer = complete(playground, ask("tiny/own", "hi"))
    assert answer.finish.usage.num_prompt_tokens == len(tokenizer("<|user|>ME: hi<|end|>")["input_ids"])
    with pytest.raises(InvalidRequest, match="holds 60"):
        complete(playground, ask("tiny/own", "word " * 60))


def test_two_entries_over_one_folder_are_each_asked_their_own_way(door: Door) -> None:
    playground, registry, root = door
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "llama")
    complete(playground, ask("tiny/llama"))
    answer = complete(playground, ask("tiny/other-manner", "hi there"))
    assert answer.finish.usage.num_prompt_tokens == len(tokenizer("hi there")["input_ids"])
    with pytest.raises(InvalidRequest, match="holds 40"):
        complete(playground, ask("tiny/other-manner", "word " * 40))
    with pytest.raises(ModelLoadFailed, match="chat_template is broken in line 1"):
        complete(playground, ask("tiny/bad-template"))
    assert len([slot for slot in registry._slots.values() if slot.base.source == str(root / "llama")]) == 1


def test_a_mark_that_somebody_writes_is_no_thinking(door: Door, tmp_path: Path) -> None:
    template = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|>{# </think> #}"
    tiny.save_base("llama", tmp_path / "llama", template=template)
    playground, registry = open_door(tmp_path, [{"id": "t", "path": "llama"}])
    try:
        answer = complete(playground, ask("t", "what does <think> mean?", logit_bias={0: -100.0}))
        assert answer.text
        assert not answer.thinking
    finally:
        registry.close()


def test_thinking_that_ends_is_followed_by_the_answer(door: Door) -> None:
    playground, _, root = door
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "thinks")
    close = tokenizer.convert_tokens_to_ids("</think>")
    forced = complete(playground, ask("tiny/thinks", thinking=True, logit_bias={close: 100.0}, frequency_penalty=2.0))
    assert close in forced.token_ids
    cut = complete(playground, ask("tiny/thinks", thinking=True, max_tokens=3))
    assert any("still thinking" in note for note in cut.finish.notes)


def test_a_short_prompt_does_not_wait_for_a_long_one(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", 4)
    playground = door[0]

    async def run() -> list[int]:
        requests = [ask("tiny/llama", "word " * 30, max_tokens=1), ask("tiny/llama", "a", max_tokens=1)]
        return [i async for i, event in playground.stream_all(requests) if isinstance(event, Finish)]

    assert asyncio.run(run()) == [1, 0]


def test_a_prompt_over_the_context_is_refused_before_any_work(door: Door) -> None:
    with pytest.raises(InvalidRequest, match=r"context holds 200") as caught:
        complete(door[0], ask("tiny/llama", "word " * 300))
    assert caught.value.param == "messages"


def test_a_full_context_ends_an_answer(door: Door) -> None:
    prompt = tuple([9] * 190)
    request = GenerationRequest(
        "tiny/llama", prompt=prompt, sampling=Sampling(max_tokens=50, temperature=0, logit_bias={0: -100.0})
    )
    answer = complete(door[0], request)
    assert len(answer.token_ids) == 10
    assert answer.finish.reason == "length"


BAD = [
    (lambda: ask("tiny/llama", "  "), InvalidRequest),
    (lambda: GenerationRequest("tiny/llama"), InvalidRequest),
    (lambda: GenerationRequest("tiny/llama", prompt=""), InvalidRequest),
    (lambda: GenerationRequest("tiny/llama", (Message("user", "a"), Message("system", "b"))), InvalidRequest),
    (lambda: GenerationRequest("tiny/llama", prompt=(5, 10**6)), InvalidRequest),
    (lambda: ask("tiny/llama", logit_bias={10**6: 1.0}), InvalidRequest),
    (lambda: ask("tiny/llama", "half of a pair: \ud800"), InvalidRequest),
    (lambda: GenerationRequest("tiny/llama", prompt=(5, "a")), InvalidRequest),  # type: ignore[arg-type]
    (lambda: GenerationRequest("tiny/llama", prompt=5), InvalidRequest),  # type: ignore[arg-type]
    (lambda: GenerationRequest("tiny/llama", ({"role": "user"},)), InvalidRequest),  # type: ignore[arg-type]
    (lambda: ask("tiny/llama", stop="END"), InvalidRequest),
    (lambda: ask("tiny/llama", logit_bias=[1]), InvalidRequest),
    (lambda: ask("tiny/nobody"), ModelNotFound),
    (lambda: ask("tiny/gone"), ModelLoadFailed),
    (lambda: ask("tiny/foreign"), ModelLoadFailed),
]


@pytest.mark.parametrize(("request_of", "kind"), BAD)
def test_bad_requests_are_refused_and_the_next_one_works(
    door: Door, request_of: Callable[[], GenerationRequest], kind: type[PlaygroundError]
) -> None:
    with pytest.raises(kind) as caught:
        complete(door[0], request_of())
    assert len(caught.value.message) > 20
    assert complete(door[0], ask("tiny/llama")).finish


def engine_of(registry: Registry) -> LocalEngine:
    engine = next(s.engine for s in registry._slots.values() if s.base.id == "tiny/llama" and s.engine)
    assert isinstance(engine, LocalEngine)
    return engine


def is_idle(registry: Registry) -> bool:
    return engine_of(registry)._loop.is_idle() and not any(slot.held for slot in registry._slots.values())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("num_events", [1, 2, 6])
def test_leaving_a_stream_frees_the_engine(door: Door, num_events: int) -> None:
    """Before the first token, after it, and in mid answer."""
    playground, registry, _ = door
    complete(playground, ask("tiny/llama"))

    async def run() -> None:
        request = ask("tiny/llama", max_tokens=190, logit_bias={0: -100.0})
        async with contextlib.aclosing(playground.stream(request)) as events:
            for _ in range(num_events):
                await anext(events)
        await until(lambda: is_idle(registry))

    asyncio.run(run())


def test_a_stream_gives_a_sign_of_life_while_it_waits(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.working.HEARTBEAT_SECONDS", 0.01)
    playground, registry, _ = door
    complete(playground, ask("tiny/llama"))

    async def run() -> list[Any]:
        seen = []
        lock = engine_of(registry)._loop._changed
        with lock:
            async with contextlib.aclosing(playground.stream(ask("tiny/llama"))) as events:
                async for event in events:
                    seen.append(event)
                    if len(seen) == 5:
                        return seen
        return seen

    assert all(event == Delta("") or isinstance(event, Progress) for event in asyncio.run(run()))


def test_switched_off_inference_lists_and_runs_nothing(door: Door) -> None:
    root = door[2]
    playground, registry = open_door(root, [{"id": "tiny/llama", "path": "llama"}], inference=False)
    assert [status.state for status in playground.models()] == ["disk"]
    with pytest.raises(PlaygroundUnavailable):
        complete(playground, ask("tiny/llama"))
    registry.close()


def test_a_hub_model_without_a_network_says_so_and_the_rest_lives_on(door: Door) -> None:
    with pytest.raises(ModelLoadFailed, match="network") as caught:
        complete(door[0], ask("somebody/on-the-hub"))
    assert "somebody/on-the-hub" in caught.value.message
    assert door[0].status("somebody/on-the-hub").state == "failed"
    assert complete(door[0], ask("tiny/llama")).finish


def test_states_are_listed_as_they_are(door: Door) -> None:
    complete(door[0], ask("tiny/llama"))
    states = {status.card.id: status for status in door[0].models()}
    assert states["tiny/llama"].state == "ready"
    assert states["tiny/gone"].state == "failed"
    assert states["tiny/gone"].reason
    assert states["tiny/llama"].size_bytes


def test_more_rows_than_places_wait_their_turn(tmp_path: Path) -> None:
    tiny.save_base("llama", tmp_path / "llama")
    playground, registry = open_door(tmp_path, [{"id": "t", "path": "llama"}], max_rows=2)
    try:
        answers = together(playground, [ask("t", f"row {i}", max_tokens=10) for i in range(7)])
        assert [a.token_ids for a in answers] == [
            complete(playground, ask("t", f"row {i}", max_tokens=10)).token_ids for i in range(7)
        ]
    finally:
        registry.close()
