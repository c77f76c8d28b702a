"""What the API counts, scores and draws, against the tokenizer and the model themselves; and streams against wholes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.server import DEMO, JSON, LLAMA, PLAIN, THINKER, TUNED, Server

TEXT, CHAT, OWN = "/v1/completions", "/v1/chat/completions", "/api/v1/playground/completions"
WORDS = [
    *["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "🦊", "é", "東京"],
    "again\nand",
    "\t",
    "{again}",
]


@pytest.fixture(scope="module")
def tokenizer(models_file: Path) -> Any:
    return AutoTokenizer.from_pretrained(models_file.parent / "llama")


@pytest.fixture(scope="module")
def direct(models_file: Path) -> dict[str, Any]:
    """The same models by transformers and peft alone."""
    root = models_file.parent
    tuned = AutoModelForCausalLM.from_pretrained(root / "llama", dtype=torch.float32)
    return {
        LLAMA: AutoModelForCausalLM.from_pretrained(root / "llama", dtype=torch.float32).eval(),
        TUNED: PeftModel.from_pretrained(tuned, str(root / "tuned")).eval(),
    }


def logits_of(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].float().clone()


def events(body: bytes) -> Iterator[dict[str, Any]]:
    *lines, end = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert end == "[DONE]"
    yield from map(json.loads, lines)


def test_usage_is_what_the_tokenizer_counts(server: Server, tokenizer: Any) -> None:
    rng = random.Random(1)
    for _ in range(10):
        prompt = " ".join(rng.choices(WORDS, k=rng.randint(1, 20)))
        num_prompt = len(tokenizer(prompt)["input_ids"])
        reply = server.post(TEXT, {"model": LLAMA, "prompt": prompt, "logprobs": 0, "max_tokens": 9, "n": 2}).json()
        num_end = sum(choice["finish_reason"] == "stop" for choice in reply["choices"])
        num_out = sum(len(choice["logprobs"]["tokens"]) for choice in reply["choices"]) - num_end
        assert reply["usage"] == {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_out,
            "total_tokens": num_prompt + num_out,
        }
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the fox"}]
    num_chat = len(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])
    for path in (CHAT, OWN):
        reply = server.post(path, {"model": LLAMA, "messages": messages, "max_tokens": 4}).json()
        assert reply.get("data", reply)["usage"]["prompt_tokens"] == num_chat


@pytest.mark.parametrize("model", [LLAMA, TUNED])
def test_scores_are_log_softmax_of_a_direct_forward(
    server: Server, direct: dict[str, Any], tokenizer: Any, model: str
) -> None:
    ids = tokenizer("the quick brown fox 🦊")["input_ids"]
    body = {"model": model, "prompt": ids, "echo": True, "logprobs": 3, "max_tokens": 12, "temperature": 0}
    choice = server.post(TEXT, body).json()["choices"][0]
    scores = choice["logprobs"]
    # Greedy: what the model adds can be told by the direct forward alone.
    for _ in range(len(scores["tokens"]) - len(ids)):
        ids = [*ids, int(logits_of(direct[model], ids)[-1].argmax())]
    expected = logits_of(direct[model], ids).log_softmax(1)
    assert scores["token_logprobs"][0] is None
    assert scores["top_logprobs"][0] is None
    for i, (found, best) in enumerate(
        zip(scores["token_logprobs"][1:], scores["top_logprobs"][1:], strict=True), start=1
    ):
        assert found == pytest.approx(float(expected[i - 1, ids[i]]), abs=1e-3)
        assert max(best.values()) == pytest.approx(float(expected[i - 1].max()), abs=1e-3)
    assert scores["text_offset"] == sorted(scores["text_offset"])
    assert scores["text_offset"][-1] <= len(choice["text"])


def test_a_prompt_is_scored_without_a_word_added(server: Server, direct: dict[str, Any], tokenizer: Any) -> None:
    prompt = "the quick brown fox"
    body = {"model": TUNED, "prompt": prompt, "echo": True, "logprobs": 0, "max_tokens": 0}
    reply = server.post(TEXT, body).json()
    ids = tokenizer(prompt)["input_ids"]
    expected = logits_of(direct[TUNED], ids).log_softmax(1)
    choice = reply["choices"][0]
    assert choice["text"] == prompt == "".join(choice["logprobs"]["tokens"])
    assert choice["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 0
    total = sum(choice["logprobs"]["token_logprobs"][1:])
    assert total == pytest.approx(sum(float(expected[i, ids[i + 1]]) for i in range(len(ids) - 1)), abs=1e-3)
    for i, offset in enumerate(choice["logprobs"]["text_offset"]):
        assert prompt[offset:].startswith(choice["logprobs"]["tokens"][i])


def penalized(model: Any, ids: list[int], body: dict[str, Any]) -> list[int]:
    """The vendors' formula, greedily, over generated tokens alone."""
    out: list[int] = []
    while len(out) < body["max_tokens"]:
        logits = logits_of(model, ids + out)[-1]
        for token_id in set(out):
            logits[token_id] -= body["frequency_penalty"] * out.count(token_id) + body["presence_penalty"]
        for token_id, bias in body["logit_bias"].items():
            logits[int(token_id)] += bias
        out.append(int(logits.argmax()))
    return out


