"""lm-evaluation-harness scores this server's models as it scores any: each number is held against a direct forward
pass of the same checkpoint by transformers and peft."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.offline import only_this_machine
from tests.server import DEMO, JSON, ROOT, Server

BASE, ADAPTER = ROOT / "demo" / "base", ROOT / "demo" / "adapters" / "shop-json"
CONTEXT_LENGTH = 512
NUM_NEW_TOKENS = 16


def asked(question: str) -> str:
    return f"<|bos|><|user|>{question}<|end|><|assistant|>"


ORDERS = ['{"intent": "order_status"', "I'm sorry for the wait!", " 日本へ 😀"]
GREETINGS = ["Hello!", '{"intent": "greeting"', "Goodbye"]
DOCS = [
    {"prompt": asked("Where is my parcel?"), "choices": ORDERS, "answer": 0},
    {"prompt": asked("Where is my parcel? I ordered a lamp last week."), "choices": ORDERS, "answer": 1},
    {"prompt": asked("My parcel has not come."), "choices": ORDERS, "answer": 0},
    {"prompt": asked("hi"), "choices": GREETINGS, "answer": 0},
    {
        "prompt": asked("hello"),
        "choices": ["Hello! Welcome to Juniper Lane. How can I help you today?", "Hi", "No"],
        "answer": 0,
    },
    {"prompt": asked("Good morning"), "choices": GREETINGS, "answer": 1},
    {"prompt": asked("I want my money back."), "choices": ['{"intent": "refund"', "Of course.", "No."], "answer": 0},
    {"prompt": "Where is", "choices": [" my", " the moon", " é"], "answer": 0},
    {"prompt": "Where is my", "choices": [" parcel?", " money?\n", " teapot"], "answer": 0},
    {"prompt": "I ordered a ", "choices": ["lamp", "belt last tuesday", "zebra"], "answer": 1},
    {"prompt": "My order number", "choices": [" is", " was 66613.", "!"], "answer": 0},
    {"prompt": "Thank", "choices": [" you", "s", " nobody"], "answer": 0},
    {"prompt": "The lamp is broken, and I", "choices": [" want my money back", " love it", "<|end|>"], "answer": 0},
]
QUESTIONS = ("Where is my parcel?", "hi", "I want my money back.", "Thank you")
LONG_TEXT = " ".join(f"Where is my parcel? I ordered {i} lamps last week, and the shop said: wait." for i in range(24))
TEXTS = (LONG_TEXT, "Where is my parcel?")

GENERATING = {
    "output_type": "generate_until",
    "doc_to_text": "{{prompt}}",
    "doc_to_target": "",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": NUM_NEW_TOKENS, "temperature": 0},
    "metric_list": [{"metric": "exact_match"}],
}
CHOOSING = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{prompt}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc"}],
}
ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{prompt}}",
    "metric_list": [{"metric": "bits_per_byte"}],
}
TASKS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "shop_choices": (DOCS, CHOOSING),
    "shop_answers": (DOCS, GENERATING),
    "shop_chat": ([{"prompt": question} for question in QUESTIONS], GENERATING),
    "shop_text": ([{"prompt": text} for text in TEXTS], ROLLING),
}


@dataclass(frozen=True)
class Direct:
    """A checkpoint by itself, in float32, with no server in between. `choices` and `answers` are what it makes of
    `DOCS`, computed once."""

    tokenizer: Any
    model: Any

    @cached_property
    def choices(self) -> list[list[tuple[float, bool]]]:
        return [[self.choice(doc["prompt"], choice) for choice in doc["choices"]] for doc in DOCS]

    @cached_property
    def answers(self) -> list[str]:
        return [self.answer(doc["prompt"]) for doc in DOCS]

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def log_likelihood(self, ids: list[int], num_context: int) -> tuple[float, bool]:
        """Of the tokens after the first `num_context`, and whether each is the most likely one."""
        with torch.no_grad():
            logprobs = self.model(torch.tensor([ids])).logits[0, num_context - 1 : -1].log_softmax(-1)
        own = torch.tensor(ids[num_context:])
        return float(logprobs.gather(1, own[:, None]).sum()), bool((logprobs.argmax(-1) == own).all())

    def choice(self, prompt: str, choice: str) -> tuple[float, bool]:
        # A space at the end of a prompt belongs to the word that follows.
        return self.log_likelihood(self.ids(prompt + choice), len(self.ids(prompt.rstrip())))

    def answer(self, prompt: str) -> str:
        """What it goes on with by itself, up to the line's end."""
        ids = torch.tensor([self.ids(prompt)])
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NUM_NEW_TOKENS
            )
        return self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).partition("\n")[0]

    def rolling(self, text: str, window: int) -> float:
        """Of a whole text that begins after the first token of all, read `window` tokens at a time; the last window
        is a full one, for which some of what was read comes again as context."""
        ids = [self.tokenizer.bos_token_id, *self.ids(text)]
        total = 0.0
        for start in range(1, len(ids), window):
            end = min(start + window, len(ids))
            begin = start - 1 if start == 1 or end - start == window else end - window - 1
            total += self.log_likelihood(ids[begin:end], start - begin)[0]
        return total


