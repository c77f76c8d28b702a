"""Weights in int8: how near their logits stay, rows over them, what they cost, and what is refused over them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from playground.errors import InvalidRequest, ModelLoadFailed
from playground.local import weights
from playground.local.adapters import read_adapter
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.quantized import Int8Linear, weight_of
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane, TorchStepper
from playground.types import ModelCard
from tests import tiny
from tests.drive import Watch, greedy, start
from tests.test_app import ROOT
from tests.test_rows import KINDS, settings_of

NUM_BF16_ERRORS = 3
"""The logits' error stays below so many times what the same model loses in bfloat16."""
PROMPT = list(range(10, 60))


def logits_of(model: Any, ids: list[int], lane: Lane | None = None) -> torch.Tensor:
    return TorchStepper(model).prefill(lane or Lane(None, 1.0), ids, num_logits=len(ids))


def error_of(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found - right).norm() / right.norm())


@dataclass
class House:
    """One architecture's base, loaded in int8 and as it lies in the files."""

    kind: str
    root: Path
    card: ModelCard
    engine: LocalEngine
    plain: Any

    def tune(self, name: str, **settings: Any) -> ModelCard:
        folder = tiny.save_adapter(self.kind, Path(self.card.source), self.root / name, **settings)
        return replace(self.card, id=name, type="fine-tuned", base_model=self.card.id, adapter=str(folder))

    @property
    def model(self) -> Any:
        return self.engine._base.model


def load(card: ModelCard) -> LocalEngine:
    engine = LocalLoader(Steppers(kernels=False), max_rows=8).load(card, Watch(), lambda _: True)
    assert isinstance(engine, LocalEngine)
    engine.prepare(card, Watch())
    return engine


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp(request.param)
    folder = tiny.save_base(request.param, root / "base")
    card = ModelCard("tiny", "tiny", "base", str(folder), 512, dtype="int8")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = load(card)
    yield House(request.param, root, card, engine, plain)
    engine.close()


def test_logits_stay_near(house: House) -> None:
    assert any(isinstance(part, Int8Linear) for part in house.model.modules())
    found, right = logits_of(house.model, PROMPT), logits_of(house.plain, PROMPT)
    of_bf16 = error_of(logits_of(copy.deepcopy(house.plain).to(torch.bfloat16), PROMPT), right)
    assert 0 < error_of(found, right) < NUM_BF16_ERRORS * of_bf16


def test_only_the_decoder_s_linear_layers_are_changed(house: House) -> None:
    head, embedding = house.model.get_output_embeddings(), house.model.get_input_embeddings()
    assert {head.weight.dtype, embedding.weight.dtype} == {torch.float32}
    left = [
        name for name, part in house.model.get_decoder().named_modules() if type(part) is nn.Linear and part is not head
    ]
    assert left == []


def dequantized(house: House) -> Any:
    """A stock model with the very weights that int8 stands for."""
    stock = copy.deepcopy(house.plain)
    with torch.no_grad():
        for name, part in house.model.named_modules():
            if isinstance(part, Int8Linear):
                stock.get_submodule(name).weight.copy_(weight_of(part))
    return stock


@pytest.mark.parametrize("name", KINDS)
def test_adapters_run_by_row_over_it(house: House, name: str) -> None:
    tune = house.tune(name, **settings_of(house.kind, name))
    house.engine.prepare(tune, Watch())
    assert tune.adapter is not None
    tuned = PeftModel.from_pretrained(dequantized(house), tune.adapter).merge_and_unload().eval()
    adapter = read_adapter(Path(tune.adapter), house.model, house.card.id)
    found = logits_of(house.model, PROMPT, Lane(adapter, 1.0))
    assert error_of(found, logits_of(tuned, PROMPT)) < 1e-4
    assert error_of(found, logits_of(house.model, PROMPT)) > 1e-2


def test_rows_give_the_same_alone_and_among_others(house: House) -> None:
    tune = house.tune("beside", r=2)
    house.engine.prepare(tune, Watch())
    asked = [(house.card, PROMPT[:9]), (tune, PROMPT), (house.card, PROMPT[5:40]), (tune, [7])]
    alone = [start(house.engine, card, greedy(card.id, ids)).answer().token_ids for card, ids in asked]
    together = [start(house.engine, card, greedy(card.id, ids)) for card, ids in asked]
    assert [row.answer().token_ids for row in together] == alone


def test_an_answer_says_what_its_weights_are_kept_in(house: House) -> None:
    proof = start(house.engine, house.card, greedy("tiny", PROMPT)).answer().finish.proof
    assert proof is not None
    assert proof.dtype == "int8"
    verdicts = house.engine.check(house.card, greedy("tiny", PROMPT), proof)
    assert all(verdict.ok is not False for verdict in verdicts)


