"""An adapter that does not fit is refused with the reason; one that is only named differently is mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma4ForConditionalGeneration

from playground.errors import InvalidRequest, ModelLoadFailed
from playground.local import weights
from playground.local.adapters import read_adapter
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.lora import Hooks
from playground.local.measuring import measure
from playground.local.merge import merged_view
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane, TorchStepper
from playground.types import GenerationRequest, ModelCard, Progress, Sampling
from tests import tiny
from tests.drive import Watch, greedy, start

FILE = "adapter_model.safetensors"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_base("llama", tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture(scope="module")
def base(llama: Path) -> weights.Base:
    return weights.load_base(ModelCard("tiny/llama", "llama", "base", str(llama)), Watch())


def change_tensors(folder: Path, change: Callable[[Tensors], Tensors | None]) -> None:
    tensors = load_file(folder / FILE)
    save_file(change(tensors) or tensors, folder / FILE)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def first(tensors: Tensors, ending: str) -> str:
    return next(name for name in tensors if name.endswith(ending))


def drop(ending: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[first(tensors, ending)]

    return change


def add(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: torch.ones(4, 32)})


def poison(value: float) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[first(tensors, "lora_B.weight")][0, 0] = value

    return change


def reshape(tensors: Tensors) -> None:
    name = first(tensors, "lora_A.weight")
    tensors[name] = torch.ones(4, 31)


WRONG = [
    (drop("q_proj.lora_B.weight"), "lacks 1 tensors"),
    (add("base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"), "no place in tiny/llama"),
    (poison(float("nan")), "NaN or infinite"),
    (poison(float("inf")), "NaN or infinite"),
    (reshape, "trained on another model"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_wrong_tensors_are_refused(
    base: weights.Base, llama: Path, tmp_path: Path, change: Callable[[Tensors], None], reason: str
) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a")
    change_tensors(folder, change)
    with pytest.raises(ModelLoadFailed, match=reason) as caught:
        read_adapter(folder, base.model, "tiny/llama")
    assert str(folder) in caught.value.message


def test_a_whole_layer_without_weights_is_refused(base: weights.Base, llama: Path, tmp_path: Path) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a")
    change_tensors(folder, lambda ts: {n: t for n, t in ts.items() if "layers.3.mlp" not in n})
    with pytest.raises(ModelLoadFailed, match=r"layers\.3\.mlp\.down_proj"):
        read_adapter(folder, base.model, "tiny/llama")


def test_broken_files_are_refused(base: weights.Base, llama: Path, tmp_path: Path) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a")
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelLoadFailed, match="broken or cut short"):
        read_adapter(folder, base.model, "tiny/llama")
    (folder / FILE).unlink()
    with pytest.raises(ModelLoadFailed, match="missing"):
        read_adapter(folder, base.model, "tiny/llama")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ModelLoadFailed, match=r"adapter_config\.json"):
        read_adapter(folder, base.model, "tiny/llama")


@pytest.mark.parametrize("other", ["phi3", "starcoder2", "qwen3_5"])
def test_an_adapter_of_another_base_is_refused(base: weights.Base, tmp_path: Path, other: str) -> None:
    folder = tiny.save_adapter(other, tiny.save_base(other, tmp_path / "base"), tmp_path / "a")
    with pytest.raises(ModelLoadFailed, match=r"another|no place"):
        read_adapter(folder, base.model, "tiny/llama")


@pytest.mark.parametrize("kind", ["qwen3_5", "gemma4"])
def test_both_directions_of_the_shell_s_prefix_are_mended_and_said(tmp_path: Path, kind: str) -> None:
    folder = tiny.save_base(kind, tmp_path / "base")
    base = weights.load_base(ModelCard("tiny/x", "x", "base", str(folder)), Watch())
    adapter = tiny.save_adapter(kind, folder, tmp_path / "a")
    right = read_adapter(adapter, base.model, "tiny/x")
    assert right.notes == ()

    def rename(tensors: Tensors) -> Tensors:
        inner, shell = "base_model.model.model.", "base_model.model.model.language_model."
        there, here = (shell, inner) if kind == "gemma4" else (inner, shell)
        return {name.replace(there, here, 1): tensor for name, tensor in tensors.items()}

    change_tensors(adapter, rename)
    if kind == "gemma4":  # a text-only model's adapter names its targets without the shell
        change_config(adapter, target_modules=["q_proj", "o_proj", "gate_proj", "down_proj"])
    mended = read_adapter(adapter, base.model, "tiny/x")
    assert len(mended.notes) == 1
    hooks = Hooks(base.model)
    hooks.cover(mended)
    hooks.cover(right)
    ids = [9, 20, 30]
    stepper = TorchStepper(base.model)
    expected = stepper.prefill(Lane(right, 1.0), ids)
    assert torch.equal(stepper.prefill(Lane(mended, 1.0), ids), expected)
    assert not torch.allclose(stepper.prefill(Lane(None, 1.0), ids), expected, atol=1e-2)
    merged = TorchStepper(merged_view(base.model, mended)).prefill(Lane(None, 1.0), ids)
    assert (merged - expected).abs().max() < 2e-4


ONLY_MERGED: dict[str, dict[str, Any]] = {
    "bias": {"bias": "lora_only"},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "tokens": {"trainable_token_indices": [7, 8]},
}


def card_of(llama: Path, adapter: Path, merge: Any = "auto") -> ModelCard:
    return ModelCard(
        "tiny/tune",
        "tune",
        "fine-tuned",
        str(llama),
        base_model="tiny/llama",
        adapter=str(adapter),
        merge=merge,
    )


def load(llama: Path, room: int = 10**9) -> tuple[LocalEngine, ModelCard]:
    card = ModelCard("tiny/llama", "llama", "base", str(llama))
    engine = LocalLoader(Steppers(kernels=False), max_rows=8).load(card, Watch(), lambda num_bytes: num_bytes <= room)
    assert isinstance(engine, LocalEngine)
    return engine, card


@pytest.mark.parametrize("name", ONLY_MERGED)
def test_what_rows_cannot_carry_runs_as_a_merged_view(llama: Path, tmp_path: Path, name: str) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a", **ONLY_MERGED[name])
    card = card_of(llama, folder)
    engine, _ = load(llama)
    ids = [7, 8, 9, 10]
    try:
        told = engine.size_of(card, Watch())
        engine.prepare(card, Watch())
        assert engine.memory_of(card) == told
        answer = start(engine, card, greedy(card.id, ids)).answer()
        assert answer.finish.view == "merged"
        stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), folder).eval()
        out = stock.generate(input_ids=torch.tensor([ids]), max_new_tokens=16, do_sample=False)
        assert list(answer.token_ids) == [t for t in out[0, 4:].tolist() if t != 0]
        refused = start(engine, card, greedy(card.id, ids, strength=0.5)).error()
        assert isinstance(refused, InvalidRequest)
        assert refused.param == "strength"
    finally:
        engine.close()


TIED: dict[str, dict[str, Any]] = {
    "tokens": {"trainable_token_indices": [7, 8]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved embedding": {"modules_to_save": ["embed_tokens"]},
}


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("kind", ["llama", "qwen3_5", "gemma4"])
def test_a_merged_view_of_tied_weights_leaves_the_base_alone(tmp_path: Path, kind: str, name: str) -> None:
    folder = tiny.save_base(kind, tmp_path / "base", tied=True)
    base = weights.load_base(ModelCard("tiny/x", "x", "base", str(folder)), Watch())
    assert base.model.get_output_embeddings().weight is base.model.get_input_embeddings().weight
    before = weights.fingerprint(base.model)
    saved = tiny.save_adapter(kind, folder, tmp_path / "a", **{"target_modules": ["q_proj"], **TIED[name]})
    adapter, measured = read_adapter(saved, base.model, "tiny/x"), measure(saved, base.model)
    assert (measured.num_bytes, {*measured.names}) == (adapter.num_bytes(), {*adapter.tensors})
    assert (measured.attachable is None) == (adapter.attachable is None)
    merged = TorchStepper(merged_view(base.model, adapter)).prefill(Lane(None, 1.0), [7, 8, 9], num_logits=3)
    assert weights.fingerprint(base.model) == before
    stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), saved).eval()
    with torch.no_grad():
        assert (merged - stock(torch.tensor([[7, 8, 9]])).logits[0]).abs().max() < 1e-4


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_training_that_changed_the_base_runs_merged_only(
    base: weights.Base, llama: Path, tmp_path: Path, start: str
) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a", init_lora_weights=start)
    adapter = read_adapter(folder, base.model, "tiny/llama")
    assert adapter.attachable is not None
    assert start in adapter.attachable
    before = weights.fingerprint(base.model)
    merged = TorchStepper(merged_view(base.model, adapter)).prefill(Lane(None, 1.0), [7, 8, 9], num_logits=3)
    stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), folder).eval()
    with torch.no_grad():
        assert (merged - stock(torch.tensor([[7, 8, 9]])).logits[0]).abs().max() < 1e-4
    assert weights.fingerprint(base.model) == before


INCOMPLETE: list[tuple[dict[str, Any], str]] = [
    ({"modules_to_save": ["lm_head"]}, "lm_head.weight"),
    ({"use_dora": True}, "lora_magnitude_vector"),
    ({"trainable_token_indices": [7]}, "trainable_tokens_delta"),
    ({"target_modules": ["q_proj", "lm_head"]}, "lm_head.lora_A.weight"),
]


@pytest.mark.parametrize(("settings", "ending"), INCOMPLETE)
def test_what_the_configuration_calls_for_must_be_in_the_file(
    base: weights.Base, llama: Path, tmp_path: Path, settings: dict[str, Any], ending: str
) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a", **settings)
    read_adapter(folder, base.model, "tiny/llama")
    change_tensors(folder, drop(ending))
    with pytest.raises(ModelLoadFailed, match="lacks"):
        read_adapter(folder, base.model, "tiny/llama")


CONFIGURED: list[tuple[dict[str, Any], str]] = [
    ({"r": 8}, "would be"),
    ({"r": 0}, "cannot be read"),
    ({"r": "4"}, "cannot be read"),
    ({"target_modules": ["q_proj"]}, "no place"),
    ({"target_modules": ["nothing"]}, "cannot be read"),
    ({"target_modules": "(", "peft_type": "LORA"}, "is no regular expression"),
    ({"peft_type": "IA3"}, "only LORA"),
    ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
    ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
]


@pytest.mark.parametrize(("changes", "reason"), CONFIGURED)
def test_configurations_that_do_not_go_with_the_file_are_refused(
    base: weights.Base, llama: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a")
    change_config(folder, **changes)
    with pytest.raises(ModelLoadFailed, match=reason):
        read_adapter(folder, base.model, "tiny/llama")


_SLOW = r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)\1\2\3[^a-z]"
HOSTILE = [
    ({"target_modules": _SLOW}, "takes more than 2 s to match"),
    ({"exclude_modules": _SLOW}, "takes more than 2 s to match"),
    ({"rank_pattern": {_SLOW: 2}}, "takes more than 2 s to match"),
    ({"alpha_pattern": {_SLOW: 2}}, "takes more than 2 s to match"),
    # Python's own engine would take longer than anybody lives.
    ({"target_modules": "^(([a-z_.0-9])+)+$X"}, "No `target_modules` passed"),
    ({"target_modules": "(.{9999}){9999}"}, "the least counts of its repeats"),
    ({"target_modules": "(q_proj"}, "is no regular expression"),
    ({"modules_to_save": ["(([a-z_.0-9])+)+X"]}, "must be a plain name"),
    ({"layers_pattern": "(([a-z_.0-9])+)+X", "layers_to_transform": [0]}, "must be a plain name"),
]


@pytest.mark.parametrize(("changes", "reason"), HOSTILE)
def test_a_pattern_that_would_hang_the_program_is_refused(
    base: weights.Base, llama: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "adapter")
    change_config(folder, **changes)
    with pytest.raises(ModelLoadFailed, match=reason):
        read_adapter(folder, base.model, "tiny/llama")


def test_a_rank_in_the_configuration_takes_no_memory(base: weights.Base, llama: Path, tmp_path: Path) -> None:
    """Of a rank of a billion, the tensors that peft would make take terabytes."""
    folder = tiny.save_adapter("llama", llama, tmp_path / "adapter")
    change_config(folder, r=10**9)
    with pytest.raises(ModelLoadFailed, match=r"lora_A.weight is \[4, \d+\] and would be \[1000000000, \d+\]"):
        read_adapter(folder, base.model, "tiny/llama")


def test_a_trainer_may_write_over_an_adapter_in_use(llama: Path, tmp_path: Path) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a")
    card = card_of(llama, folder)
    engine, _ = load(llama)
    try:
        engine.prepare(card, Watch())
        before = start(engine, card, greedy(card.id, [9, 10, 11])).answer().token_ids
        (folder / FILE).write_bytes(b"")
        assert start(engine, card, greedy(card.id, [9, 10, 11])).answer().token_ids == before
    finally:
        engine.close()


def test_a_forced_merge_is_told_with_the_size(llama: Path, tmp_path: Path) -> None:
    folder = tiny.save_adapter("llama", llama, tmp_path / "a")
    engine, _ = load(llama, room=0)
    try:
        for merge in ("auto", "always"):
            card = card_of(llama, folder, merge)
            told = engine.size_of(card, Watch())
            engine.prepare(card, Watch())
            assert engine.memory_of(card) == told, "what is reserved needs no further room"
            engine.forget(card)
        assert told > 2 * folder.joinpath(FILE).stat().st_size
    finally:
        engine.close()


def test_a_fine_tune_in_use_by_itself_is_merged_behind(llama: Path, tmp_path: Path) -> None:
    card = card_of(llama, tiny.save_adapter("llama", llama, tmp_path / "a"))
    engine, _ = load(llama)
    drawn = GenerationRequest(card.id, prompt=(9, 10, 11), sampling=Sampling(max_tokens=3))
    try:
        engine.prepare(card, Watch())
        views = [start(engine, card, drawn).answer().finish.view for _ in range(2)]
        assert views == ["attached", "attached"]
        with engine._changing_modules:
            pass
        for _ in range(200):
            finish = start(engine, card, drawn).answer().finish
            if finish.view == "merged":
                assert not finish.exact_seed, "asked again with its seed, it would run attached"
                break
        else:
            pytest.fail("no merged view came")
        assert start(engine, card, greedy(card.id, [9, 10])).answer().finish.view == "attached"
    finally:
        engine.close()


def test_progress_of_the_weights_is_reported(llama: Path) -> None:
    watch = Watch()
    weights.load_base(ModelCard("tiny/llama", "llama", "base", str(llama)), watch)
    fractions = [p.fraction for p in watch.heard if p.stage == "loading" and p.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(fractions) > 5


def test_a_load_is_cancelled_in_the_middle(llama: Path) -> None:
    from playground.errors import Cancelled

    class Leaves(Watch):
        def report(self, progress: Progress) -> None:
            super().report(progress)
            if len(self.heard) > 5:
                raise Cancelled("gone")

    with pytest.raises(Cancelled):
        weights.load_base(ModelCard("tiny/llama", "llama", "base", str(llama)), Leaves())
    assert weights.load_base(ModelCard("tiny/llama", "llama", "base", str(llama)), Watch()).num_bytes > 0


def spoil(folder: Path, how: str) -> None:
    file = folder / "model.safetensors"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "no weights":
        file.unlink()
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "missing tensor":
        tensors = load_file(file)
        tensors.pop("model.layers.0.self_attn.q_proj.weight")
        save_file(tensors, file, metadata={"format": "pt"})
    elif how == "unknown architecture":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "no_such_thing"}))
    elif how == "wrong shapes":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))


@pytest.mark.parametrize(
    "how", ["truncated", "no weights", "no config", "missing tensor", "unknown architecture", "wrong shapes"]
)
def test_broken_bases_are_refused_with_a_reason(tmp_path: Path, how: str) -> None:
    folder = tiny.save_base("llama", tmp_path / "base")
    spoil(folder, how)
    card = ModelCard("tiny/broken", "broken", "base", str(folder))
    loader = LocalLoader(Steppers(kernels=False), max_rows=1)

    def load() -> None:
        loader.size_bytes(card, Watch())
        loader.load(card, Watch(), lambda num_bytes: True)

    with pytest.raises(ModelLoadFailed) as caught:
        load()
    assert len(caught.value.message) > 30


def test_gemma_keeps_its_shell(tmp_path: Path) -> None:
    folder = tiny.save_base("gemma4", tmp_path / "base")
    base = weights.load_base(ModelCard("tiny/g", "g", "base", str(folder)), Watch())
    assert isinstance(base.model, Gemma4ForConditionalGeneration)
