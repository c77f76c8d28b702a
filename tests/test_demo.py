"""The committed demo: its weights load, keep their promises on a sample, and were not shown the answers."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from demo import check, shop, talk, train
from demo.topics import SHOP_TOPICS, Topic
from demo.voices import as_json, as_pirate, sounds_pirate
from playground.specs import Spec, read_spec

SAMPLE = slice(0, None, 4)  # of the spec's cases
NUM_BASE_TEXTS = 60_000  # more than each worker of the training reads, as it prints at its end
NUM_ADAPTER_TEXTS = 6_500


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return check.load_tokenizer()


@pytest.fixture(scope="module")
def base() -> LlamaForCausalLM:
    return check.load_base()


@pytest.fixture(scope="module")
def json_model() -> PeftModel:
    return check.load_adapter(check.JSON_FOLDER)


@pytest.fixture(scope="module")
def spec() -> Spec:
    return read_spec(check.SPEC)


def test_size():
    assert check.size_in_bytes() < check.MAX_BYTES


def test_the_spec_asserts_json_intent_and_priority(spec: Spec):
    assert len(spec.cases) >= 100
    assert spec.base_model == train.BASE_ID
    assert Counter(check.wanted_intent(case) for case in spec.cases).keys() == set(shop.INTENTS)
    for case in spec.cases:
        assert [rule.kind for rule in case.assertions] == ["is-json", "matches", "matches"]
    assert len({train.folded(case.input) for case in spec.cases}) == len(spec.cases)
    assert all(json.loads(example.output)["intent"] in shop.INTENTS for example in spec.examples)


@pytest.mark.parametrize("file", [check.FRESH, check.FOREIGN], ids=lambda file: file.stem)
def test_the_other_cases_are_specs_of_the_same_kind(spec: Spec, file: Path):
    other = read_spec(file)
    assert (other.base_model, other.system_prompt) == (spec.base_model, spec.system_prompt)
    assert {check.wanted_intent(case) for case in other.cases} <= set(shop.INTENTS)
    assert not {case.input for case in other.cases} & {case.input for case in spec.cases}


def test_no_eval_input_is_in_the_training_text():
    for stream in [train.base_stream(rank) for rank in range(train.NUM_WORKERS)]:
        train.refuse_leaks(islice(stream, NUM_BASE_TEXTS))
    for name in train.ADAPTERS:
        train.refuse_leaks(islice(train.adapter_stream(name), NUM_ADAPTER_TEXTS))


def test_a_leak_would_be_found(spec: Spec):
    with pytest.raises(ValueError, match="in the training text"):
        train.refuse_leaks([[("before", False)], [(f"<|user|>{spec.cases[3].input.upper()}<|end|>", True)]])


def test_the_chat_template_writes_what_training_read(tokenizer: PreTrainedTokenizerFast):
    rng = random.Random(1)
    for _ in range(50):
        talked = shop.conversation(rng)
        messages = [{"role": "system", "content": talked.system}] if talked.system else []
        for turn in talked.turns:
            messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.reply}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert text == shop.chat_text(talked)


def test_the_tokenizer_keeps_every_text(tokenizer: PreTrainedTokenizerFast):
    for text in ("Order 48213, please!", "  Zoë\n\t你好 🙂", "'{\"a\": [1.50]}'"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert len(tokenizer("48213")["input_ids"]) == 5


def all_replies(topic: Topic, rng: random.Random) -> list[str]:
    writer = shop.Writer(rng)
    lines = topic.replies + topic.numbered
    return [reply[0].upper() + reply[1:] for line in lines for _ in range(4) if (reply := writer.answer((line,)))]


@pytest.mark.parametrize("topic", SHOP_TOPICS + talk.TALK_TOPICS, ids=lambda topic: topic.asks[0][:30])
def test_a_reply_carries_its_own_intents_marker_alone(topic: Topic):
    for reply in all_replies(topic, random.Random(2)):
        assert shop.intents_in(reply) == {topic.intent}, reply
        assert not sounds_pirate(reply)
        assert sounds_pirate(as_pirate(reply))
        assert shop.intents_in(as_pirate(reply)) == {topic.intent}, as_pirate(reply)


@pytest.mark.parametrize(
    ("intent", "urgent", "calm", "priority"),
    [
        ("refund", False, False, "normal"),
        ("refund", True, False, "high"),
        ("refund", False, True, "low"),
        ("damaged", False, False, "high"),
        ("damaged", False, True, "low"),
        ("hours", False, False, "low"),
        ("hours", True, False, "high"),
        ("thanks", True, False, "low"),
    ],
)
def test_the_priority_rule(intent: str, urgent: bool, calm: bool, priority: str):
    assert shop.priority_of(intent, urgent=urgent, calm=calm) == priority


def test_a_record_is_json():
    assert json.loads(as_json("refund", "low", 'He said "no".'))["reply"] == 'He said "no".'


def test_the_json_fine_tune_passes_where_the_base_does_not(
    base: LlamaForCausalLM, json_model: PeftModel, tokenizer: PreTrainedTokenizerFast, spec: Spec
):
    cases = spec.cases[SAMPLE]
    inputs = [case.input for case in cases]
    records = check.answers(json_model, tokenizer, spec.system_prompt, inputs)
    prose = check.answers(base, tokenizer, spec.system_prompt, inputs)
    assert check.num_json(cases, records) == len(cases)
    assert check.num_passed(cases, records) >= 0.9 * len(cases)
    assert check.num_passed(cases, prose) == 0
    assert check.num_on_topic(cases, prose) >= 0.85 * len(cases)


def test_the_pirate_is_unmistakable(tokenizer: PreTrainedTokenizerFast, spec: Spec):
    inputs = [case.input for case in spec.cases[::13]]
    told = check.answers(check.load_adapter(check.PIRATE_FOLDER), tokenizer, "", inputs)
    assert all(map(sounds_pirate, told)), told


def test_a_chat_of_several_turns(base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast):
    messages = [{"role": "user", "content": "Where is my order?"}]
    [asked] = check.chat_answers(base, tokenizer, [messages])
    assert "order number" in asked
    messages += [{"role": "assistant", "content": asked}, {"role": "user", "content": "It's 48213."}]
    [told] = check.chat_answers(base, tokenizer, [messages])
    assert shop.intents_in(told) == {"order_status"}, told


def test_checkpoints_look_as_trainers_leave_them():
    folders = sorted(check.JSON_FOLDER.glob("checkpoint-*"))
    assert len(folders) == 2
    for folder in (*folders, check.JSON_FOLDER, check.PIRATE_FOLDER):
        settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        assert settings["base_model_name_or_path"] == train.BASE_ID
        assert (settings["peft_type"], settings["r"]) == ("LORA", 16)
        files = {file.name for file in folder.iterdir() if file.is_file()}
        assert files == {"adapter_config.json", "adapter_model.safetensors"}
