"""What an answer can show of itself: honest proofs pass, and each way to lie that a test can make is caught."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import itertools
import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from playground.errors import InvalidRequest, ModelNotFound
from playground.evidence import NUM_BEST, SAME_LOGPROB, AdapterDetails, First, Proof, Verdict, same_first
from playground.local import checking, weights
from playground.local.adapters import FILE, read_adapter
from playground.local.describing import describe
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.merge import extra_bytes
from playground.local.steppers import Steppers
from playground.registry import Registry
from playground.service import Playground
from playground.types import Answer, GenerationRequest, Message, ModelCard, Sampling
from tests import tiny
from tests.drive import Watch, greedy, start, wait_for
from tests.test_rows import KINDS, House, make_house
from tests.test_service import open_door

IDS = tuple(range(20, 60))


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(request.param, tmp_path_factory.mktemp(request.param))


MERGED = "tiny/merged"


def load(house: House, steppers: Steppers) -> LocalEngine:
    """The base, its fine-tunes, and one of them merged as well; the base's fingerprint is known."""
    engine = house.load(steppers)
    engine.prepare(replace(house.tunes["plain"], id=MERGED, merge="always"), Watch())
    wait_for(lambda: engine.base_hash)
    return engine


@pytest.fixture(scope="module")
def engine(house: House, kernels_steppers: Steppers) -> Iterator[LocalEngine]:
    """For all tests that leave it as it is."""
    engine = load(house, kernels_steppers)
    before = engine.fingerprint()
    yield engine
    assert engine.fingerprint() == before
    engine.close()


@pytest.fixture
def own_engine(house: House, kernels_steppers: Steppers) -> Iterator[LocalEngine]:
    engine = load(house, kernels_steppers)
    yield engine
    engine.close()


def answered(engine: LocalEngine, card: ModelCard, request: GenerationRequest | None = None) -> tuple[Answer, Proof]:
    answer = start(engine, card, request or greedy(card.id, IDS, 3)).answer()
    assert answer.finish.proof is not None
    return answer, answer.finish.proof


def verdicts(engine: LocalEngine, card: ModelCard, proof: Proof, **settings: Any) -> dict[str, Verdict]:
    found = engine.check(card, greedy(card.id, IDS, 3, **settings), proof)
    return {verdict.check: verdict for verdict in found}


def oks(found: dict[str, Verdict]) -> dict[str, bool | None]:
    return {check: verdict.ok for check, verdict in found.items()}


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def file_of(card: ModelCard) -> Path:
    return Path(str(card.adapter)) / FILE


def first_by(model: Any, ids: tuple[int, ...]) -> First:
    """The best tokens after a prompt by a stock model."""
    with torch.no_grad():
        best = model(torch.tensor([ids])).logits[0, -1].log_softmax(0).topk(NUM_BEST)
    return tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))


# Proof of sides


