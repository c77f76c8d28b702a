"""The compiled kernels against transformers' modules: logits, bits that depend on no other row, threads that fail."""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from playground.local.adapters import read_adapter
from playground.local.cpu_step import crew
from playground.local.cpu_step.assembly import WIDTH
from playground.local.cpu_step.families import plan_of
from playground.local.cpu_step.kept import PIECE
from playground.local.cpu_step.kernels import Kernels
from playground.local.cpu_step.plan import NotPlannable
from playground.local.cpu_step.stepper import CpuStepper
from playground.local.decoding import Stepper
from playground.local.lora import Adapter, Hooks
from playground.local.quantized import Int8Linear, quantize
from playground.local.steppers import Steppers, num_cores
from playground.local.torch_step import Lane, TorchStepper
from tests import tiny
from tests.drive import wait_for

KINDS = {"plain": {}, "rslora": {"use_rslora": True, "rank_pattern": {"layers.1.*": 2}}, "dora": {"use_dora": True}}


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_base(kind, tmp_path_factory.mktemp(kind) / "base")


@pytest.fixture(params=["kernels_steppers", "torch_prompts_steppers"])
def steppers(request: pytest.FixtureRequest) -> Steppers:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def adapters(kind: str, folder: Path) -> list[Adapter]:
    model = loaded(folder)
    return [
        read_adapter(tiny.save_adapter(kind, folder, folder.parent / name, seed, **settings), model, "tiny/base")
        for seed, (name, settings) in enumerate(KINDS.items(), start=1)
    ]


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.eval().requires_grad_(False)


def fast(model: Any, steppers: Steppers) -> CpuStepper:
    stepper = steppers.for_model(model)
    assert isinstance(stepper, CpuStepper)
    return stepper


def cover(model: Any, adapters: list[Adapter]) -> None:
    hooks = Hooks(model)
    for adapter in adapters:
        hooks.cover(adapter)


def prompt(rng: random.Random, most: int = 60) -> list[int]:
    return [rng.randrange(6, 290) for _ in range(rng.randint(1, most))]


def logits_of(stepper: Stepper, lane: Lane, prompt_ids: Sequence[int], then: Sequence[int]) -> torch.Tensor:
    """The logits after each token of `then`, one step each, alone: (tokens, vocabulary)."""
    stepper.prefill(lane, prompt_ids)
    return torch.cat([stepper.step([lane], [token_id]) for token_id in then])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_logits_are_those_of_the_model(
    kind: str, folder: Path, adapters: list[Adapter], steppers: Steppers, dtype: torch.dtype
) -> None:
    """In float32 to rounding; in bfloat16 no further from the float32 model than stock is."""
    model, exact = loaded(folder, dtype), loaded(folder)
    cover(model, adapters[:1])
    cover(exact, adapters[:1])
    rng = random.Random(3)
    for adapter in (None, adapters[0]):
        ids, then = prompt(rng), [rng.randrange(6, 290) for _ in range(40)]
        ours = logits_of(fast(model, steppers), Lane(adapter, 1.0), ids, then)
        stock = logits_of(TorchStepper(model), Lane(adapter, 1.0), ids, then)
        if dtype == torch.float32:
            assert (ours - stock).abs().max() < 2e-4 * stock.abs().max()
            continue
        truth = logits_of(TorchStepper(exact), Lane(adapter, 1.0), ids, then)
        assert (ours - truth).norm() <= (stock - truth).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_prompt_s_bits_do_not_depend_on_its_pieces(
    folder: Path, adapters: list[Adapter], kernels_steppers: Steppers, dtype: torch.dtype
) -> None:
    """Token by token, in pieces of any size, or at once; as many logits as are asked for."""
    model = loaded(folder, dtype)
    cover(model, adapters)
    stepper, rng = fast(model, kernels_steppers), random.Random(11)
    for adapter in (None, *adapters):
        ids = [rng.randrange(6, 290) for _ in range(PIECE * 2 + 9)]
        whole, cut, stepped = (Lane(adapter, 0.5) for _ in range(3))
        wanted = stepper.prefill(whole, ids, num_logits=len(ids))
        assert wanted.shape[0] == len(ids)
        start = 0
        while start < len(ids):
            size, num_logits = rng.randint(1, PIECE + 20), rng.randint(1, 3)
            piece = ids[start : start + size]
            got = stepper.prefill(cut, piece, num_logits=min(num_logits, len(piece)))
            start += size
            assert torch.equal(got, wanted[min(start, len(ids)) - len(got) : start])
        stepper.prefill(stepped, ids[:1])
        steps = torch.cat([stepper.step([stepped], [token_id]) for token_id in ids[1:]])
        assert torch.equal(steps, wanted[1:])
        twin = stepper.fork(cut)
        after = [stepper.step([lane], [17]) for lane in (whole, cut, stepped, twin)]
        assert all(torch.equal(after[0], one) for one in after)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_row_s_bits_depend_on_no_other_row(
    folder: Path, adapters: list[Adapter], kernels_steppers: Steppers, dtype: torch.dtype
) -> None:
    """Random batches: rows join, leave, carry other adapters at other strengths, and pass the sliding window."""
    model = loaded(folder, dtype)
    cover(model, adapters)
    stepper, rng = fast(model, kernels_steppers), random.Random(7)
    for _ in range(17):
        wanted = [
            (rng.choice([None, *adapters]), rng.choice([1.0, 0.5, -0.5, 1.5]), prompt(rng))
            for _ in range(rng.randint(2, 11))
        ]
        then = [[rng.randrange(6, 290) for _ in range(rng.randint(1, 8))] for _ in wanted]
        alone = [
            logits_of(stepper, Lane(adapter, strength), ids, tokens)
            for (adapter, strength, ids), tokens in zip(wanted, then, strict=True)
        ]
        assert_same_together(stepper, wanted, then, alone, rng)


