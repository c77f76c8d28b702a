"""Every answer is a row: whatever joins and leaves beside it, a row gives what its model gives alone."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from playground.errors import Cancelled, ModelLoadFailed
from playground.local import weights
from playground.local.adapters import read_adapter
from playground.local.cpu_step.ops import Batch
from playground.local.cpu_step.stepper import CpuStepper
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.lora import Adapter, Hooks
from playground.local.merge import extra_bytes, merged_view, own_bytes
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane, TorchStepper
from playground.types import ModelCard, Progress
from tests import tiny
from tests.drive import PATIENCE, Running, Watch, greedy, start, wait_for

KINDS = {
    "plain": {},
    "rslora": {"use_rslora": True, "rank_pattern": {"layers.1.*": 2}, "alpha_pattern": {"layers.2.*": 3}},
    "dora": {"use_dora": True},
    "saved": {},
}
SAVED = {
    "qwen3_5": "down_proj",
    "gemma4": "up_proj",
    "llama": "o_proj",
    "phi3": "down_proj",
    "granite": "o_proj",
    "starcoder2": "o_proj",
}


@dataclass
class House:
    """One architecture: a base folder, its fine-tunes' cards, and stock models to compare with."""

    kind: str
    base: ModelCard
    tunes: dict[str, ModelCard]
    stock: Any
    tuned: dict[str, Any]
    blends: dict[tuple[str, float], Any] = field(default_factory=dict)

    def load(self, steppers: Steppers) -> LocalEngine:
        engine = LocalLoader(steppers, max_rows=16).load(self.base, Watch(), lambda num_bytes: True)
        assert isinstance(engine, LocalEngine)
        for card in (self.base, *self.tunes.values()):
            engine.prepare(card, Watch())
        return engine

    def alone(self, name: str | None, strength: float, ids: list[int], max_tokens: int) -> list[int]:
        """Greedy tokens of a plain model whose weights lie at `strength` between base and stock merge."""
        model = self.at(name, strength)
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=max_tokens, do_sample=False, eos_token_id=0, pad_token_id=0
        )
        new = out[0, len(ids) :].tolist()
        return new[: new.index(0)] if 0 in new else new

    def at(self, name: str | None, strength: float) -> Any:
        """A plain model whose weights lie at `strength` between base and stock merge."""
        if name is None or not strength:
            return self.stock
        if strength == 1:
            return self.tuned[name]
        if (name, strength) not in self.blends:
            self.blends[name, strength] = between(self.stock, self.tuned[name], strength)
        return self.blends[name, strength]


def between(base: Any, tuned: Any, strength: float) -> Any:
    model = copy.deepcopy(base)
    own, theirs = model.state_dict(), tuned.state_dict()
    with torch.no_grad():
        for name in own:
            own[name].lerp_(theirs[name], strength)
    return model


def settings_of(kind: str, name: str) -> dict[str, Any]:
    return {"modules_to_save": [SAVED[kind]]} if name == "saved" else KINDS[name]


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["transformers", "kernels"])
def loaded(house: House, request: pytest.FixtureRequest) -> Iterator[LocalEngine]:
    """The house's base with all of its fine-tunes, on either stepper."""
    engine = house.load(request.getfixturevalue(f"{request.param}_steppers"))
    yield engine
    engine.close()


@pytest.fixture
def engine(loaded: LocalEngine) -> Iterator[LocalEngine]:
    """The same for each test, which must leave its loop idle and its base as it was."""
    before = loaded.fingerprint()
    yield loaded
    wait_for(loaded._loop.is_idle)
    assert loaded.fingerprint() == before


def make_house(kind: str, root: Path) -> House:
    folder = tiny.save_base(kind, root / "base")
    card = ModelCard(id=f"tiny/{kind}", name=kind, type="base", source=str(folder), context_length=512)
    tunes, tuned = {}, {}
    for seed, name in enumerate(KINDS, start=1):
        adapter = tiny.save_adapter(kind, folder, root / name, seed, **settings_of(kind, name))
        tunes[name] = ModelCard(
            id=f"tiny/{kind}-{name}",
            name=name,
            type="fine-tuned",
            source=card.source,
            base_model=card.id,
            adapter=str(adapter),
            merge="never",
        )
        fresh = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tuned[name] = PeftModel.from_pretrained(fresh, adapter).merge_and_unload().eval()
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return House(kind, card, tunes, stock, tuned)


