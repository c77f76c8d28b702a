"""The routes that look closer, on a running server: what they tell agrees with the other routes and with itself."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from playground.api import compare_route
from playground.errors import ModelLoadFailed
from tests import tiny
from tests.server import DEMO, LLAMA, THINKER, TUNED, Reply, Server, serving

AT = "/api/v1/playground"
QUESTION = [{"role": "user", "content": "hello 🙂 日本"}]
DEMO_TUNE = "playground/shop-json"
PROOF = {"base": LLAMA, "tokenizer_hash": "x", "strength": 1.0, "first": [{"id": 1, "logprob": -1.0}]}


def ask(server: Server, name: str, **body: Any) -> Any:
    reply = server.post(f"{AT}/{name}", body)
    assert reply.status == 200, reply.body
    return reply.json()["data"]


def refused(reply: Reply, param: str, rule: str, status: int = 400) -> None:
    assert reply.status == status, reply.body
    error = reply.error()
    assert error["param"] == param
    assert rule in error["message"], error["message"]


# What they tell


def test_the_prompt_is_what_the_template_makes_and_usage_counts(server: Server) -> None:
    found = ask(server, "tokenize", model=LLAMA, messages=QUESTION)
    assert found["text"] == "<|user|>hello 🙂 日本<|end|><|assistant|>"
    usage = ask(server, "completions", model=LLAMA, messages=QUESTION, max_tokens=1)["usage"]
    assert len(found["tokens"]) == usage["prompt_tokens"]
    special = [token["text"] for token in found["tokens"] if token["special"]]
    assert special == ["<|user|>", "<|end|>", "<|assistant|>"]
    ids = [token["id"] for token in found["tokens"]]
    again = ask(server, "tokenize", model=LLAMA, prompt=ids)
    assert (again["text"], [token["id"] for token in again["tokens"]]) == (None, ids)


@pytest.mark.parametrize("model", [LLAMA, TUNED])
def test_scores_are_those_of_an_echo(server: Server, model: str) -> None:
    prompt = [token["id"] for token in ask(server, "tokenize", model=model, messages=QUESTION)["tokens"]]
    answer = list(range(20, 45))
    body = {"model": model, "prompt": [*prompt, *answer], "echo": True, "max_tokens": 0, "logprobs": 2}
    echo = server.post("/v1/completions", body).json()["choices"][0]["logprobs"]
    found = ask(server, "score", model=model, messages=QUESTION, completion_ids=answer, top_logprobs=2)
    assert [token["id"] for token in found["tokens"]] == answer
    expected = echo["token_logprobs"][len(prompt) :]
    assert [token["logprob"] for token in found["tokens"]] == pytest.approx(expected, abs=1e-3)
    assert found["mean_logprob"] == pytest.approx(sum(expected) / len(expected), abs=1e-3)
    for token, top in zip(found["tokens"], echo["top_logprobs"][len(prompt) :], strict=True):
        assert sorted(one["logprob"] for one in token["top_logprobs"]) == pytest.approx(
            sorted(top.values())[-2:], abs=1e-3
        )


def test_a_text_is_scored_whole(server: Server) -> None:
    text = "quick 🙂 brown 日本 fox"
    found = ask(server, "score", model=LLAMA, messages=QUESTION, completion=text, top_logprobs=0)
    assert "".join(token["text"] for token in found["tokens"]) == text
    ids = [token["id"] for token in found["tokens"]]
    assert found == ask(server, "score", model=LLAMA, messages=QUESTION, completion_ids=ids, top_logprobs=0)


@pytest.mark.parametrize("pair", [(LLAMA, TUNED), (DEMO, DEMO_TUNE)])
def test_a_comparison_is_two_answers_and_what_differs(server: Server, pair: tuple[str, str]) -> None:
    settings = {"messages": QUESTION, "temperature": 0, "max_tokens": 40}
    found = ask(server, "compare", models=list(pair), **settings)
    for model, answer, scores in zip(pair, found["answers"], found["scores"], strict=True):
        assert answer["content"] == ask(server, "completions", model=model, **settings)["content"]
        assert "".join(token["text"] for token in scores["tokens"]) == answer["content"]
        assert [token["id"] for token in scores["tokens"]] == answer["token_ids"][: len(scores["tokens"])]
        for token in scores["tokens"]:
            assert token["difference"] == pytest.approx(token["own_logprob"] - token["other_logprob"])
        own = ask(server, "score", model=model, messages=QUESTION, completion_ids=answer["token_ids"])
        assert own["mean_logprob"] == pytest.approx(scores["own_mean_logprob"], abs=1e-3)
        assert scores["own_perplexity"] >= 1
        checks = ask(server, "check", model=model, messages=QUESTION, proof=answer["proof"])
        assert [check["ok"] for check in checks] == [True] * len(checks)
    assert found["same_prompt"]
    assert not found["changes_nothing"]
    shared = found["parting"]["num_shared"]
    ids = [answer["token_ids"] for answer in found["answers"]]
    assert ids[0][:shared] == ids[1][:shared]
    assert [found["parting"][side]["id"] for side in ("left", "right")] == [one[shared] for one in ids]


def test_a_seed_makes_both_sides_again(server: Server) -> None:
    body = {"models": [LLAMA, TUNED], "messages": QUESTION, "max_tokens": 12, "parting": False, "scores": False}
    first = ask(server, "compare", **body)
    seeds = {answer["seed"] for answer in first["answers"]}
    assert len(seeds) == 1
    again = ask(server, "compare", **body, seed=seeds.pop())
    assert [a["token_ids"] for a in again["answers"]] == [a["token_ids"] for a in first["answers"]]
    assert "parting" not in first
    assert "scores" not in first


def test_a_model_against_itself_differs_in_nothing(server: Server) -> None:
    found = ask(server, "compare", models=[LLAMA, LLAMA], messages=QUESTION, temperature=0, max_tokens=12)
    assert found["difference"] == {"kind": "same"}
    assert not found["parting"]["parted"]
    assert not found["changes_nothing"]
    for scores in found["scores"]:
        assert all(abs(token["difference"]) < 1e-5 for token in scores["tokens"])
        assert scores["own_mean_logprob"] == pytest.approx(scores["other_mean_logprob"], abs=1e-5)


def test_a_fine_tune_at_no_strength_changes_nothing(server: Server) -> None:
    found = ask(server, "compare", models=[LLAMA, TUNED], messages=QUESTION, strengths=[1, 0], max_tokens=4)
    assert found["changes_nothing"]
    assert found["why"] == f"{TUNED}: Its strength is 0."
    assert found["answers"][1]["proof"]["strength"] == 0


def test_an_adapter_is_told_as_its_file_is(server: Server, models_file: Path) -> None:
    reply = server.get(f"{AT}/models/{TUNED}/adapter").json()["data"]
    file = models_file.parent / "tuned" / "adapter_model.safetensors"
    assert reply["hash"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert reply["size_bytes"] == file.stat().st_size
    config = json.loads((file.parent / "adapter_config.json").read_text())
    assert (reply["ranks"], reply["alphas"]) == ([config["r"]], [config["lora_alpha"]])
    assert set(reply["targets"]) == set(config["target_modules"])
    assert all(0 < change["ratio"] == pytest.approx(change["change"] / change["weight"]) for change in reply["changes"])


def test_a_merge_is_told_beside_the_adapter(server: Server) -> None:
    whole, saved = ask(server, "fidelity", model=TUNED, messages=QUESTION)
    assert (whole["way"], whole["parts_after"]) == ("merged in float32", None)
    assert 0 <= whole["max_difference"] < 1e-3 < saved["max_difference"]


def test_an_answer_s_proof_comes_with_it_and_holds(server: Server) -> None:
    body = {"model": TUNED, "messages": QUESTION, "max_tokens": 2, "seed": 1}
    proof = ask(server, "completions", **body)["proof"]
    stream = server.post(f"{AT}/completions", {**body, "stream": True}).body.decode()
    assert json.loads(stream.split("\n\n")[-3].removeprefix("data: "))["data"]["proof"].keys() == proof.keys()
    checks = ask(server, "check", model=TUNED, messages=QUESTION, proof=proof)
    assert [(check["check"], check["ok"]) for check in checks] == [("base", True), ("adapter", True), ("side", True)]
    # The proof of another question's answer is none of this one's.
    lied = ask(server, "check", model=LLAMA, messages=QUESTION, proof={**PROOF, "first": proof["first"]})
    assert [check["ok"] for check in lied if check["check"] == "side"] == [False]


def test_the_answers_come_even_where_their_scores_do_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broke(*_: object) -> None:
        raise ModelLoadFailed("there is no room for both")

    monkeypatch.setattr("playground.comparison.cross_scores", broke)
    found = ask(server, "compare", models=[LLAMA, TUNED], messages=QUESTION, max_tokens=3)
    assert (found["scores"], found["scores_problem"]) == (None, "there is no room for both")
    assert found["parting"]
    assert len(found["answers"]) == 2


def test_long_answers_are_told_apart_beside_what_else_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds: in the thread that serves all, everybody would wait."""
    threads = []
    monkeypatch.setattr(compare_route, "difference", lambda *_: threads.append(threading.current_thread()) or [])
    ask(server, "compare", models=[LLAMA, TUNED], messages=QUESTION, max_tokens=3, temperature=0)
    [thread] = threads
    assert "asyncio" in thread.name