def assert_same_together(
    stepper: CpuStepper,
    wanted: list[tuple[Adapter | None, float, list[int]]],
    then: list[list[int]],
    alone: list[torch.Tensor],
    rng: random.Random,
) -> None:
    running: list[tuple[int, Lane]] = []
    done = [0] * len(wanted)
    waiting = list(range(len(wanted)))
    while running or waiting:
        while waiting and (not running or rng.random() < 0.6):
            i = waiting.pop(0)
            lane = Lane(wanted[i][0], wanted[i][1])
            stepper.prefill(lane, wanted[i][2])
            running.append((i, lane))
        logits = stepper.step([lane for _, lane in running], [then[i][done[i]] for i, _ in running])
        for (i, _), row in zip(running, logits, strict=True):
            assert torch.equal(row, alone[i][done[i]])
            done[i] += 1
        for i, lane in [(i, lane) for i, lane in running if done[i] == len(then[i])]:
            running.remove((i, lane))
            stepper.leave(lane)


def test_threads_and_order_change_no_bit(folder: Path, kernels_steppers: Steppers) -> None:
    model, rng = loaded(folder, torch.bfloat16), random.Random(5)
    ids, then = prompt(rng), [rng.randrange(6, 290) for _ in range(6)]
    several = logits_of(fast(model, kernels_steppers), Lane(None, 1.0), ids, then)
    stepper = fast(model, kernels_steppers)
    stepper._crew = crew.Crew(1)
    assert torch.equal(logits_of(stepper, Lane(None, 1.0), ids, then), several)


def test_quantized_weights_are_read_as_they_are(kind: str, folder: Path, kernels_steppers: Steppers) -> None:
    model = loaded(folder, torch.bfloat16)
    quantize(model, lambda _: None)
    exact = loaded(folder)
    for name, part in model.named_modules():
        if isinstance(part, Int8Linear):
            exact.get_submodule(name).weight.copy_(part.weight.float() * part.scale.float()[:, None])
    rng = random.Random(9)
    ids, then = prompt(rng), [rng.randrange(6, 290) for _ in range(20)]
    ours = logits_of(fast(model, kernels_steppers), Lane(None, 1.0), ids, then)
    stock = logits_of(TorchStepper(model), Lane(None, 1.0), ids, then)
    truth = logits_of(TorchStepper(exact), Lane(None, 1.0), ids, then)
    # Most of either's error is the prompt's, which both take in alike.
    assert (ours - truth).norm() <= 1.2 * (stock - truth).norm(), kind


# What the kernels cannot carry