def test_rows_that_join_and_leave_give_what_they_give_alone(house: House, engine: LocalEngine) -> None:
    before = engine.fingerprint()
    rng = random.Random(7)
    running: list[tuple[Running, list[int]]] = []
    for i in range(12):
        name = rng.choice([None, *KINDS])
        strength = 1.0 if name is None else rng.choice([0.0, 0.5, 1.0, 1.5, -0.5])
        ids = [rng.randrange(6, 290) for _ in range(rng.randint(1, 90))]
        max_tokens = rng.randint(2, 40)
        card = house.base if name is None else house.tunes[name]
        row = start(engine, card, greedy(card.id, ids, max_tokens, strength=strength))
        running.append((row, house.alone(name, strength, ids, max_tokens)))
        # The next one joins at a random moment of the others' lives.
        running[rng.randrange(len(running))][0].until_tokens(0 if i % 3 else 1)
    for row, expected in running:
        assert list(row.answer().token_ids) == expected
    assert engine.fingerprint() == before


def test_a_strength_may_be_a_whole_number(house: House, engine: LocalEngine) -> None:
    for card in house.tunes.values():
        answers = [
            start(engine, card, greedy(card.id, [7, 8, 9], 6, strength=strength)).answer() for strength in (1, 1.0)
        ]
        assert answers[0].token_ids == answers[1].token_ids


Carried = tuple[Adapter | None, float]
PROMPTS = (range(10, 40), range(50, 57), range(80, 130))


def logits_of(stepper: TorchStepper, carried: Sequence[Carried]) -> list[torch.Tensor]:
    """One row a prompt: the logits at each of its tokens, then those of three steps together."""
    lanes = [Lane(adapter, strength) for adapter, strength in carried]
    found = [
        stepper.prefill(lane, ids, num_logits=len(ids)) for lane, ids in zip(lanes, map(list, PROMPTS), strict=True)
    ]
    found += [stepper.step(lanes, token_ids) for token_ids in ((7, 8, 9), (100, 90, 80), (200, 200, 201))]
    for lane in lanes:
        stepper.leave(lane)
    return found