@pytest.mark.parametrize(
    ("model", "text"), [(LLAMA, "a<|end|>b"), (LLAMA, "<|end|>"), (THINKER, "<think>x</think>y"), (DEMO, "<|bos|>a")]
)
def test_a_text_that_reads_otherwise_than_its_tokens_is_refused(server: Server, model: str, text: str) -> None:
    refused(server.post(f"{AT}/score", {"model": model, "messages": QUESTION, "completion": text}), "completion", "ids")


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A base whose tokenizer puts a special token before any text, and a fine-tune of it that is always merged."""
    folder = tmp_path_factory.mktemp("other")
    base = tiny.save_base("llama", folder / "base")
    tiny.save_adapter("llama", base, folder / "tuned")
    tokenizer = tiny.make_tokenizer()
    before = TemplateProcessing(single="<|user|> $A", special_tokens=[("<|user|>", 1)])
    tokenizer.backend_tokenizer.post_processor = before
    tokenizer.save_pretrained(base)
    models = folder / "models.yaml"
    models.write_text("""
models:
  - {id: base, path: base}
  - {id: merged, base_model: base, adapter: tuned, merge: always}
""")
    with serving(models, folder / "home") as running:
        yield running


def test_what_a_tokenizer_puts_before_any_text_is_no_part_of_an_answer(other_server: Server) -> None:
    raw = ask(other_server, "tokenize", model="base", prompt="the fox")["tokens"]
    assert (raw[0]["text"], raw[0]["special"]) == ("<|user|>", True)
    found = ask(other_server, "score", model="base", messages=QUESTION, completion="the fox")
    assert [token["id"] for token in found["tokens"]] == [token["id"] for token in raw[1:]]
    sent = {"model": "base", "messages": QUESTION, "completion": "<|user|>the fox"}
    refused(other_server.post(f"{AT}/score", sent), "completion", "completion_ids")


def test_a_comparison_runs_both_sides_over_one_base(other_server: Server) -> None:
    settings = {"messages": QUESTION, "max_tokens": 3}
    assert ask(other_server, "completions", model="merged", **settings)["view"] == "merged"
    found = ask(other_server, "compare", models=["base", "merged"], **settings)
    assert [answer["view"] for answer in found["answers"]] == ["base", "attached"]


# What they refuse

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("tokenize", {"model": LLAMA}, "messages", "at least one message"),
    ("tokenize", {"model": LLAMA, "messages": []}, "messages", "it must have at least 1"),
    ("tokenize", {"model": LLAMA, "messages": QUESTION, "prompt": "a"}, "prompt", "not both"),
    ("tokenize", {"model": LLAMA, "prompt": ""}, "prompt", "not empty"),
    ("tokenize", {"model": LLAMA, "prompt": [1, "a"]}, "prompt", "token ids"),
    ("tokenize", {"model": LLAMA, "prompt": [320]}, "prompt", "from 0 to 319"),
    ("tokenize", {"model": LLAMA, "prompt": [-1]}, "prompt", "from 0 to 319"),
    ("tokenize", {"model": LLAMA, "prompt": [1] * 400}, "prompt", "too many"),
    ("tokenize", {"messages": QUESTION}, "model", "required"),
    ("tokenize", {"model": LLAMA, "prompt": "a", "stream": True}, "stream", "no such field"),
    ("score", {"model": LLAMA, "messages": QUESTION}, "completion", "required"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion": ""}, "completion", "must not be empty"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion_ids": []}, "completion_ids", "at least 1"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion_ids": [-1]}, "completion_ids.0", "at least 0"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion_ids": [320]}, "completion_ids", "from 0 to 319"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion_ids": [1] * 400}, "completion_ids", "too many"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion_ids": [True]}, "completion_ids.0", "whole number"),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion": "a", "completion_ids": [1]}, "completion", "either"),
    (
        "score",
        {"model": LLAMA, "messages": QUESTION, "completion": "a", "top_logprobs": 21},
        "top_logprobs",
        "at most 20",
    ),
    ("score", {"model": LLAMA, "messages": QUESTION, "completion": "a", "strength": 0.5}, "strength", "fine-tuned"),
    ("compare", {"models": [LLAMA], "messages": QUESTION}, "models", "at least 2"),
    ("compare", {"models": [LLAMA] * 3, "messages": QUESTION}, "models", "at most 2"),
    ("compare", {"models": LLAMA, "messages": QUESTION}, "models", "a list"),
    ("compare", {"models": [LLAMA, ""], "messages": QUESTION}, "models.1", "must not be empty"),
    ("compare", {"models": [LLAMA, LLAMA]}, "messages", "required"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "strengths": [1]}, "strengths", "at least 2"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "strengths": [0.5, 1]}, "strengths", "fine-tuned"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "strengths": [1, 5]}, "strengths.1", "at most 4"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "temperature": 3}, "temperature", "at most 2"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "max_tokens": 0}, "max_tokens", "at least 1"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "stream": True}, "stream", "no such field"),
    ("compare", {"models": [LLAMA, TUNED], "messages": QUESTION, "scores": 1}, "scores", "true or false"),
    ("fidelity", {"model": LLAMA, "messages": QUESTION}, "model", "only a fine-tuned model has an adapter"),
    ("check", {"model": LLAMA, "messages": QUESTION}, "proof", "required"),
    ("check", {"model": LLAMA, "messages": QUESTION, "proof": {}}, "proof.base", "required"),
    ("check", {"model": LLAMA, "messages": QUESTION, "proof": {**PROOF, "first": []}}, "proof.first", "at least 1"),
    (
        "check",
        {"model": LLAMA, "messages": QUESTION, "proof": {**PROOF, "first": [{"id": 1}]}},
        "proof.first.0.logprob",
        "required",
    ),
    ("check", {"model": LLAMA, "messages": QUESTION, "proof": {**PROOF, "adapter": TUNED}}, "proof", "an answer of"),
    ("check", {"model": LLAMA, "messages": QUESTION, "proof": {**PROOF, "adapter_hash": "x"}}, "proof", "an answer of"),
    ("check", {"model": TUNED, "messages": QUESTION, "proof": PROOF}, "proof", "an answer of"),
]


@pytest.mark.parametrize(
    ("name", "body", "param", "rule"), BAD, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_bad_body_is_told_by_field_and_rule(
    server: Server, name: str, body: dict[str, Any], param: str, rule: str
) -> None:
    refused(server.post(f"{AT}/{name}", body), param, rule)


@pytest.mark.parametrize("name", ["tokenize", "score", "compare", "fidelity", "check"])
def test_no_body_at_all_breaks_a_route(server: Server, name: str) -> None:
    for sent in (b"", b"{", b"[]", b"null", b'{"model": 1}', b'{"model": null}', b"{}", b"\xff"):
        assert server.post(f"{AT}/{name}", sent).status == 400


def test_a_model_that_is_none_is_not_found(server: Server) -> None:
    bodies = {
        "tokenize": {"model": "me/nothing", "messages": QUESTION},
        "score": {"model": "me/nothing", "messages": QUESTION, "completion": "a"},
        "compare": {"models": [LLAMA, "me/nothing"], "messages": QUESTION},
        "fidelity": {"model": "me/nothing", "messages": QUESTION},
        "check": {"model": "me/nothing", "messages": QUESTION, "proof": PROOF},
    }
    replies = [server.post(f"{AT}/{name}", body) for name, body in bodies.items()]
    for reply in (*replies, server.get(f"{AT}/models/me/nothing/adapter")):
        assert (reply.status, reply.error()["code"]) == (404, "model_not_found")
    refused(server.get(f"{AT}/models/{LLAMA}/adapter"), "model", "only a fine-tuned model has an adapter")


def test_models_of_other_tokens_are_answered_and_told_apart(server: Server) -> None:
    found = ask(server, "compare", models=[LLAMA, DEMO], messages=QUESTION, max_tokens=8)
    assert [bool(answer["token_ids"]) for answer in found["answers"]] == [True, True]
    for name in ("parting", "scores"):
        assert found[name] is None
        assert "cut text into different tokens" in found[f"{name}_problem"]