def test_the_fingerprint_covers_weights_and_scales(tmp_path: Path) -> None:
    card = ModelCard("tiny", "tiny", "base", str(tiny.save_base("llama", tmp_path / "base")), dtype="int8")
    engine = load(card)
    before = engine.fingerprint()
    part = next(part for part in engine._base.model.modules() if isinstance(part, Int8Linear))
    for tensor in (part.weight, part.scale):
        tensor.view(-1)[0] += 1
        assert engine.fingerprint() != before
        tensor.view(-1)[0] -= 1
    engine.close()


def test_merges_are_refused_with_the_reason(tmp_path: Path) -> None:
    card = ModelCard("tiny", "tiny", "base", str(tiny.save_base("llama", tmp_path / "base")), dtype="int8")
    engine, base = load(card), Path(card.source)
    tune = replace(card, id="t", type="fine-tuned", base_model="tiny", adapter=str(
        tiny.save_adapter("llama", base, tmp_path / "tune")
    ))  # fmt: skip
    biased = tiny.save_adapter("llama", base, tmp_path / "biased", bias="lora_only")
    for refused in (replace(tune, merge="always"), replace(tune, adapter=str(biased))):
        with pytest.raises(ModelLoadFailed, match=r"int8.*full precision"):
            engine.prepare(refused, Watch())
    engine.prepare(tune, Watch())
    with pytest.raises(InvalidRequest, match=r"int8.*full precision"):
        engine.fidelity(tune, greedy("t", [7, 8]))
    for _ in range(4):
        drawn = replace(greedy("t", [7, 8], 2), sampling=replace(greedy("t", [7]).sampling, temperature=1.0))
        assert start(engine, tune, drawn).answer().finish.view == "attached"
    assert not engine._fine_tunes["t"].merging
    assert engine.describe(tune).changes
    engine.close()


def test_int4_is_refused_on_the_cpu(tmp_path: Path) -> None:
    card = ModelCard(
        "tiny", "tiny", "base", str(tiny.save_base("llama", tmp_path / "base")), dtype="int4", device="cpu"
    )
    for ask in (LocalLoader(Steppers(kernels=False), max_rows=1).size_bytes, weights.load_base):
        with pytest.raises(ModelLoadFailed, match=r"int4.*CUDA alone.*choose int8"):
            ask(card, Watch())


# --- one layer ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("outputs", "inputs"), [(48, 64), (7, 33), (5, 32), (1, 8)])
def test_a_layer_in_int8(dtype: torch.dtype, outputs: int, inputs: int) -> None:
    """The kernel reads beyond a row's end where its length does not fit; such layers go the other way."""
    torch.manual_seed(0)
    linear = nn.Linear(inputs, outputs).to(dtype).requires_grad_(False)
    layer = Int8Linear(linear)
    x = torch.randn(6, 1, inputs).to(dtype)
    exact = torch.nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double())
    for found in (layer(x), layer(x.transpose(0, 1)).transpose(0, 1)):
        assert found.dtype == dtype
        assert error_of(found.double(), exact) < 0.02
    if dtype.itemsize == 2:
        assert torch.equal(layer(x), torch.cat([layer(row[None]) for row in x])), "a step's bits depend on its batch"


def test_a_row_of_noughts_stays_nought() -> None:
    linear = nn.Linear(32, 4, bias=False)
    nn.init.zeros_(linear.weight)
    assert torch.equal(Int8Linear(linear)(torch.ones(2, 1, 32)), torch.zeros(2, 1, 4))


class MemoryWatch(Watch):
    """Keeps the most memory that the process had of its own: pages of mapped files go when others want them."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.most = self._own_bytes()

    def report(self, progress: Any) -> None:
        super().report(progress)
        self.most = max(self.most, self._own_bytes())

    def _own_bytes(self) -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def test_loading_takes_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 16}
    monkeypatch.setattr(tiny, "make_config", partial(tiny.make_config, sizes=sizes))
    folder = tiny.save_base("llama", tmp_path / "base", torch.bfloat16)
    card = ModelCard("large", "large", "base", str(folder), dtype="int8")
    in_files = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    watch = MemoryWatch()
    base = weights.load_base(card, watch)
    assert base.num_bytes < 0.52 * in_files
    assert watch.most - watch.before < 0.75 * in_files
    fractions = [heard.fraction for heard in watch.heard if "int8" in heard.detail]
    assert len(fractions) == 16 * 7
    assert fractions[-1] == 1


# --- the demo ---


def test_the_demo_beside_itself_in_int8() -> None:
    card = ModelCard("demo", "demo", "base", str(ROOT / "demo/base"), 512, dtype="float32")
    plain, small = load(card), load(replace(card, id="demo-int8", dtype="int8"))
    assert small.memory_of(card) < 0.6 * plain.memory_of(card)
    models = [engine._base.model for engine in (plain, small)]
    right, found = (logits_of(model, list(range(40, 120))) for model in models)
    assert 0 < error_of(found, right) < 0.01
    assert float((found - right).abs().max()) < 0.5
    assert plain.fingerprint() != small.fingerprint()
    plain.close()
    small.close()