@pytest.mark.parametrize(("frequency", "presence"), [(0.0, 0.0), (1.5, 0.0), (0.0, 2.0), (-1.0, 0.7), (2.0, -2.0)])
def test_penalties_and_bias_follow_the_formula(
    server: Server, direct: dict[str, Any], tokenizer: Any, frequency: float, presence: float
) -> None:
    ids = tokenizer("the quick brown fox jumps over the lazy dog")["input_ids"]
    body = {
        "model": LLAMA,
        "prompt": ids,
        "temperature": 0,
        "max_tokens": 24,
        "frequency_penalty": frequency,
        "presence_penalty": presence,
        # The end token never comes, two others are pushed up and down.
        "logit_bias": {"0": -100, str(ids[0]): 2.5, str(ids[3]): -4},
        "logprobs": 0,
    }
    found = server.post(TEXT, body).json()["choices"][0]["logprobs"]["token_logprobs"]
    expected_ids = penalized(direct[LLAMA], ids, body)
    scores = logits_of(direct[LLAMA], ids + expected_ids).log_softmax(1)
    expected = [float(scores[len(ids) - 1 + i, token_id]) for i, token_id in enumerate(expected_ids)]
    assert found == pytest.approx(expected, abs=1e-3)


def random_body(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A route and a request with a seed, on one of five models."""
    prompt = " ".join(rng.choices(WORDS, k=rng.randint(1, 12))).strip() or "x"
    body: dict[str, Any] = {
        "model": rng.choice([LLAMA, TUNED, THINKER, DEMO, JSON]),
        "seed": rng.randrange(1_000_000),
        "temperature": rng.choice([0, 0.3, 1, 1.7]),
        "top_p": rng.choice([1, 0.9, 0.4]),
        "top_k": rng.choice([0, 0, 5]),
        "max_tokens": rng.randint(1, 40),
        "stop": rng.sample(["e", " a", "the", "\n", "?", "fo", "🦊"], rng.randint(0, 3)),
        "frequency_penalty": rng.choice([0, 0.8]),
        "presence_penalty": rng.choice([0, -0.5]),
    }
    path = rng.choice([TEXT, CHAT, OWN])
    if path == TEXT:
        body |= {"prompt": prompt, "n": rng.choice([1, 3]), "echo": rng.random() < 0.3}
        return path, body if rng.random() < 0.5 else {**body, "logprobs": rng.randint(0, 5)}
    body["messages"] = [{"role": "user", "content": prompt}]
    if body["model"] == THINKER:
        body["thinking"] = rng.random() < 0.5
    if path == CHAT:
        body |= {"n": rng.choice([1, 3]), "logprobs": rng.random() < 0.5}
    return path, body


def whole_of(path: str, reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Text, thinking, scores and reason of each answer."""
    if path == OWN:
        data = reply["data"]
        kept = {key: data.get(key, "") for key in ("content", "thinking", "finish_reason", "seed", "usage")}
        return [kept]
    told = []
    for choice in reply["choices"]:
        message = choice.get("message", {"content": choice.get("text")})
        scores = choice["logprobs"]
        told.append(
            {
                "text": message["content"],
                "thinking": message.get("reasoning_content", ""),
                "scores": scores and {key: list(value) for key, value in scores.items()},
                "reason": choice["finish_reason"],
            }
        )
    return told


def joined(path: str, chunks: list[dict[str, Any]], like: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same out of a stream."""
    if path == OWN:
        content = "".join(chunk["data"]["content"] for chunk in chunks)
        thinking = "".join(chunk["data"].get("thinking", "") for chunk in chunks)
        return whole_of(OWN, {"data": {**chunks[-1]["data"], "content": content, "thinking": thinking}})
    told = [{"text": "", "thinking": "", "scores": one["scores"] and {}, "reason": None} for one in like]
    for chunk in chunks:
        (choice,) = chunk["choices"]
        one = told[choice["index"]]
        assert one["reason"] is None, "something was said after the end"
        delta = choice.get("delta", {"content": choice.get("text")})
        one["text"] += delta.get("content", "")
        one["thinking"] += delta.get("reasoning_content", "")
        one["reason"] = choice["finish_reason"]
        for key, value in (choice["logprobs"] or {}).items():
            one["scores"].setdefault(key, []).extend(value)
    for one, other in zip(told, like, strict=True):
        if one["scores"] == {}:
            one["scores"] = {key: [] for key in other["scores"]}
    return told


def test_a_stream_says_what_the_whole_says_whatever_runs_beside(server: Server) -> None:
    rng = random.Random(7)
    asked = [random_body(rng) for _ in range(200)]

    def both(request: tuple[str, dict[str, Any]]) -> tuple[Any, Any]:
        path, body = request
        whole = server.post(path, body)
        assert whole.status == 200, whole.body
        like = whole_of(path, whole.json())
        stream = server.post(path, {**body, "stream": True})
        assert stream.headers["content-type"].startswith("text/event-stream")
        return like, joined(path, list(events(stream.body)), like)

    with ThreadPoolExecutor(32) as beside:
        for request, (whole, stream) in zip(asked, beside.map(both, asked), strict=True):
            assert _words(stream) == _words(whole), request
            assert _numbers(stream) == pytest.approx(_numbers(whole), abs=1e-3), request


def _numbers(value: Any) -> list[float]:
    """Every score in a value, in order."""
    if isinstance(value, float):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [number for item in items for number in _numbers(item)]


def _words(value: Any) -> Any:
    """A value without its scores: a batch of another size adds them up in another order."""
    if isinstance(value, dict):
        return {key: _words(item) for key, item in value.items()}
    return [_words(item) for item in value] if isinstance(value, list) else None if isinstance(value, float) else value


def test_choices_and_seeds_are_the_same_again_whatever_runs_beside(server: Server) -> None:
    body = {"model": TUNED, "prompt": ["the quick", "brown"], "n": 3, "seed": 11, "max_tokens": 16, "temperature": 1.3}
    alone = [choice["text"] for choice in server.post(TEXT, body).json()["choices"]]
    assert len(set(alone)) > 3
    noise = {"model": LLAMA, "prompt": "over the lazy dog", "max_tokens": 40, "n": 4, "temperature": 2}
    with ThreadPoolExecutor(4) as beside:
        others = [beside.submit(server.post, TEXT, noise) for _ in range(6)]
        again = [server.post(TEXT, body).json()["choices"] for _ in range(3)]
        assert all(other.result().status == 200 for other in others)
    for choices in again:
        assert [choice["index"] for choice in choices] == list(range(6))
        assert [choice["text"] for choice in choices] == alone
    # Choice i of any prompt is what seed + i gives by itself.
    single = {**body, "prompt": "brown", "n": 1, "seed": 13}
    assert server.post(TEXT, single).json()["choices"][0]["text"] == alone[5]


def test_the_best_of_several_are_the_likeliest(server: Server) -> None:
    body = {"model": LLAMA, "prompt": "the quick", "seed": 5, "temperature": 1.5, "max_tokens": 10, "logprobs": 0}
    every = server.post(TEXT, {**body, "n": 6}).json()["choices"]
    mean = {c["text"]: sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["token_logprobs"]) for c in every}
    best = server.post(TEXT, {**body, "n": 2, "best_of": 6, "logprobs": None}).json()
    assert [c["text"] for c in best["choices"]] == sorted(mean, key=lambda text: -mean[text])[:2]
    assert [(c["index"], c["logprobs"]) for c in best["choices"]] == [(0, None), (1, None)]
    assert best["usage"]["completion_tokens"] >= sum(len(c["logprobs"]["tokens"]) for c in every) - len(every)


def test_the_page_s_door_and_the_api_share_one_timing(server: Server) -> None:
    body = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 30, "seed": 1}
    data = server.post(OWN, body).json()["data"]
    timing = data["timing"]
    assert data["latency_ms"] >= timing["first_token_ms"] + timing["decode_ms"] - 0.2
    assert timing["first_token_ms"] >= timing["queued_ms"]


def test_a_model_without_a_template_reads_raw_text_alone(server: Server) -> None:
    assert server.post(TEXT, {"model": PLAIN, "prompt": "the", "max_tokens": 2}).status == 200
    system = {"model": PLAIN, "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}
    refused = server.post(CHAT, system)
    assert refused.status == 400
    assert refused.error()["param"] == "messages"