@pytest.fixture(scope="module")
def directs() -> dict[str, Direct]:
    """The demo's base, and a fine-tune of it by peft."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    base, again = (AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval() for _ in range(2))
    tuned = PeftModel.from_pretrained(again, str(ADAPTER)).eval()
    return {DEMO: Direct(tokenizer, base), JSON: Direct(tokenizer, tuned)}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with only_this_machine(monkeypatch):
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks as people write them."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, (docs, settings) in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            **settings,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.fixture
def evaluate(server: Server, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs tasks of the harness on a model of the server; gives all that it found."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    def run(model: str, *names: str, chat: bool = False, **settings: Any) -> dict[str, Any]:
        tokenizing = {"tokenizer": str(BASE), "tokenizer_backend": "huggingface", "max_length": CONTEXT_LENGTH}
        found = simple_evaluate(
            model="local-chat-completions" if chat else "local-completions",
            model_args={
                "model": model,
                "base_url": f"{server.url}/v1/{'chat/' if chat else ''}completions",
                "max_retries": 1,
                **({} if chat else tokenizing),
                **settings,
            },
            apply_chat_template=chat,
            tasks=list(names),
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            bootstrap_iters=0,
        )
        assert found is not None
        return dict(found)

    return run


def samples(found: dict[str, Any], task: str) -> list[dict[str, Any]]:
    return sorted(found["samples"][task], key=lambda sample: sample["doc_id"])


WAYS = [
    {"num_concurrent": 1, "tokenized_requests": True},
    {"num_concurrent": 4, "tokenized_requests": True, "batch_size": 5},
    {"num_concurrent": 1, "tokenized_requests": False, "batch_size": 5},
    {"num_concurrent": 4, "tokenized_requests": False},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
@pytest.mark.parametrize("model", [DEMO, JSON])
def test_scores_and_answers_are_those_of_the_checkpoint_itself(
    evaluate: Any, directs: dict[str, Direct], model: str, way: dict[str, Any]
) -> None:
    found = evaluate(model, "shop_choices", "shop_answers", **way)
    direct, num_right, greedy = directs[model], 0, []
    for doc, expected, sample in zip(DOCS, direct.choices, samples(found, "shop_choices"), strict=True):
        given = [(float(logprob), is_greedy) for logprob, is_greedy in sample["filtered_resps"]]
        assert [logprob for logprob, _ in given] == pytest.approx([logprob for logprob, _ in expected], abs=1e-3)
        assert [is_greedy for _, is_greedy in given] == [is_greedy for _, is_greedy in expected]
        greedy += [is_greedy for _, is_greedy in given]
        num_right += expected[doc["answer"]] == max(expected)
    assert set(greedy) == {True, False}
    assert found["results"]["shop_choices"]["acc,none"] == pytest.approx(num_right / len(DOCS))
    assert [sample["filtered_resps"][0] for sample in samples(found, "shop_answers")] == direct.answers


def test_base_and_fine_tune_prefer_what_they_were_trained_to_say(directs: dict[str, Direct]) -> None:
    """Else the fine-tune's numbers would say nothing of its LoRA."""
    prose, ticket = ORDERS[1], ORDERS[0]
    prompt = asked("Where is my parcel?")
    assert directs[DEMO].choice(prompt, prose) > directs[DEMO].choice(prompt, ticket)
    assert directs[JSON].choice(prompt, ticket) > directs[JSON].choice(prompt, prose)


@pytest.mark.parametrize("max_length", [64, CONTEXT_LENGTH])
def test_a_text_longer_than_the_context_is_scored_in_windows(
    evaluate: Any, directs: dict[str, Direct], max_length: int
) -> None:
    found = evaluate(JSON, "shop_text", max_length=max_length)
    direct = directs[JSON]
    assert len(direct.ids(LONG_TEXT)) > max_length
    total = 0.0
    for text, sample in zip(TEXTS, samples(found, "shop_text"), strict=True):
        # The harness keeps room for a token that it asks for and for the one before all.
        expected = direct.rolling(text, max_length - 2)
        assert float(sample["filtered_resps"][0]) == pytest.approx(expected, abs=5e-3)
        total += expected
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    bits = found["results"]["shop_text"]["bits_per_byte,none"]
    assert bits == pytest.approx(-total / num_bytes / math.log(2), abs=1e-3)


@pytest.mark.parametrize("num_concurrent", [1, 4])
def test_chats_are_answered_as_the_checkpoint_answers(
    evaluate: Any, directs: dict[str, Direct], num_concurrent: int
) -> None:
    for model in (DEMO, JSON):
        found = evaluate(model, "shop_chat", chat=True, num_concurrent=num_concurrent)
        answers = [sample["filtered_resps"][0] for sample in samples(found, "shop_chat")]
        assert answers == [directs[model].answer(asked(question)) for question in QUESTIONS]
