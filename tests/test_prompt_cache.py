"""A prompt that was read need not be read again, and whoever asks again gets the same bits."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from playground.errors import Cancelled
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane
from playground.types import Answer, GenerationRequest, ModelCard, Sampling
from tests import tiny
from tests.drive import Held, Running, Watch, greedy, start, wait_for
from tests.server import serving
from tests.test_rows import break_steps

ROOM = 2**26
NUM_TOKENS = 6


@dataclass
class Pair:
    """One base on one stepper, twice: with its prompts kept, and without."""

    base: ModelCard
    tunes: tuple[ModelCard, ...]
    steppers: Steppers
    loader: LocalLoader
    keeping: LocalEngine
    plain: LocalEngine

    def lengths(self) -> list[int]:
        """How many tokens each kept prompt has, in the order of their use."""
        return [len(token_ids) for _, token_ids in self.loader.prompts._kept]


def load(steppers: Steppers, cards: Sequence[ModelCard], room: int) -> tuple[LocalLoader, LocalEngine]:
    loader = LocalLoader(steppers, max_rows=16, prompt_bytes=room)
    engine = loader.load(cards[0], Watch(), lambda _: True)
    assert isinstance(engine, LocalEngine)
    for card in cards:
        engine.prepare(card, Watch())
    return loader, engine


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, made = request.param, tmp_path_factory.mktemp(request.param)
    base = tiny.save_base(kind, made / "base")
    for seed in (1, 2):
        tiny.save_adapter(kind, base, made / f"tune{seed}", seed)
    return made


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def cards(folder: Path, request: pytest.FixtureRequest) -> list[ModelCard]:
    base = ModelCard("t/base", "base", "base", str(folder / "base"), context_length=512, dtype=request.param)
    tune = replace(base, type="fine-tuned", base_model=base.id, merge="never")
    return [base, *(replace(tune, id=f"t/{n}", name=n, adapter=str(folder / n)) for n in ("tune1", "tune2"))]


@pytest.fixture(scope="module", params=["transformers", "torch_prompts"])
def loaded(cards: list[ModelCard], request: pytest.FixtureRequest) -> Iterator[Pair]:
    steppers = request.getfixturevalue(f"{request.param}_steppers")
    loader, keeping = load(steppers, cards, ROOM)
    _, plain = load(steppers, cards, 0)
    yield Pair(cards[0], tuple(cards[1:]), steppers, loader, keeping, plain)
    keeping.close()
    plain.close()


@pytest.fixture
def pair(loaded: Pair) -> Iterator[Pair]:
    """The same for each test, with nothing kept yet."""
    yield loaded
    for engine in (loaded.keeping, loaded.plain):
        wait_for(engine._loop.is_idle)
    loaded.keeping._loop._prompts.forget()
    assert loaded.loader.prompts.num_bytes() == 0


class Read:
    """Counts the tokens of prompts that an engine's loop reads."""

    def __init__(self, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_tokens = 0
        prefill = engine._loop._stepper.prefill

        def counted(lane: Lane, token_ids: Sequence[int], *, num_logits: int = 1) -> torch.Tensor:
            self.num_tokens += len(token_ids)
            return prefill(lane, token_ids, num_logits=num_logits)

        monkeypatch.setattr(engine._loop._stepper, "prefill", counted)

    def since(self) -> int:
        """Those since this was asked last."""
        num_tokens, self.num_tokens = self.num_tokens, 0
        return num_tokens


@pytest.fixture
def read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Read:
    return Read(pair.keeping, monkeypatch)


def request_of(card: ModelCard, ids: Sequence[int], strength: float = 1.0, **settings: Any) -> GenerationRequest:
    sampling = Sampling(**{"max_tokens": NUM_TOKENS, "temperature": 0, "logprobs": 3, **settings})
    return GenerationRequest(card.id, prompt=tuple(ids), sampling=sampling, strength=strength)


def asked(engine: LocalEngine, card: ModelCard, ids: Sequence[int], strength: Any = 1.0, **settings: Any) -> Answer:
    return start(engine, card, request_of(card, ids, strength, **settings)).answer()


def told(answer: Answer) -> tuple[Any, ...]:
    """All that depends on the logits, to the last bit."""
    finish = answer.finish
    assert finish.proof is not None
    return answer.text, answer.token_ids, answer.logprobs, finish.proof.first, finish.exact_seed, finish.stepper


def ids_of(seed: int, num: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(6, 290) for _ in range(num)]


def chunks_of(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", num)


def test_the_same_prompt_is_read_once_whatever_is_asked_of_it(pair: Pair, read: Read) -> None:
    ids = ids_of(1, 30)
    assert told(asked(pair.keeping, pair.base, ids)) == told(asked(pair.plain, pair.base, ids))
    assert read.since() == len(ids)
    ways = ({}, {"max_tokens": 1}, {"temperature": 1.3, "seed": 4}, {"logit_bias": {9: 30.0}}, {"frequency_penalty": 2})
    for way in ways:
        again = asked(pair.keeping, pair.base, ids, **way)
        assert told(again) == told(asked(pair.plain, pair.base, ids, **way))
        assert (again.finish.usage.num_prompt_tokens, again.finish.usage.num_reused_tokens) == (len(ids), len(ids))
    assert read.since() == 0


def test_the_next_turn_is_read_from_the_last_whole_chunk_on(pair: Pair, read: Read) -> None:
    first = asked(pair.keeping, pair.base, ids_of(2, 300))
    assert read.since() == 300
    assert pair.lengths() == [256, 300]
    ids = [*ids_of(2, 300), *first.token_ids, *ids_of(3, 60)]
    turn = asked(pair.keeping, pair.base, ids)
    assert turn.finish.usage.num_reused_tokens == 256
    assert read.since() == len(ids) - 256
    assert told(turn) == told(asked(pair.plain, pair.base, ids))
    assert told(asked(pair.keeping, pair.base, ids)) == told(turn)
    assert read.since() == 0


def test_the_longest_beginning_is_taken(pair: Pair, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(16, monkeypatch)
    ids = ids_of(4, 120)
    for num, num_read in ((20, 20), (40, 24), (64, 32), (120, 56), (64, 0), (70, 6), (32, 16), (32, 0)):
        assert told(asked(pair.keeping, pair.base, ids[:num])) == told(asked(pair.plain, pair.base, ids[:num])), num
        assert read.since() == num_read, num


def test_several_samples_of_a_long_prompt_read_it_once(pair: Pair, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(16, monkeypatch)
    ids, other = ids_of(5, 70), ids_of(6, 9)
    held = Held(pair.keeping._loop, "prefill", monkeypatch)
    rows = [start(pair.keeping, pair.base, greedy(pair.base.id, other, 1))]
    wait_for(held.reached.is_set)
    rows += [start(pair.keeping, pair.base, request_of(pair.base, ids, temperature=1, seed=n)) for n in range(5)]
    wait_for(lambda: len(pair.keeping._loop._arrived) == 5)
    held.let_go()
    answers = [row.answer() for row in rows]
    assert read.since() == len(ids) + len(other)
    assert len({answer.token_ids for answer in answers[1:]}) > 1
    assert sorted(answer.finish.usage.num_reused_tokens for answer in answers) == [0, 0, 70, 70, 70, 70]
    for seed, answer in enumerate(answers[1:]):
        if pair.keeping._base.model.dtype == torch.float32:
            assert answer.token_ids == asked(pair.plain, pair.base, ids, temperature=1, seed=seed).token_ids


def test_what_one_row_carries_is_no_other_s(pair: Pair, read: Read) -> None:
    ids = ids_of(7, 24)
    one, two = pair.tunes
    carried = ((pair.base, 1.0), (one, 1.0), (one, 0.5), (two, 1.0), (one, 0.0), (two, 0.5))
    expected = [told(asked(pair.plain, card, ids, strength=strength)) for card, strength in carried]
    assert len(set(expected)) == 5, "at strength nought it is the base"
    for num_read in (len(ids), 0):
        for (card, strength), right in zip(carried, expected, strict=True):
            assert told(asked(pair.keeping, card, ids, strength=strength)) == right
            assert read.since() == num_read


def test_a_scored_prompt_is_read_whole_and_not_kept(pair: Pair, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(16, monkeypatch)
    ids = ids_of(8, 40)
    scored = replace(request_of(pair.base, ids), echo=True)
    expected = start(pair.plain, pair.base, scored).answer()
    for lengths in ([], [32, 40]):
        assert pair.lengths() == lengths
        found = start(pair.keeping, pair.base, scored).answer()
        assert (found.echo, told(found)) == (expected.echo, told(expected))
        assert found.finish.usage.num_reused_tokens == 0
        assert read.since() == len(ids)
        asked(pair.keeping, pair.base, ids)
        read.since()
    # Asked back without scores it is like any other.
    echoed = replace(scored, sampling=replace(scored.sampling, logprobs=None))
    found = start(pair.keeping, pair.base, echoed).answer()
    assert found.echo is not None
    assert (found.echo.token_ids, found.token_ids, read.since()) == (tuple(ids), expected.token_ids, 0)


def test_a_prompt_that_is_broken_off_leaves_no_half_of_it(
    pair: Pair, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks_of(16, monkeypatch)
    ids = ids_of(9, 40)
    running = start(pair.keeping, pair.base, request_of(pair.base, ids[:33]))
    running.answer()
    assert pair.lengths() == [32, 33]
    read.since()
    layer = pair.keeping._base.model.get_decoder().layers[1]
    broken: list[Any] = []

    def cancel(*_: object) -> None:
        broken[0].job.cancelled.set()

    hook = layer.register_forward_pre_hook(cancel)
    go_on = Held(pair.keeping._loop, "prefill", monkeypatch)
    broken.append(start(pair.keeping, pair.base, request_of(pair.base, ids)))
    go_on.let_go()
    assert isinstance(broken[0].error(), Cancelled)
    hook.remove()
    assert sorted(pair.lengths()) == [32, 33]
    assert read.since() == len(ids) - 32
    for num in (40, 33):
        assert told(asked(pair.keeping, pair.base, ids[:num])) == told(asked(pair.plain, pair.base, ids[:num]))
    assert read.since() == len(ids) - 32


def test_after_a_step_that_fails_all_is_read_anew(pair: Pair, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ids_of(10, 20)
    expected = told(asked(pair.plain, pair.base, ids))
    asked(pair.keeping, pair.base, ids)
    failures = iter([False, True])
    break_steps(pair.keeping, monkeypatch, lambda _: next(failures, False))
    read.since()
    made_good = asked(pair.keeping, pair.base, ids)
    assert made_good.token_ids == expected[1]
    assert not made_good.finish.exact_seed
    assert made_good.finish.usage.num_reused_tokens == 0
    assert read.since() == len(ids) + 1
    assert pair.lengths() == []
    for num_read in (len(ids), 0):
        assert told(asked(pair.keeping, pair.base, ids)) == expected
        assert read.since() == num_read


def test_a_copy_that_cannot_be_made_costs_nobody_an_answer(
    pair: Pair, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ids_of(11, 20)
    expected = told(asked(pair.plain, pair.base, ids))
    asked(pair.keeping, pair.base, ids)
    assert pair.lengths() == [20]

    def fork(lane: Lane) -> Lane:
        raise RuntimeError(f"can't allocate memory for {lane.num_tokens} tokens")

    monkeypatch.setattr(pair.keeping._loop._stepper, "fork", fork)
    read.since()
    assert told(asked(pair.keeping, pair.base, ids)) == expected
    assert read.since() == len(ids)
    assert pair.lengths() == []


def test_a_fine_tune_that_goes_takes_its_prompts_along(pair: Pair) -> None:
    _, tune = pair.tunes
    asked(pair.keeping, pair.base, ids_of(12, 20))
    num_bytes = pair.loader.prompts.num_bytes()
    asked(pair.keeping, tune, ids_of(12, 20))
    asked(pair.keeping, tune, ids_of(12, 20), strength=0.5)
    assert pair.loader.prompts.num_bytes() == 3 * num_bytes
    adapter = weakref.ref(pair.keeping._fine_tunes[tune.id].adapter)
    wait_for(pair.keeping._loop.is_idle)
    try:
        pair.keeping.forget(tune)
        wait_for(lambda: gc.collect() is not None and adapter() is None)
        assert pair.loader.prompts.num_bytes() == num_bytes
        assert pair.lengths() == [20]
    finally:
        pair.keeping.prepare(tune, Watch())
    expected = told(asked(pair.plain, tune, ids_of(12, 20)))
    assert told(asked(pair.keeping, tune, ids_of(12, 20))) == expected


def test_a_base_that_goes_takes_its_prompts_along(pair: Pair) -> None:
    loader, engine = load(pair.steppers, [pair.base], ROOM)
    asked(engine, pair.base, ids_of(13, 30))
    assert loader.prompts.num_bytes() > 0
    model = weakref.ref(engine._base.model)
    engine.close()
    assert loader.prompts.num_bytes() == 0
    del engine
    gc.collect()
    assert model() is None


def test_no_more_is_kept_than_the_bound_allows(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(16, monkeypatch)
    asked(pair.keeping, pair.base, ids_of(14, 40))
    bound = 2 * pair.loader.prompts.num_bytes()
    loader, engine = load(pair.steppers, [pair.base], bound)
    read = Read(engine, monkeypatch)
    taken = []
    for seed in range(40, 60):
        asked(engine, pair.base, ids_of(seed, random.Random(seed).randint(1, 60)))
        taken.append(loader.prompts.num_bytes())
    assert bound // 2 < max(taken) <= bound
    read.since()
    newest, oldest = (ids_of(seed, random.Random(seed).randint(1, 60)) for seed in (59, 40))
    for ids, num_read in ((newest, 0), (oldest, len(oldest))):
        assert told(asked(engine, pair.base, ids)) == told(asked(pair.plain, pair.base, ids))
        assert read.since() == num_read
    engine.close()


def test_what_could_never_fit_drives_nothing_out(pair: Pair) -> None:
    asked(pair.keeping, pair.base, ids_of(14, 10))
    loader, engine = load(pair.steppers, [pair.base], pair.loader.prompts.num_bytes())
    for seed, num in ((15, 10), (16, 400)):
        asked(engine, pair.base, ids_of(seed, num))
        assert [token_ids for _, token_ids in loader.prompts._kept] == [tuple(ids_of(15, 10))]
    engine.close()


def test_clients_and_metrics_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(f"models:\n  - {{id: t/base, path: {folder / 'base'}}}\n")
    asked = {"model": "t/base", "messages": [{"role": "user", "content": "the lazy dog"}], "max_tokens": 3}
    for room, share in (("0.01", 1), ("0", 0)):
        with serving(tmp_path / "models.yaml", tmp_path / room, PLAYGROUND_PROMPT_CACHE_GB=room) as server:
            first, again = (server.post("/v1/chat/completions", asked).json()["usage"] for _ in range(2))
            counted = server.get("/metrics").body.decode()
        assert first["prompt_tokens_details"]["cached_tokens"] == 0
        assert again["prompt_tokens"] == first["prompt_tokens"] > 0
        assert again["prompt_tokens_details"]["cached_tokens"] == share * first["prompt_tokens"]
        assert f"playground_prompt_tokens_reused_total {share * first['prompt_tokens']:.1f}\n" in counted


def outcome_of(row: Running) -> Answer | None:
    """The answer; None where it was stopped."""
    try:
        return row.answer()
    except Cancelled:
        return None


def test_rows_with_common_beginnings_give_what_they_give_without(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(8, monkeypatch)
    rng = random.Random(15)
    stems = [ids_of(seed, 60) for seed in (80, 81)]
    cards: tuple[ModelCard, ...] = (pair.base, *pair.tunes)
    # In 16 bits one after the other: there the rows beside change the last bits.
    together = pair.keeping._base.model.dtype == torch.float32
    running: list[tuple[Running, ModelCard, GenerationRequest]] = []
    finished: dict[int, Answer | None] = {}
    for _ in range(50):
        card = rng.choice(cards)
        ids = [*rng.choice(stems)[: rng.choice([1, 7, 8, 16, 21, 48, 60])], *ids_of(rng.randrange(3), rng.randrange(9))]
        strength = rng.choice([1.0, 0.5]) if card.adapter else 1.0
        request = request_of(card, ids, strength, temperature=rng.choice([0, 1]), seed=rng.randrange(99))
        row = start(pair.keeping, card, request)
        running.append((row, card, request))
        if together and rng.random() < 0.2:
            row.job.cancelled.set()
        if not together or rng.random() < 0.3:
            finished[len(running) - 1] = outcome_of(row)
    num_reused = 0
    for number, (row, card, request) in enumerate(running):
        answer = finished[number] if number in finished else outcome_of(row)
        if answer is None:
            continue
        num_reused += answer.finish.usage.num_reused_tokens
        expected = start(pair.plain, card, request).answer()
        if together:
            assert (answer.text, answer.token_ids) == (expected.text, expected.token_ids)
        else:
            assert told(answer) == told(expected)
    assert num_reused > 50


@pytest.fixture
def kernels(cards: list[ModelCard], kernels_steppers: Steppers) -> Iterator[Pair]:
    """On kernels that read prompts too."""
    loader, keeping = load(kernels_steppers, cards, ROOM)
    _, plain = load(kernels_steppers, cards, 0)
    yield Pair(cards[0], tuple(cards[1:]), kernels_steppers, loader, keeping, plain)
    keeping.close()
    plain.close()


def test_kernels_go_on_from_any_token_of_an_answer_too(kernels: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    read, card, ids = Read(kernels.keeping, monkeypatch), kernels.tunes[0], ids_of(5, 37)
    first = asked(kernels.keeping, card, ids, 0.5)
    assert read.since() == 37
    turn = [*ids, *first.token_ids, *ids_of(6, 9)]
    second = asked(kernels.keeping, card, turn, 0.5)
    # The answer's last token was not taken in.
    assert read.since() == 1 + 9
    assert second.finish.usage.num_reused_tokens == 37 + NUM_TOKENS - 1
    assert told(second) == told(asked(kernels.plain, card, turn, 0.5))
    other = [*turn[:39], *ids_of(7, 40)]
    assert told(asked(kernels.keeping, card, other, 0.5)) == told(asked(kernels.plain, card, other, 0.5))
    assert read.since() == len(other) - 37
    assert told(asked(kernels.keeping, card, turn)) == told(asked(kernels.plain, card, turn))