def test_honest_answers_pass(house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", 16)
    merged = engine._fine_tunes[MERGED].card
    for card in (house.base, *house.tunes.values(), merged):
        answer, proof = answered(engine, card)
        found = verdicts(engine, card, proof)
        if card is house.base:
            assert answer.finish.view == "base"
            assert oks(found) == {"base": True, "side": True}
        else:
            assert answer.finish.view == ("merged" if card is merged else "attached")
            assert oks(found) == {"base": True, "adapter": True, "side": True}
        assert proof.base_hash is not None
        assert proof.base_hash[:12] in found["base"].finding


def test_a_proof_says_what_answered(house: House, engine: LocalEngine) -> None:
    for name, card in (("", house.base), *house.tunes.items()):
        _, proof = answered(engine, card)
        assert (proof.base, proof.revision, proof.strength) == (house.base.id, None, 1.0)
        assert proof.base_hash == weights.fingerprint(house.stock)
        tuned = card.adapter is not None
        assert proof.adapter == (card.id if tuned else None)
        assert proof.adapter_hash == (sha256(file_of(card)) if tuned else None)
        assert same_first(proof.first, first_by(house.tuned[name] if tuned else house.stock, IDS))
        assert same_first(proof.first, first_by(house.stock, IDS)) != tuned
    half = greedy(house.tunes["plain"].id, IDS, 3, strength=0.5)
    assert answered(engine, house.tunes["plain"], half)[1].strength == 0.5


def swap(house: House, how: str, place: Callable[..., Any]) -> Callable[..., Any]:
    """Where jobs run, with the sides swapped behind everybody's back."""

    def swapped(self: LocalEngine, job: Any) -> Any:
        found = place(self, job)
        tune = self._fine_tunes[house.tunes["plain"].id]
        if job.card.adapter is None and how == "the base's row carries the adapter":
            return replace(found, adapter=tune.adapter)
        if job.card.adapter is None and how == "a merged view answers for the base":
            return replace(found, loop=self._fine_tunes[MERGED].merged)
        if job.card.adapter is not None and how == "the fine-tune's row carries none":
            return replace(found, adapter=None)
        return found

    return swapped


@pytest.mark.parametrize(
    ("how", "base_ok", "tune_ok"),
    [
        ("the base's row carries the adapter", False, True),
        ("a merged view answers for the base", False, True),
        ("the fine-tune's row carries none", True, False),
    ],
)
def test_a_swapped_side_is_caught(
    house: House, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, how: str, base_ok: bool, tune_ok: bool
) -> None:
    monkeypatch.setattr(LocalEngine, "_place", swap(house, how, LocalEngine._place))
    tune = house.tunes["plain"]
    for card, ok in ((house.base, base_ok), (tune, tune_ok)):
        answer, proof = answered(engine, card)
        assert answer.finish.view == ("base" if card is house.base else "attached"), "the answer itself tells nothing"
        found = verdicts(engine, card, proof)
        assert found["side"].ok is ok
        assert ok or "something else answered" in found["side"].finding or "the base answered" in found["side"].finding
        assert found["base"].ok
    if not base_ok:
        assert (
            "something else answered" in verdicts(engine, house.base, answered(engine, house.base)[1])["side"].finding
        )


def test_an_adapter_that_changes_nothing_is_flagged(house: House, engine: LocalEngine, tmp_path: Path) -> None:
    folder = tiny.save_untrained_adapter(house.kind, Path(house.base.source), tmp_path / "none")
    none = replace(house.tunes["plain"], id="tiny/none", adapter=str(folder))
    engine.prepare(none, Watch())
    found = verdicts(engine, none, answered(engine, none)[1])
    assert oks(found) == {"base": True, "adapter": True, "side": False}
    assert "changes nothing" in found["side"].finding
    for tune in house.tunes.values():
        proof = answered(engine, tune, greedy(tune.id, IDS, 3, strength=0.0))[1]
        assert oks(verdicts(engine, tune, proof, strength=0.0)) == {"base": True, "adapter": True, "side": False}


def test_a_tampered_base_is_caught(house: House, own_engine: LocalEngine) -> None:
    engine = own_engine
    before = {card.id: answered(engine, card)[1] for card in (house.base, house.tunes["plain"])}
    parameters = [*engine._base.model.parameters()]
    with torch.no_grad():
        parameters[len(parameters) // 2].view(-1)[0] += 0.001
    for card in (house.base, house.tunes["plain"]):
        for proof in (before[card.id], answered(engine, card)[1]):
            found = verdicts(engine, card, proof)
            assert found["base"].ok is False
            assert "have changed since they were loaded" in found["base"].finding
            assert proof.base_hash is not None
            assert f"{proof.base_hash[:12]}… then" in found["base"].finding

    # A change that shows gives the side away, too.
    head = engine._base.model.get_output_embeddings().weight
    with torch.no_grad():
        head += 0.5 * torch.randn_like(head)
    assert oks(verdicts(engine, house.base, before[house.base.id])) == {"base": False, "side": False}


def test_an_adapter_s_file_that_changed_is_caught(house: House, engine: LocalEngine, tmp_path: Path) -> None:
    folder = tiny.save_adapter(house.kind, Path(house.base.source), tmp_path / "a", seed=9)
    tune = replace(house.tunes["plain"], id="tiny/written", adapter=str(folder))
    engine.prepare(tune, Watch())
    proof = answered(engine, tune)[1]
    assert proof.adapter_hash is not None
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = verdicts(engine, tune, proof)
    assert oks(found) == {"base": True, "adapter": False, "side": True}
    assert sha256(folder / FILE)[:12] in found["adapter"].finding
    assert proof.adapter_hash[:12] in found["adapter"].finding
    (folder / FILE).unlink()
    found = verdicts(engine, tune, proof)
    assert found["adapter"].ok is False
    assert "cannot be read any more" in found["adapter"].finding
    (folder / FILE).write_bytes(content)
    assert verdicts(engine, tune, proof)["adapter"].ok


def test_before_the_fingerprint_is_taken_nothing_is_said_of_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, fingerprint = threading.Event(), LocalEngine.fingerprint

    def slow(self: LocalEngine) -> str:
        gate.wait()
        return fingerprint(self)

    monkeypatch.setattr(LocalEngine, "fingerprint", slow)
    card = ModelCard("tiny/llama", "llama", "base", str(tiny.save_base("llama", tmp_path / "base")))
    engine = load_alone(card)
    try:
        early = answered(engine, card)[1]
        assert early.base_hash is None
        gate.set()
        wait_for(lambda: engine.base_hash)
        found = verdicts(engine, card, early)
        assert oks(found) == {"base": None, "side": True}
        assert "not been fingerprinted yet" in found["base"].finding
        assert oks(verdicts(engine, card, answered(engine, card)[1])) == {"base": True, "side": True}
    finally:
        gate.set()
        engine.close()


def load_alone(card: ModelCard, has_room: Callable[[int], bool] = lambda num_bytes: True) -> LocalEngine:
    engine = LocalLoader(Steppers(kernels=False), max_rows=4).load(card, Watch(), has_room)
    assert isinstance(engine, LocalEngine)
    engine.prepare(card, Watch())
    return engine


@pytest.fixture(scope="module")
def rounding(house: House) -> Iterator[LocalEngine]:
    """The base in bfloat16."""
    engine = load_alone(replace(house.base, dtype="bfloat16"))
    engine.prepare(house.tunes["plain"], Watch())
    wait_for(lambda: engine.base_hash)
    yield engine
    engine.close()


def test_honest_answers_in_bf16_pass_too(house: House, rounding: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that is taken in by chunks rounds otherwise in bfloat16 than one in a piece."""
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", 16)
    rng = random.Random(1)
    for length in (5, 16, 17, 40, 100, 200):
        ids = [rng.randrange(6, 290) for _ in range(length)]
        for card in (house.base, house.tunes["plain"]):
            asked = greedy(card.id, ids, 2)
            proof = answered(rounding, card, asked)[1]
            assert all(verdict.ok for verdict in rounding.check(card, asked, proof)), (card.id, length)


def test_prints_are_one_model_s_up_to_rounding() -> None:
    first = ((5, -1.0), (7, -2.0))
    near, far = SAME_LOGPROB * 0.5, SAME_LOGPROB * 2
    assert same_first(first, first)
    assert same_first(first, ((7, -2.0 + near), (5, -1.0 - near)))
    assert not same_first(first, ((5, -1.0 + far), (7, -2.0)))
    assert not same_first(first, ((5, -1.0), (8, -2.0)))
    assert not same_first(first, first[:1])
    assert not same_first(first[:1], first)


# What was really sent


def tokenizer_of(house: House) -> Any:
    return AutoTokenizer.from_pretrained(house.base.source)


def chat(model: str, *contents: str, max_tokens: int = 4) -> GenerationRequest:
    roles = ("user", "assistant") if len(contents) % 2 else ("system", "user", "assistant")
    turns = [Message(roles[i] if i < len(roles) else roles[i % 2], text) for i, text in enumerate(contents)]  # type: ignore[arg-type]
    return GenerationRequest(model, tuple(turns), sampling=Sampling(max_tokens=max_tokens, temperature=0))


CHATS = [("hello",), ("be brief", "hello 🙂 日本"), ("a", "b", "c"), ("<|end|> is what they wrote",)]


def test_a_chat_is_rendered_as_its_template_does(engine: LocalEngine, house: House) -> None:
    tokenizer = tokenizer_of(house)
    for card, contents in itertools.product((house.base, house.tunes["plain"]), CHATS):
        request = chat(card.id, *contents)
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        found = engine.render(card, request)
        assert found.text == text
        assert list(found.token_ids) == ids
        assert not found.thinking
        assert found.tokenizer_hash == weights.tokenizer_hash(tokenizer)
        assert [token.special for token in found.tokens] == [i in tokenizer.all_special_ids or i < 4 for i in ids]
        assert [t.text for t in found.tokens if t.special] == re.findall(r"<\|\w+\|>", text)
        answer, _ = answered(engine, card, request)
        assert answer.finish.usage.num_prompt_tokens == len(ids)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Playground, Registry, Path]]:
    root = tmp_path_factory.mktemp("door")
    tiny.save_base("llama", root / "llama")
    tiny.save_base("llama", root / "plain", template=None)
    tiny.save_base("qwen3_5", root / "thinks", template=tiny.THINKING_TEMPLATE)
    tiny.save_adapter("llama", root / "llama", root / "one")
    tiny.save_adapter("llama", root / "llama", root / "tokens", trainable_token_indices=[7, 8])
    entries: list[dict[str, Any]] = [
        {"id": "llama", "path": "llama", "context_length": 64},
        {"id": "plain", "path": "plain"},
        {"id": "thinks", "path": "thinks"},
        {"id": "one", "base_model": "llama", "adapter": "./one"},
        {"id": "owned", "base_model": "llama", "adapter": "./one", "owner": "acme"},
        {"id": "tokens", "base_model": "llama", "adapter": "./tokens"},
        {
            "id": "own",
            "base_model": "llama",
            "adapter": "./one",
            "chat_template": "ME: {{ messages[0].content }}",
        },
    ]
    playground, registry = open_door(root, entries)
    yield playground, registry, root
    registry.close()


Door = tuple[Playground, Registry, Path]


def test_sides_may_be_sent_different_prompts(door: Door) -> None:
    playground = door[0]
    texts = {model: asyncio.run(playground.render(chat(model, "hi"))).text for model in ("one", "own")}
    assert texts == {"one": "<|user|>hi<|end|><|assistant|>", "own": "ME: hi"}


def test_thinking_is_rendered_as_it_is_asked_for(door: Door) -> None:
    playground, _, root = door
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "thinks")
    for thinking in (True, False):
        request = replace(chat("thinks", "hello"), thinking=thinking)
        found = asyncio.run(playground.render(request))
        turns = [{"role": "user", "content": "hello"}]
        expected = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        assert found.text == expected
        assert found.thinking == thinking
        assert found.tokens[-1].text == ("<think>" if thinking else "</think>")


def test_a_model_without_a_template_is_sent_the_bare_text(door: Door) -> None:
    playground, _, root = door
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "plain")
    for text in ("the quick 🙂", "<|end|>"):
        found = asyncio.run(playground.render(chat("plain", text)))
        assert found.text == text
        assert list(found.token_ids) == tokenizer(text)["input_ids"]
        raw = asyncio.run(playground.render(GenerationRequest("llama", prompt=text)))
        assert (raw.text, raw.token_ids) == (found.text, found.token_ids)
        special = [token.special for token in found.tokens]
        assert special == ([True] if text == "<|end|>" else [False] * len(special))


def test_token_ids_are_shown_as_they_were_sent(door: Door) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(door[2] / "llama")
    ids = (1, *tokenizer("é fox", add_special_tokens=False)["input_ids"], 0, 310)
    found = asyncio.run(door[0].render(GenerationRequest("llama", prompt=ids)))
    assert found.text is None
    assert found.token_ids == ids
    assert [token.special for token in found.tokens] == [True, *[False] * (len(ids) - 3), True, False]
    assert [token.text for token in found.tokens[:3]] == ["<|user|>", r"bytes:\xc3", r"bytes:\xa9"]


def test_what_a_job_would_be_refused_for_is_not_rendered(door: Door) -> None:
    for request in (
        GenerationRequest("llama", prompt=(5, 320)),
        GenerationRequest("llama", prompt=(5,) * 64),
        replace(chat("llama", "hello"), strength=0.5),
    ):
        with pytest.raises(InvalidRequest):
            asyncio.run(door[0].render(request))


# An answer's tokens that are sent back


def scored(model: str, continuation: tuple[int, ...], prompt: tuple[int, ...] = (9, 10), **settings: Any) -> Any:
    settings = {"max_tokens": 0, "logprobs": 1, **settings}
    echo = settings.pop("echo", True)
    sampling = Sampling(**settings)
    return GenerationRequest(model, prompt=prompt, sampling=sampling, echo=echo, continuation=continuation)


@pytest.mark.parametrize("settings", [{"echo": False}, {"max_tokens": 1}])
def test_a_continuation_is_for_scoring_alone(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="echo with max_tokens 0 alone") as caught:
        scored("llama", (5, 6), **settings)
    assert caught.value.param == "continuation"
    scored("llama", (), **settings)


@pytest.mark.parametrize("ids", [("a",), [5], (True,), (5.0,)])
def test_a_continuation_is_token_ids(ids: Any) -> None:
    with pytest.raises(InvalidRequest, match="tuple of token ids"):
        scored("llama", ids)


def test_a_continuation_must_be_the_model_s_and_fit_its_context(door: Door) -> None:
    playground = door[0]
    for ids in ((5, 320), (-1,)):
        with pytest.raises(InvalidRequest, match="go from 0 to 319") as caught:
            asyncio.run(playground.complete(scored("llama", ids)))
        assert caught.value.param == "continuation"
    with pytest.raises(InvalidRequest, match="context holds 64"):
        asyncio.run(playground.complete(scored("llama", (9,) * 63)))
    fits = asyncio.run(playground.complete(scored("llama", (9,) * 62)))
    assert fits.echo is not None
    assert fits.echo.token_ids == (9,) * 62
    assert len(fits.echo.logprobs) == 62


# Where a change lies


def layer_of(name: str) -> int | None:
    found = re.search(r"\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def check_changes(details: AdapterDetails, base: Any, tuned: Any) -> None:
    """Norms against the merged weights minus the base's, weight by weight."""
    own, theirs = (model.state_dict() for model in (base, tuned))
    found = {change.module: change for change in details.changes}
    assert len(found) == len(details.changes)
    for name, weight in own.items():
        module, _, kind = name.rpartition(".")
        expected = float((theirs[name].double() - weight.double()).norm())
        if kind != "weight" or weight.ndim < 2 or expected == 0:
            continue
        change = found.pop(module)
        assert change.change == pytest.approx(expected, rel=1e-4), module
        assert change.weight == pytest.approx(float(weight.double().norm()), rel=1e-4)
        assert change.ratio == pytest.approx(expected / float(weight.double().norm()), rel=1e-4)
        assert change.kind == module.rpartition(".")[2]
        assert change.layer == layer_of(module)
    assert not found, "a change was told where there is none"


NAMES = {"plain": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "saved": "LoRA with whole layers"}


@pytest.mark.parametrize("name", KINDS)
def test_a_change_lies_where_the_merged_weights_differ(engine: LocalEngine, house: House, name: str) -> None:
    card = house.tunes[name]
    details = engine.describe(card)
    check_changes(details, house.stock, house.tuned[name])
    tensors = load_file(file_of(card))
    config = json.loads((file_of(card).parent / "adapter_config.json").read_text())
    assert details.kind == NAMES[name]
    assert details.ranks == tuple(sorted({t.shape[0] for n, t in tensors.items() if "lora_A" in n}))
    assert details.alphas == tuple(sorted({config["lora_alpha"], *config["alpha_pattern"].values()}))
    assert (details.ranks, details.alphas) == (((2, 4), (3, 8)) if name == "rslora" else ((4,), (8,)))
    assert details.num_parameters == sum(tensor.numel() for tensor in tensors.values())
    assert details.num_bytes == file_of(card).stat().st_size
    assert details.hash == sha256(file_of(card))
    assert details.folder == card.adapter
    assert details.trained_on == config["base_model_name_or_path"] == house.base.source
    assert details.trained_on_revision is None
    assert details.scalable is None
    owners = [re.split(r"\.lora_|\.weight$|\.bias$", tensor_name)[0] for tensor_name in tensors]
    assert details.targets == tuple(sorted({owner.rpartition(".")[2] for owner in owners}))
    assert engine.describe(card) is details, "it is found out once"


BEYOND_ROWS: list[Any] = [
    ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    ("llama", {"target_modules": ["lm_head", "q_proj"], "use_rslora": True}),
    ("llama", {"modules_to_save": ["lm_head", "embed_tokens"]}),
    ("llama", {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True}),
    ("llama", {"trainable_token_indices": [7, 8]}),
    ("starcoder2", {"bias": "lora_only"}),
    ("starcoder2", {"bias": "all"}),
]


@pytest.mark.parametrize(("kind", "settings"), BEYOND_ROWS)
def test_changes_beyond_what_rows_carry_are_told_too(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    folder = tiny.save_base(kind, tmp_path / "base")
    saved = tiny.save_adapter(kind, folder, tmp_path / "a", **settings)
    stir(saved)
    base = weights.load_base(ModelCard("tiny/x", "x", "base", str(folder)), Watch())
    adapter = read_adapter(saved, base.model, "tiny/x")
    stock: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(copy.deepcopy(stock), saved).merge_and_unload()
    details = describe(adapter, base.model)
    check_changes(details, stock, tuned)
    assert details.scalable == adapter.attachable


def stir(folder: Path) -> None:
    """Changes what peft initialized to nothing, so that it shows."""
    torch.manual_seed(3)
    tensors = load_file(folder / FILE)
    for name, tensor in tensors.items():
        if "embedding" in name or "trainable_tokens" in name or name.endswith(".bias"):
            tensors[name] = tensor + 0.3 * torch.randn_like(tensor)
    save_file(tensors, folder / FILE)


def test_an_untrained_adapter_changes_no_weight(tmp_path: Path) -> None:
    folder = tiny.save_base("llama", tmp_path / "base")
    saved = tiny.save_untrained_adapter("llama", folder, tmp_path / "a")
    base = weights.load_base(ModelCard("tiny/x", "x", "base", str(folder)), Watch())
    details = describe(read_adapter(saved, base.model, "tiny/x"), base.model)
    assert {change.change for change in details.changes} == {0.0}
    assert len(details.changes) == 12
    assert details.num_parameters == sum(tensor.numel() for tensor in load_file(saved / FILE).values())


# Merge fidelity


def stock_attached(house: House, name: str, ids: tuple[int, ...]) -> tuple[torch.Tensor, Any]:
    """The logits of peft's own adapter, not merged."""
    base = AutoModelForCausalLM.from_pretrained(house.base.source, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(house.tunes[name].adapter)).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0], model


def stock_greedy(model: Any, ids: tuple[int, ...]) -> list[int]:
    out = model.generate(
        input_ids=torch.tensor([ids]),
        max_new_tokens=checking.NUM_GREEDY,
        do_sample=False,
        eos_token_id=0,
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()


def test_fidelity_is_the_largest_difference_of_logits(
    engine: LocalEngine, house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checking, "NUM_GREEDY", 10)
    name = [*KINDS][tiny.ARCHITECTURES.index(house.kind) % len(KINDS)]
    card = house.tunes[name]
    exact, rounded = engine.fidelity(card, greedy(card.id, IDS, 1))
    assert (exact.way, rounded.way) == ("merged in float32", "merged and saved in bfloat16")
    attached, model = stock_attached(house, name, IDS)
    copy.deepcopy(house.tuned[name]).bfloat16().save_pretrained(tmp_path)
    low: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        merged, in_bf16 = (one(torch.tensor([IDS])).logits[0].float() for one in (house.tuned[name], low))
    assert exact.max_difference == pytest.approx(float((attached - merged).abs().max()), abs=1e-4)
    assert 0 < exact.max_difference < 1e-3
    assert rounded.max_difference == pytest.approx(float((attached - in_bf16).abs().max()), rel=0.05)
    assert rounded.max_difference > 20 * exact.max_difference
    ours = stock_greedy(model, IDS)
    for found, other in ((exact, stock_greedy(house.tuned[name], IDS)), (rounded, stock_greedy(low, IDS))):
        parts = next((i for i, (one, two) in enumerate(zip(ours, other, strict=False)) if one != two), None)
        assert found.parts_after == parts
        assert found.num_tokens == min(len(ours), len(other))
    assert engine.fingerprint() == weights.fingerprint(house.stock)


def test_a_merge_that_went_wrong_shows_in_its_fidelity(
    engine: LocalEngine, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playground.local.engine.merged_view", lambda model, adapter: house.stock)
    monkeypatch.setattr(checking, "NUM_GREEDY", 10)
    card = house.tunes["plain"]
    exact, _ = engine.fidelity(card, greedy(card.id, IDS, 1))
    attached, model = stock_attached(house, "plain", IDS)
    with torch.no_grad():
        expected = (attached - house.stock(torch.tensor([IDS])).logits[0]).abs().max()
    assert exact.max_difference == pytest.approx(float(expected), rel=1e-4)
    pairs = zip(stock_greedy(model, IDS), stock_greedy(house.stock, IDS), strict=False)
    assert exact.parts_after == next(i for i, (one, two) in enumerate(pairs) if one != two)


def test_a_base_in_bf16_has_one_way_to_merge(
    house: House, rounding: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "NUM_GREEDY", 3)
    tune = house.tunes["plain"]
    (found,) = rounding.fidelity(tune, greedy(tune.id, IDS, 1))
    exact, _ = stock_attached(house, "plain", IDS)
    assert found.way == "merged in bfloat16"
    assert 0 < found.max_difference < 0.5 * float(exact.abs().max())


def test_fidelity_without_room_is_refused_naming_the_memory(tmp_path: Path) -> None:
    folder = tiny.save_base("llama", tmp_path / "base")
    card = ModelCard("tiny/llama", "llama", "base", str(folder))
    adapter = str(tiny.save_adapter("llama", folder, tmp_path / "a"))
    tune = replace(card, id="tiny/tune", type="fine-tuned", base_model=card.id, adapter=adapter)
    asked: list[int] = []

    def no_room(num_bytes: int) -> bool:
        asked.append(num_bytes)
        return False

    engine = load_alone(card, no_room)
    try:
        engine.prepare(tune, Watch())
        with pytest.raises(InvalidRequest, match="more than the memory budget has left") as caught:
            engine.fidelity(tune, greedy(tune.id, IDS, 1))
        assert caught.value.param == "model"
        copied = extra_bytes(engine._base.model, engine._fine_tunes[tune.id].adapter.tensors)
        assert asked == [copied + engine._base.num_bytes // 2]
        assert f"{asked[0] / 1e6:.0f} MB" in caught.value.message
    finally:
        engine.close()


def test_fidelity_of_what_rows_cannot_carry_is_refused_with_the_reason(door: Door) -> None:
    with pytest.raises(InvalidRequest, match=r"merged only, since it changes model\.embed_tokens") as caught:
        asyncio.run(door[0].fidelity(chat("tokens", "hello")))
    assert caught.value.param == "model"


# All of it through the one door


def test_a_base_has_no_adapter_to_show(door: Door) -> None:
    playground = door[0]
    for asked in (lambda: playground.describe("llama"), lambda: playground.fidelity(chat("llama", "hello"))):
        with pytest.raises(InvalidRequest, match="only a fine-tuned model has an adapter"):
            asyncio.run(asked())


def test_a_proof_is_not_held_against_another_model(door: Door) -> None:
    """Proofs come back from clients, who may mix them up."""
    playground = door[0]
    for answering, asked in (("one", "llama"), ("llama", "one"), ("one", "own")):
        proof = asyncio.run(playground.complete(chat(answering, "hello"))).finish.proof
        assert proof is not None
        with pytest.raises(InvalidRequest, match=f"answer of {asked}") as caught:
            asyncio.run(playground.check(chat(asked, "hello"), proof))
        assert caught.value.param == "proof"


def test_what_is_somebody_s_own_is_shown_to_nobody_else(door: Door) -> None:
    playground, request = door[0], chat("owned", "hello")
    proof = Proof("llama", None, None, "", "owned", "", 1.0, ())
    for asked in (
        lambda: playground.describe("owned"),
        lambda: playground.fidelity(request),
        lambda: playground.render(request),
        lambda: playground.check(request, proof),
    ):
        with pytest.raises(ModelNotFound):
            asyncio.run(asked())


def test_questions_hold_their_model_until_they_are_answered(door: Door) -> None:
    playground, registry, _ = door
    request = chat("one", "hello")

    async def ask_all() -> None:
        answer = await playground.complete(request)
        assert answer.finish.proof is not None
        found = await playground.check(request, answer.finish.proof)
        assert [verdict.ok for verdict in found if verdict.check != "base"] == [True, True]
        assert (await playground.describe("one")).changes
        assert (await playground.fidelity(request))[0].max_difference < 1e-3
        with pytest.raises(InvalidRequest):
            await playground.fidelity(replace(request, messages=(Message("user", "word " * 200),)))

    asyncio.run(ask_all())
    wait_for(lambda: not any(slot.held for slot in registry._slots.values()))