def test_saved_modules_run_beside_on_the_reference(
    kind: str, folder: Path, adapters: list[Adapter], kernels_steppers: Steppers, tmp_path: Path
) -> None:
    model = loaded(folder)
    last = {"qwen3_5": "down_proj", "gemma4": "up_proj", "phi3": "down_proj"}.get(kind, "o_proj")
    saved = read_adapter(
        tiny.save_adapter(kind, folder, tmp_path / "saved", 9, modules_to_save=[last]), model, "tiny/base"
    )
    cover(model, [saved, adapters[0]])
    stepper, reference, rng = fast(model, kernels_steppers), TorchStepper(model), random.Random(2)
    lanes = [Lane(adapter, 1.0) for adapter in (saved, None, adapters[0])]
    twins = [Lane(lane.adapter, 1.0) for lane in lanes]
    for lane, twin in zip(lanes, twins, strict=True):
        ids = prompt(rng)
        stepper.prefill(lane, ids)
        reference.prefill(twin, ids)
    for _ in range(4):
        tokens = [rng.randrange(6, 290) for _ in lanes]
        ours, theirs = stepper.step(lanes, tokens), reference.step(twins, tokens)
        assert (ours - theirs).abs().max() < 2e-4 * theirs.abs().max()
    assert [stepper.name_of(lane) for lane in lanes] == ["transformers", "kernels", "kernels"]


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden_size": WIDTH * 2 + 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": WIDTH},
        {"hidden_size": WIDTH * 3, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": WIDTH * 3},
        {"intermediate_size": WIDTH * 5 + 1},
        {"intermediate_size": WIDTH},
        {"head_dim": WIDTH // 2},
        {"num_hidden_layers": 1, "vocab_size": 331},
        {"hidden_size": WIDTH * 9, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": WIDTH},
        {"hidden_act": "relu"},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ],
    ids=lambda shape: ",".join(f"{key}={value}" for key, value in shape.items())[:60],
)
def test_odd_shapes_run_right_or_are_left_to_the_reference(
    shape: dict[str, Any], kernels_steppers: Steppers, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.make_config("llama")
    for key, value in shape.items():
        setattr(config, key, value)
    monkeypatch.setattr(tiny, "make_config", lambda _: config)
    model = tiny.make_model("llama").requires_grad_(False)
    stepper = kernels_steppers.for_model(model)
    then = [7, 8, 9]
    ours = logits_of(stepper, Lane(None, 1.0), [5, 6], then)
    assert (ours - logits_of(TorchStepper(model), Lane(None, 1.0), [5, 6], then)).abs().max() < 1e-4


@pytest.mark.parametrize("seed", range(24))
def test_random_shapes_run_right_or_are_left_to_the_reference(
    seed: int,
    kernels_steppers: Steppers,
    torch_prompts_steppers: Steppers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Widths on and off the blocks, any number of heads, ranks from 1 on, in a batch with the bare base."""
    rng = random.Random(seed)
    kind = rng.choice(["llama", "granite", "phi3", "starcoder2"])
    config = tiny.make_config(kind)
    num_kept = rng.randint(1, 3)
    config.num_key_value_heads, config.num_attention_heads = num_kept, num_kept * rng.randint(1, 3)
    config.head_dim = WIDTH * rng.randint(1, 3)
    # Half of the architectures have no width of a head of their own.
    config.hidden_size = config.num_attention_heads * config.head_dim
    config.intermediate_size = rng.choice([WIDTH * rng.randint(1, 9), rng.randint(3, 150)])
    monkeypatch.setattr(tiny, "make_config", lambda _: config)
    folder = tiny.save_base(kind, tmp_path / "base", seed=seed)
    model = loaded(folder)
    rank = rng.choice([1, 2, 3, 5, 8, 17])
    settings = {"r": rank, "target_modules": "all-linear", "use_dora": rng.random() < 0.3}
    adapter = read_adapter(tiny.save_adapter(kind, folder, tmp_path / "tuned", **settings), model, "tiny/base")
    cover(model, [adapter])
    steppers = rng.choice([kernels_steppers, torch_prompts_steppers])
    stepper, reference = steppers.for_model(model), TorchStepper(model)
    assert isinstance(stepper, CpuStepper) == (config.intermediate_size % WIDTH == 0)
    lanes, theirs = ([Lane(carried, 0.7) for carried in (adapter, None, adapter)] for _ in range(2))
    for ours, twin in zip(lanes, theirs, strict=True):
        ids = prompt(rng, 2 * PIECE)
        got, wanted = stepper.prefill(ours, ids), reference.prefill(twin, ids)
        assert (got - wanted).abs().max() < 2e-4 * wanted.abs().max()
    for token_id in (7, 8):
        got, wanted = stepper.step(lanes, [token_id] * 3), reference.step(theirs, [token_id] * 3)
        assert (got - wanted).abs().max() < 2e-4 * wanted.abs().max()


def test_what_has_no_translator_says_so() -> None:
    model = tiny.make_model("llama")
    model.config.model_type = "unheard-of"
    with pytest.raises(NotPlannable, match="no translator for unheard-of"):
        plan_of(model)
    model = tiny.make_model("llama").half()
    with pytest.raises(NotPlannable, match="float16"):
        plan_of(model)


# When things fail


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loaded(tiny.save_base("llama", tmp_path_factory.mktemp("llama") / "base"))


@pytest.mark.parametrize("thread", [0, 1], ids=["caller", "helper"])
def test_a_thread_that_fails_ends_the_step_and_the_next_is_right(
    llama: Any, kernels_steppers: Steppers, monkeypatch: pytest.MonkeyPatch, thread: int
) -> None:
    stepper, lane = fast(llama, kernels_steppers), Lane(None, 1.0)
    expected = logits_of(TorchStepper(llama), Lane(None, 1.0), [5, 6], [7, 8])
    stepper.prefill(lane, [5, 6])
    real = crew.take_part

    def fails(batch: Any, control: Any, base: int, number: int) -> int:
        if number == thread:
            raise RuntimeError("made to fail")
        return real(batch, control, base, number)

    monkeypatch.setattr(crew, "take_part", fails)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    if thread == 0:
        with pytest.raises(RuntimeError, match="made to fail"):
            stepper.step([lane], [7])
    else:
        # The caller may do all of so small a step before the helper has woken.
        with contextlib.suppress(crew.StepBroken):
            stepper.step([lane], [7])
        failed = stepper._crew._helpers
        wait_for(lambda: not any(helper.is_alive() for helper in failed))
    monkeypatch.setattr(crew, "take_part", real)
    again = logits_of(stepper, Lane(None, 1.0), [5, 6], [7, 8])
    assert (again - expected).abs().max() < 1e-4
    assert [helper.is_alive() for helper in stepper._crew._helpers] == [True]


def test_threads_sleep_between_steps_and_end_with_the_stepper(llama: Any, kernels_steppers: Steppers) -> None:
    stepper = fast(llama, kernels_steppers)
    logits_of(stepper, Lane(None, 1.0), [5, 6], [7, 8])
    helpers = list(stepper._crew._helpers)
    assert len(helpers) == 1
    stepper.close()
    for helper in helpers:
        helper.join(10)
        assert not helper.is_alive()


# Compiling


def test_until_the_kernels_are_there_the_reference_answers(llama: Any) -> None:
    kernels = Kernels(None)
    stepper = CpuStepper(plan_of(llama), kernels, TorchStepper(llama), 2, reads_prompts=False)
    early = Lane(None, 1.0)
    stepper.prefill(early, [5, 6])
    stepper.step([early], [7])
    assert stepper.name_of(early) == "transformers"
    kernels._ready.set()
    late = Lane(None, 1.0)
    stepper.prefill(late, [5, 6])
    stepper.step([early, late], [7, 7])
    assert (stepper.name_of(early), stepper.name_of(late)) == ("transformers", "kernels")


def test_a_switch_leaves_the_kernels_out(llama: Any) -> None:
    assert isinstance(Steppers(kernels=False).for_model(llama), TorchStepper)


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8), (None, 8)]
)
def test_no_more_threads_than_a_container_may_keep_busy(tmp_path: Path, quota: str | None, cores: int) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert num_cores(8, tmp_path / "cpu.max") == cores


def test_a_lane_that_left_keeps_neither_cache_nor_adapter(
    llama: Any, kernels_steppers: Steppers, tmp_path: Path
) -> None:
    base = tiny.save_base("llama", tmp_path / "base")
    adapter = read_adapter(tiny.save_adapter("llama", base, tmp_path / "adapter"), llama, "tiny/base")
    stepper, lane = fast(llama, kernels_steppers), Lane(adapter, 1.0)
    logits_of(stepper, lane, [5, 6], [7])
    gone = weakref.ref(adapter)
    stepper.leave(lane)
    del adapter, lane
    # The reference's last plan holds what it took in.
    stepper.prefill(Lane(None, 1.0), [5, 6])
    gc.collect()
    assert gone() is None
    assert not stepper._carried