def all_equal(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def attached(model: nn.Module, adapter: Adapter) -> Any:
    """A copy of a base that gives what peft's formulas say: it knows of no rows and no strengths."""
    model = copy.deepcopy(model)
    for name, module in model.named_modules():
        if name in adapter.factors or name in adapter.saved:
            module.register_forward_hook(tuned_by(adapter, name))
    return model


def tuned_by(adapter: Adapter, name: str) -> Callable[[Any, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]:
    def tuned(module: Any, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        x, factors = args[0], adapter.factors.get(name)
        if factors is None:
            saved = adapter.saved[name]
            return F.linear(x, saved["weight"], saved.get("bias", module.bias))
        if factors.column_scale is None:
            return out + F.linear(F.linear(x, factors.a) * factors.scaling, factors.b)
        bias = 0 if module.bias is None else module.bias
        low_rank = F.linear(F.linear(x, factors.a), factors.b) * factors.scaling
        return factors.column_scale * (out - bias + low_rank) + bias

    return tuned


@pytest.mark.parametrize("name", KINDS)
def test_strength_nought_is_the_base_and_one_the_adapter_to_the_last_bit(house: House, name: str) -> None:
    base = weights.load_base(house.base, Watch())
    adapter = read_adapter(Path(str(house.tunes[name].adapter)), base.model, base.card.id)
    Hooks(base.model).cover(adapter)
    stepper = TorchStepper(base.model)
    none, nought, half, one, more = ((None, 1.0), *((adapter, strength) for strength in (0.0, 0.5, 1.0, 1.5)))
    plain = logits_of(TorchStepper(house.stock), [none] * 3)
    tuned = logits_of(TorchStepper(attached(house.stock, adapter)), [none] * 3)
    with torch.no_grad():
        stock = house.tuned[name](torch.tensor([list(PROMPTS[0])])).logits[0]
    assert (tuned[0] - stock).abs().max() < 2e-4
    assert (tuned[0] - plain[0]).abs().max() > 0.1
    assert all_equal(logits_of(stepper, [nought] * 3), plain)
    assert all_equal(logits_of(stepper, [one] * 3), tuned)
    # Beside rows of other strengths, in each place of the batch.
    for place in range(3):
        beside = [one, half, more]
        beside[place] = nought
        steps = logits_of(stepper, beside)[3:]
        assert all_equal([step[place] for step in steps], [step[place] for step in plain[3:]])
        beside = [half, more, half]
        beside[place] = one
        steps = logits_of(stepper, beside)[3:]
        assert all_equal([step[place] for step in steps], [step[place] for step in tuned[3:]])
        assert not any(
            torch.allclose(step[place - 1], full[place - 1]) for step, full in zip(steps, tuned[3:], strict=True)
        )


def test_an_answer_at_strength_nought_is_the_base_s_and_at_one_the_fine_tune_s(
    house: House, engine: LocalEngine
) -> None:
    for tune in house.tunes.values():
        asked = [(house.base, {}), (tune, {}), *((tune, {"strength": s}) for s in (0.0, 1.0, 0.5))]
        answers = [start(engine, card, greedy(card.id, range(20, 50), 6, **s)).answer() for card, s in asked]
        proofs = [answer.finish.proof for answer in answers]
        base, full, nought, one, half = [proof.first for proof in proofs if proof is not None]
        assert (nought, one) == (base, full)
        assert len({base, full, half}) == 3
        assert answers[2].token_ids == answers[0].token_ids


def test_one_prompt_at_several_strengths_at_once(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All wait with one prompt while another is read: what one row's cache holds is no other strength's."""
    prefill, begun, gate = engine._loop._stepper.prefill, threading.Event(), threading.Event()

    def held_up(lane: Lane, token_ids: Sequence[int], *, num_logits: int = 1) -> torch.Tensor:
        begun.set()
        assert gate.wait(PATIENCE)
        return prefill(lane, token_ids, num_logits=num_logits)

    monkeypatch.setattr(engine._loop._stepper, "prefill", held_up)
    ids = list(range(30, 60))
    asked = [(None, 1.0), *((name, s) for name in ("plain", "dora") for s in (0.0, 0.5, 1.0, 1.5))]
    try:
        first = start(engine, house.base, greedy(house.base.id, [9], 1))
        wait_for(begun.is_set)
        rows = [
            start(engine, card, greedy(card.id, ids, 8, strength=strength))
            for card, strength in ((house.tunes[name] if name else house.base, strength) for name, strength in asked)
        ]
        wait_for(lambda: len(engine._loop._arrived) == len(rows))
        gate.set()
        first.answer()
        for row, (name, strength) in zip(rows, asked, strict=True):
            assert list(row.answer().token_ids) == house.alone(name, strength, ids, 8), (name, strength)
    finally:
        gate.set()


NUM_PAIRS = 17


def test_two_rows_at_different_strengths_never_mix(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """102 pairs over all architectures; in every second one both rows carry one adapter."""
    step, sizes = engine._loop._stepper.step, []

    def watched(lanes: Sequence[Lane], token_ids: Sequence[int]) -> torch.Tensor:
        sizes.append(len(lanes))
        return step(lanes, token_ids)

    monkeypatch.setattr(engine._loop._stepper, "step", watched)
    rng = random.Random(41)
    for pair in range(NUM_PAIRS):
        first = rng.choice([*KINDS])
        names = (first, first if pair % 2 else rng.choice([*KINDS]))
        strengths = rng.sample([0.0, 0.25, 0.5, 1.0, 1.5, -0.5], 2)
        prompts = [[rng.randrange(6, 290) for _ in range(rng.randint(1, 40))] for _ in names]
        asked = list(zip(names, strengths, prompts, strict=True))
        rows = [
            start(engine, house.tunes[name], greedy(house.tunes[name].id, ids, 5, strength=strength))
            for name, strength, ids in asked
        ]
        for row, (name, strength, ids) in zip(rows, asked, strict=True):
            assert list(row.answer().token_ids) == house.alone(name, strength, ids, 5), (name, strength)
    assert sizes.count(2) > NUM_PAIRS, "the rows of a pair run in one batch"


def test_a_cancelled_row_leaves_the_others_as_they_were(house: House, engine: LocalEngine) -> None:
    rng = random.Random(3)
    prompts = [[rng.randrange(6, 290) for _ in range(n)] for n in (5, 30, 60)]
    rows = [start(engine, house.base, greedy(house.base.id, ids, 60)) for ids in prompts]
    rows[1].until_tokens(3)
    rows[1].job.cancelled.set()
    assert isinstance(rows[1].error(), Cancelled)
    for i in (0, 2):
        assert list(rows[i].answer().token_ids) == house.alone(None, 1.0, prompts[i], 60)


def test_the_longest_row_leaves_and_a_short_one_goes_on(house: House, engine: LocalEngine) -> None:
    rng = random.Random(13)
    long, short = ([rng.randrange(6, 290) for _ in range(n)] for n in (70, 3))
    stays = start(engine, house.base, greedy(house.base.id, short, 40))
    leaves = start(engine, house.base, greedy(house.base.id, long, 3))
    leaves.answer()
    joins = start(engine, house.tunes["plain"], greedy(house.tunes["plain"].id, short, 30))
    assert list(stays.answer().token_ids) == house.alone(None, 1.0, short, 40)
    assert list(joins.answer().token_ids) == house.alone("plain", 1.0, short, 30)


def test_a_long_prompt_is_taken_in_by_chunks_and_cancelled_between_them(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", 16)
    rng = random.Random(5)
    ids = [rng.randrange(6, 290) for _ in range(100)]
    whole = start(engine, house.base, greedy(house.base.id, ids, 8))
    assert list(whole.answer().token_ids) == house.alone(None, 1.0, ids, 8)
    broken_off = start(engine, house.base, greedy(house.base.id, ids, 8))
    item = broken_off.next()
    assert isinstance(item, Progress)
    assert item.stage == "prefill"
    broken_off.job.cancelled.set()
    assert isinstance(broken_off.error(), Cancelled)
    assert not broken_off.deltas


def test_a_long_prompt_leaves_the_streams_their_share(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only goes on while the model works: ten seconds a chunk, one a step."""
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", 8)
    monkeypatch.setattr("playground.local.decoding.SHORT_CHUNK_TOKENS", 8)
    stepper, now, done = engine._loop._stepper, [1], []
    monkeypatch.setattr("playground.local.decoding.time.perf_counter", lambda: now[0])

    def timed(name: str, seconds: int) -> None:
        run = getattr(stepper, name)

        def slow(*args: Any, **kwargs: Any) -> Any:
            now[0] += seconds
            done.append(name)
            return run(*args, **kwargs)

        monkeypatch.setattr(stepper, name, slow)

    timed("prefill", 10)
    timed("step", 1)
    ids = [7 + i for i in range(40)]
    streams = start(engine, house.base, greedy(house.base.id, ids[:5], 200))
    streams.until_tokens(2)
    long = start(engine, house.base, greedy(house.base.id, ids, 1))
    assert list(long.answer().token_ids) == house.alone(None, 1.0, ids, 1)
    streams.job.cancelled.set()
    assert isinstance(streams.error(), Cancelled)
    chunks = [i for i, name in enumerate(done) if name == "prefill"][1:]
    assert len(chunks) == 5
    # The first comes at once, and so does the next; between the others the stream has three times as long.
    assert [after - before for before, after in pairwise(chunks)][1:] == [31, 31, 31]


def break_steps(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool], reason: str = "made to fail"
) -> None:
    """Steps over a number of rows of which `fails` says so write to the rows' caches, and then fail. Prompts are read
    at once, so that rows come together again."""
    monkeypatch.setattr("playground.local.decoding.STREAMS_SHARE", 0)
    stepper = engine._loop._stepper
    model = engine._base.model
    forward = model.forward

    def broken_forward(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        if kwargs["input_ids"].shape[1] == 1 and fails(len(kwargs["input_ids"])):
            raise RuntimeError(reason)
        return out

    if not isinstance(stepper, CpuStepper):
        monkeypatch.setattr(model, "forward", broken_forward)
        return
    run = stepper._crew.run

    def broken_run(batch: Batch) -> None:
        run(batch)
        is_step = len(batch.starts) - 1 == batch.rows
        if is_step and fails(batch.rows):
            raise RuntimeError(reason)

    monkeypatch.setattr(stepper._crew, "run", broken_run)


def test_a_step_that_fails_is_made_good(house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(11)
    prompts = [[rng.randrange(6, 290) for _ in range(n)] for n in (7, 40)]
    failures = iter([False, False, True])
    break_steps(engine, monkeypatch, lambda rows: rows == 2 and next(failures, False))
    rows = [start(engine, house.base, greedy(house.base.id, ids, 30)) for ids in prompts]
    for row, ids in zip(rows, prompts, strict=True):
        assert list(row.answer().token_ids) == house.alone(None, 1.0, ids, 30)
    assert next(failures, None) is None


def test_merged_and_attached_agree_in_bf16_as_far_as_it_goes(house: House) -> None:
    base = weights.load_base(replace(house.base, dtype="bfloat16"), Watch())
    adapter = read_adapter(Path(str(house.tunes["plain"].adapter)), base.model, base.card.id)
    Hooks(base.model).cover(adapter)
    ids = list(range(10, 40))
    exact = house.tuned["plain"](torch.tensor([ids])).logits[0].detach()
    attached = TorchStepper(base.model).prefill(Lane(adapter, 1.0), ids, num_logits=len(ids))
    merged = TorchStepper(merged_view(base.model, adapter)).prefill(Lane(None, 1.0), ids, num_logits=len(ids))
    rounded = copy.deepcopy(house.tuned["plain"]).bfloat16()(torch.tensor([ids])).logits[0].detach().float()
    stock_error = (rounded - exact).norm() / exact.norm()
    for ours in (attached, merged):
        assert (ours - exact).norm() / exact.norm() < 1.3 * stock_error + 0.01


@pytest.mark.parametrize("name", KINDS)
def test_what_an_adapter_takes_is_told_before_it_is_read(house: House, engine: LocalEngine, name: str) -> None:
    assert engine.size_of(house.tunes[name], Watch()) == engine.memory_of(house.tunes[name]) > 0


@pytest.mark.parametrize("name", KINDS)
def test_merged_and_attached_agree_and_the_base_stays(house: House, name: str) -> None:
    base = weights.load_base(house.base, Watch())
    before = weights.fingerprint(base.model)
    tune = house.tunes[name]
    adapter = read_adapter(Path(str(tune.adapter)), base.model, base.card.id)
    assert adapter.attachable is None
    Hooks(base.model).cover(adapter)
    view = merged_view(base.model, adapter)
    ids = list(range(10, 60))
    attached = TorchStepper(base.model).prefill(Lane(adapter, 1.0), ids, num_logits=len(ids))
    merged = TorchStepper(view).prefill(Lane(None, 1.0), ids, num_logits=len(ids))
    with torch.no_grad():
        stock = house.tuned[name](torch.tensor([ids])).logits[0]
    assert (merged - stock).abs().max() < 1e-5
    assert (attached - merged).abs().max() < 2e-4
    assert (attached - house.stock(torch.tensor([ids])).logits[0].detach()).abs().max() > 0.1
    assert weights.fingerprint(base.model) == before
    assert own_bytes(base.model, view) == extra_bytes(base.model, adapter.tensors) < base.num_bytes


def test_a_cache_that_cannot_be_let_go_hurts_nobody(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper = engine._loop._stepper
    leave = stepper.leave
    failures = iter([True])

    def leave_that_fails_once(lane: Lane) -> None:
        if next(failures, False):
            raise RuntimeError("can't allocate memory, made to fail")
        leave(lane)

    monkeypatch.setattr(stepper, "leave", leave_that_fails_once)
    ids = list(range(10, 15))
    stays = start(engine, house.base, greedy(house.base.id, ids, 40))
    leaves = start(engine, house.base, greedy(house.base.id, ids, 4))
    assert list(leaves.answer().token_ids) == house.alone(None, 1.0, ids, 4)
    assert list(stays.answer().token_ids) == house.alone(None, 1.0, ids, 40)
    assert list(start(engine, house.base, greedy(house.base.id, ids, 4)).answer().token_ids)


def test_steps_that_always_fail_end_the_rows_one_by_one(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_steps(engine, monkeypatch, lambda rows: rows > 1, "can't allocate memory, made to fail")
    small, large = list(range(10, 15)), list(range(10, 70))
    rows = [start(engine, house.base, greedy(house.base.id, ids, 50)) for ids in (small, large)]
    assert "out of memory" in rows[1].error().message
    assert list(rows[0].answer().token_ids) == house.alone(None, 1.0, small, 50)


WRONG = {"llama": "starcoder2", "granite": "starcoder2", "starcoder2": "phi3"}


def test_an_adapter_of_another_model_is_refused(house: House, engine: LocalEngine, tmp_path: Path) -> None:
    other = WRONG.get(house.kind, "llama")
    adapter = tiny.save_adapter(other, tiny.save_base(other, tmp_path / "base"), tmp_path / "adapter")
    before = engine.fingerprint()
    wrong = replace(house.tunes["plain"], id="tiny/wrong", adapter=str(adapter))
    with pytest.raises(ModelLoadFailed, match=r"another|cannot be read") as caught:
        engine.prepare(wrong, Watch())
    assert str(adapter) in caught.value.message
    ids = [9, 20, 30]
    assert list(start(engine, house.base, greedy(house.base.id, ids)).answer().token_ids) == house.alone(
        None, 1.0, ids, 16
    )
    assert engine.fingerprint() == before
