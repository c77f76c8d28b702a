"""What two models make of one question, token by token, against plain forwards and plain searches by stock models."""

from __future__ import annotations

import asyncio
import codecs
import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from playground.comparison import (
    NUM_TOP,
    AnswerScores,
    Parting,
    Said,
    cross_scores,
    parting,
    perplexity,
    unchanged,
    why_nothing,
)
from playground.errors import InvalidRequest
from playground.evidence import Proof
from playground.service import Playground
from playground.types import ANYBODY, Answer, Delta, GenerationRequest, Message, Sampling, TokenLogprob
from tests import tiny
from tests.test_service import open_door
from tests.test_text import byte_fallback_tokenizer

END = 0
NEVER_ENDS = {END: -100.0}
LLAMA, TUNED, OTHER = "tiny/llama", "tiny/llama-tuned", "tiny/other"
WORDS, ENDS, PLAIN, THINKS, BYTES = "tiny/words", "tiny/ends", "tiny/plain", "tiny/thinks", "tiny/bytes"
WEAK = {"qwen3_5": 0.1, "gemma4": 0.05, "llama": 0.05}
"""An alpha at which greedy answers begin alike, where that of the others is too much."""
PLACE = 3
"""`ENDS` is `LLAMA` with one more end token: the one that comes at this place of a greedy answer."""


@dataclass
class Bench:
    """The service over tiny models of all architectures, and stock models to hold it against."""

    playground: Playground
    root: Path
    models: dict[str, Any] = field(default_factory=dict)
    ending: list[int] = field(default_factory=list)
    end_too: int = END
    """The prompt of that answer, and the token."""

    def stock(self, model_id: str) -> Any:
        """The model by transformers and peft alone, merged where it is a fine-tune."""
        if model_id not in self.models:
            name = model_id.removeprefix("tiny/")
            base = name if (self.root / name / "config.json").exists() else name.partition("-")[0]
            model = AutoModelForCausalLM.from_pretrained(self.root / base, dtype=torch.float32)
            if base != name:
                model = PeftModel.from_pretrained(model, self.root / name).merge_and_unload()
            self.models[model_id] = model.eval()
        return self.models[model_id]

    def tokenizer(self, name: str = "llama") -> Any:
        return AutoTokenizer.from_pretrained(self.root / name)

    def prompt_ids(self, request: GenerationRequest) -> list[int]:
        return list(asyncio.run(self.playground.render(request)).token_ids)

    def logprobs(self, request: GenerationRequest, answer: Sequence[int]) -> torch.Tensor:
        """Natural log-probabilities before each token of an answer and after the last, by one direct forward."""
        ids = self.prompt_ids(request)
        with torch.no_grad():
            logits = self.stock(request.model)(torch.tensor([[*ids, *answer]])).logits[0]
        return logits[len(ids) - 1 :].log_softmax(-1)

    def greedy(self, model_id: str, ids: Sequence[int], max_tokens: int) -> list[int]:
        """A stock model's greedy tokens, its end token included."""
        out = self.stock(model_id).generate(
            torch.tensor([list(ids)]), max_new_tokens=max_tokens, do_sample=False, eos_token_id=END, pad_token_id=END
        )
        return out[0, len(ids) :].tolist()

    def complete(self, request: GenerationRequest) -> Answer:
        return asyncio.run(self.playground.complete(request))

    def scores(self, requests: Sequence[GenerationRequest], *said: Said) -> tuple[AnswerScores, ...]:
        return asyncio.run(cross_scores(self.playground, requests, said, ANYBODY))

    def parting(self, *requests: GenerationRequest) -> Parting:
        return asyncio.run(parting(self.playground, requests, ANYBODY))

    def proof(self, request: GenerationRequest) -> Proof:
        proof = self.complete(request).finish.proof
        assert proof is not None
        return proof


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("bench")
    entries: list[dict[str, Any]] = []

    def add_base(name: str, **settings: Any) -> None:
        entries.append({"id": f"tiny/{name}", "path": name, **settings})

    def add_tune(base: str, name: str, **settings: Any) -> None:
        entries.append({"id": f"tiny/{name}", "base_model": f"tiny/{base}", "adapter": f"./{name}", **settings})

    for kind in tiny.ARCHITECTURES:
        folder = tiny.save_base(kind, root / kind)
        tiny.save_adapter(kind, folder, root / f"{kind}-tuned", lora_alpha=WEAK.get(kind, 0.25))
        add_base(kind)
        add_tune(kind, f"{kind}-tuned")
    llama = root / "llama"
    tiny.save_adapter("llama", llama, root / "llama-strong", seed=2)
    tiny.save_untrained_adapter("llama", llama, root / "llama-untrained")
    tiny.save_untrained_adapter("llama", llama, root / "llama-untrained_too")
    tiny.save_adapter("llama", llama, root / "llama-faint", lora_alpha=1e-6)
    for name in ("llama-strong", "llama-untrained", "llama-untrained_too", "llama-faint"):
        add_tune("llama", name)
    tiny.save_base("llama", root / "other", seed=5)
    add_base("other")
    tiny.save_base("llama", root / "plain", template=None)
    add_base("plain")
    tiny.save_base("qwen3_5", root / "thinks", template=tiny.THINKING_TEMPLATE)
    tiny.save_adapter("qwen3_5", root / "thinks", root / "thinks-tuned", lora_alpha=0.25)
    add_base("thinks")
    add_tune("thinks", "thinks-tuned")
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens(["fox jumps"])
    tiny.save_base("llama", root / "words")
    tokenizer.save_pretrained(root / "words")
    add_base("words")
    tiny.save_base("llama", root / "bytes")
    byte_fallback_tokenizer().save_pretrained(root / "bytes")
    add_base("bytes")
    tiny.save_base("llama", root / "ends")
    add_base("ends")
    playground, registry = open_door(root, entries)
    bench = Bench(playground, root)
    answers = ((ids, bench.greedy(LLAMA, ids, PLACE + 1)) for ids in prompts_of(6))
    bench.ending, bench.end_too = next((ids, out[PLACE]) for ids, out in answers if out.index(out[-1]) == PLACE)
    configured = root / "ends" / "generation_config.json"
    settings = {**json.loads(configured.read_text()), "eos_token_id": [END, bench.end_too]}
    configured.write_text(json.dumps(settings))
    yield bench
    registry.close()


def ask(model: str, prompt: str | Sequence[int], max_tokens: int = 24, **settings: Any) -> GenerationRequest:
    """A chat for a string, raw token ids else."""
    extra = {key: settings.pop(key) for key in ("thinking", "strength") if key in settings}
    sampling = Sampling(max_tokens=max_tokens, **{"temperature": 0.0, **settings})
    if isinstance(prompt, str):
        return GenerationRequest(model, (Message("user", prompt),), sampling=sampling, alone=False, **extra)
    return GenerationRequest(model, prompt=tuple(prompt), sampling=sampling, alone=False, **extra)


def sides(model: str, other: str, prompt: str | Sequence[int], **settings: Any) -> list[GenerationRequest]:
    return [ask(model, prompt, **settings), ask(other, prompt, **settings)]


def said_by(answer: Answer) -> Said:
    return Said(answer.token_ids, answer.text)


def assert_is(found: TokenLogprob, token_id: int, expected: torch.Tensor) -> None:
    """A token's score and alternatives against a direct forward's log-probabilities (vocabulary,)."""
    assert found.token_id == token_id
    assert found.logprob == pytest.approx(float(expected[token_id]), abs=1e-3)
    best = expected.topk(NUM_TOP)
    assert [one.token_id for one in found.top] == best.indices.tolist()
    assert [one.logprob for one in found.top] == pytest.approx(best.values.tolist(), abs=1e-3)


# Cross-scores


@pytest.mark.parametrize("prompt", ["tell me of the quick brown fox", tuple(range(30, 57))], ids=["chat", "raw"])
@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_cross_scores_are_those_of_a_direct_forward(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str, prompt: Any
) -> None:
    """Answers are longer than a chunk of prefill and than the sliding windows."""
    monkeypatch.setattr("playground.local.decoding.CHUNK_TOKENS", 16)
    requests = sides(f"tiny/{kind}", f"tiny/{kind}-tuned", prompt, max_tokens=45, logit_bias=NEVER_ENDS)
    answers = [bench.complete(request) for request in requests]
    scored = bench.scores(requests, *map(said_by, answers))
    for i, (answer, found) in enumerate(zip(answers, scored, strict=True)):
        assert "".join(token.piece for token in found.tokens) == answer.text
        own, other = (bench.logprobs(requests[side], answer.token_ids) for side in (i, 1 - i))
        for place, token in enumerate(found.tokens):
            assert_is(token.own, answer.token_ids[place], own[place])
            assert_is(token.other, answer.token_ids[place], other[place])
            assert token.difference == token.own.logprob - token.other.logprob
        shown = list(answer.token_ids[: len(found.tokens)])
        assert len(shown) >= 40
        for mean, logprobs in ((found.own_mean, own), (found.other_mean, other)):
            expected = fmean(float(row[token_id]) for row, token_id in zip(logprobs, shown, strict=False))
            assert mean is not None
            assert mean == pytest.approx(expected, abs=1e-3)
            assert perplexity(mean) == pytest.approx(math.exp(-expected), rel=2e-3)
        assert found.own_mean != pytest.approx(found.other_mean, abs=1e-3)


def test_a_fine_tune_s_strength_counts_in_its_scores(bench: Bench) -> None:
    answer = bench.complete(ask(LLAMA, "hello", logit_bias=NEVER_ENDS))
    means = {}
    for strength in (0.0, 0.5, 1.0):
        requests = [ask(LLAMA, "hello"), ask("tiny/llama-strong", "hello", strength=strength)]
        scored = bench.scores(requests, said_by(answer), Said((), ""))[0]
        means[strength] = scored.own_mean, scored.other_mean
    assert means[0.0][0] == pytest.approx(means[0.0][1], abs=1e-6)
    assert len({round(other or 0, 3) for _, other in means.values()}) == 3


def test_bases_of_one_tokenizer_are_scored_by_each_other(bench: Bench) -> None:
    for other in (OTHER, "tiny/starcoder2", PLAIN):
        requests = sides(LLAMA, other, "which of you?")
        answer = bench.complete(requests[1])
        found = bench.scores(requests, Said((), ""), said_by(answer))[1]
        expected = bench.logprobs(requests[0], answer.token_ids)
        for place, token in enumerate(found.tokens):
            assert_is(token.other, answer.token_ids[place], expected[place])
        assert found.tokens


def test_models_that_cut_text_otherwise_are_not_set_against_each_other(bench: Bench) -> None:
    requests = sides(LLAMA, WORDS, "the fox jumps")
    for asked in (lambda: bench.scores(requests, Said((9,), "x"), Said((9,), "x")), lambda: bench.parting(*requests)):
        with pytest.raises(InvalidRequest, match="cut text into different tokens") as caught:
            asked()
        assert caught.value.param == "models"
        assert caught.value.message.startswith(f"models: {LLAMA} and {WORDS} ")


TEXTS = [
    "日本語のテキスト",
    "naïve café — ok",
    "🙂",
    "a 👩‍👩‍👧‍👦 family, 한국어 and ไทย",
    " the quick\n\nbrown\tfox ",
    "\n",
]


def bytes_of(tokenizer: Any, token_id: int) -> bytes:
    """By the table that byte-level vocabularies are written in."""
    numbers = {char: number for number, char in bytes_to_unicode().items()}
    return bytes(numbers[char] for char in tokenizer.convert_ids_to_tokens(token_id))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("prompt", ["hello", (40, 41)], ids=["chat", "raw"])
def test_pieces_join_to_the_text_byte_for_byte(bench: Bench, prompt: Any, text: str) -> None:
    tokenizer = bench.tokenizer()
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    found = bench.scores(sides(LLAMA, TUNED, prompt), Said(ids, text), Said((*ids, END), text))
    reader = codecs.getincrementaldecoder("utf-8")()
    for scored in found:
        assert [token.piece for token in scored.tokens] == [reader.decode(bytes_of(tokenizer, i)) for i in ids]
        assert [token.own.token_id for token in scored.tokens] == list(ids)


@pytest.mark.parametrize("model", [LLAMA, BYTES])
def test_pieces_join_to_texts_of_broken_characters(bench: Bench, model: str) -> None:
    tokenizer, prompt = bench.tokenizer(model.removeprefix("tiny/")), (258, 259)
    rng = random.Random(8)
    smile = [*"🙂é".encode()] if model == BYTES else tokenizer("🙂é", add_special_tokens=False)["input_ids"]
    texts = []
    for _ in range(20):
        ids: list[int] = []
        while len(ids) < 12:
            ids += rng.choice([smile, smile[: rng.randrange(4)], [rng.randrange(4, 263)], [65]])
        before = tokenizer.decode(prompt, skip_special_tokens=True)
        text = tokenizer.decode([*prompt, *ids], skip_special_tokens=True).removeprefix(before)
        found = bench.scores([ask(model, prompt)] * 2, Said(tuple(ids), text), Said((), ""))[0]
        assert "".join(token.piece for token in found.tokens) == text
        texts.append(text)
    assert sum("\ufffd" in text for text in texts) > 5
    assert sum("🙂" in text for text in texts) > 5


def test_an_answer_of_emoji_is_scored_as_it_was_given(bench: Bench) -> None:
    smile = bench.tokenizer()("🙂", add_special_tokens=False)["input_ids"]
    for token_id in smile:
        # One byte again and again, which makes no character, and then what the model likes.
        asked = ask(LLAMA, "hello", 30, logit_bias={token_id: 30.0, **NEVER_ENDS}, frequency_penalty=2.0)
        answer = bench.complete(asked)
        assert token_id in answer.token_ids
        found = bench.scores([asked, asked], said_by(answer), Said((), ""))[0]
        assert "".join(token.piece for token in found.tokens) == answer.text


def test_an_answer_that_a_stop_string_cut_is_scored_up_to_there(bench: Bench) -> None:
    whole = bench.complete(ask(LLAMA, "hello", 40, logit_bias=NEVER_ENDS))
    for start, end in ((5, 8), (9, 10), (0, 2), (1, 9)):
        stop = whole.text[start:end]
        asked = ask(LLAMA, "hello", 40, logit_bias=NEVER_ENDS, stop=(stop,))
        answer = bench.complete(asked)
        assert answer.text == whole.text[: whole.text.index(stop)]
        found = bench.scores([asked, asked], said_by(answer), Said((), ""))[0]
        assert "".join(token.piece for token in found.tokens) == answer.text
        assert len(found.tokens) < len(answer.token_ids)
        assert not found.tokens or found.tokens[-1].piece


def test_an_answer_stopped_midway_is_scored_as_far_as_it_came(bench: Bench) -> None:
    smile = bench.tokenizer()("🙂", add_special_tokens=False)["input_ids"]
    asked = ask(LLAMA, "hello", 100, logit_bias={smile[0]: 30.0, **NEVER_ENDS}, frequency_penalty=2.0)

    async def stopped_after(num_tokens: int) -> Said:
        deltas: list[Delta] = []
        async with aclosing(bench.playground.stream(asked)) as events:
            async for event in events:
                deltas += [event] if isinstance(event, Delta) else []
                if sum(len(delta.token_ids) for delta in deltas) == num_tokens:
                    break
        ids = tuple(token_id for delta in deltas for token_id in delta.token_ids)
        return Said(ids, "".join(delta.text for delta in deltas))

    for num_tokens in range(1, 12):
        said = asyncio.run(stopped_after(num_tokens))
        assert len(said.token_ids) == num_tokens
        found = bench.scores([asked, asked], said, Said((), ""))[0]
        assert "".join(token.piece for token in found.tokens) == said.text


def test_answers_of_nothing_have_no_scores(bench: Bench) -> None:
    requests = sides(LLAMA, TUNED, "hello")
    nothing = bench.scores(requests, Said((), ""), Said((1, 2, END), ""))
    for found in nothing:
        assert found.tokens == ()
        assert (found.own_mean, found.other_mean) == (None, None)
    assert bench.scores(requests, Said((), ""), Said((), "")) == (AnswerScores(()), AnswerScores(()))


def test_special_tokens_before_a_text_are_scored_and_write_nothing(bench: Bench) -> None:
    ids = tuple(bench.tokenizer()("🙂 fox", add_special_tokens=False)["input_ids"])
    requests = sides(LLAMA, TUNED, "hello")
    found = bench.scores(requests, Said((1, 2, *ids, 3), "🙂 fox"), Said((), ""))[0]
    assert [token.own.token_id for token in found.tokens] == [1, 2, *ids]
    assert [token.piece for token in found.tokens[:2]] == ["", ""]
    assert "".join(token.piece for token in found.tokens) == "🙂 fox"


def heard(bench: Bench, request: GenerationRequest) -> Said:
    """An answer as the page keeps it: which tokens were thinking is kept as they come."""

    async def run() -> list[Delta]:
        return [event async for event in bench.playground.stream(request) if isinstance(event, Delta)]

    deltas = asyncio.run(run())
    return Said(
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        text="".join(delta.text for delta in deltas if not delta.thinking),
        thought=tuple(delta.thinking for delta in deltas for _ in delta.token_ids),
    )


def test_thinking_is_left_out_of_an_answer_s_scores(bench: Bench) -> None:
    tokenizer = bench.tokenizer("thinks")
    close = tokenizer.convert_tokens_to_ids("</think>")
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][0]
    lengths = set()
    for seed in range(8):
        settings = {"thinking": True, "temperature": 2.0, "seed": seed, "logit_bias": {close: 11.0, newline: 5.0}}
        requests = sides(THINKS, "tiny/thinks-tuned", f"number {seed}", **settings)
        said = heard(bench, requests[0])
        found = bench.scores(requests, said, Said((), ""))[0]
        assert "".join(token.piece for token in found.tokens) == said.text
        expected = bench.logprobs(requests[1], said.token_ids)
        places = [place for place, is_thinking in enumerate(said.thought) if not is_thinking]
        for place, token in zip(places, found.tokens, strict=False):
            assert_is(token.other, said.token_ids[place], expected[place])
        lengths.add((any(said.thought), bool(said.text)))
    assert (True, True) in lengths


def test_thinking_that_begins_after_some_words_is_left_out_too(bench: Bench) -> None:
    open_, close = bench.tokenizer("thinks").convert_tokens_to_ids(["<think>", "</think>"])
    late = 0
    for seed in range(8):
        bias = {open_: 12.0, close: 12.0}
        asked = ask(THINKS, "hello", temperature=2.0, seed=seed, logit_bias=bias)
        said = heard(bench, asked)
        late += any(said.thought) and not said.thought[0]
        found = bench.scores([asked, asked], said, Said((), ""))[0]
        assert "".join(token.piece for token in found.tokens) == said.text
    assert late


# First divergence


def expected_parting(bench: Bench, requests: Sequence[GenerationRequest], max_tokens: int) -> tuple[int, list[int]]:
    """How many tokens two stock models' greedy answers share, and those, end tokens included."""
    left, right = (bench.greedy(request.model, bench.prompt_ids(request), max_tokens) for request in requests)
    num_shared = next((i for i, (one, two) in enumerate(zip(left, right, strict=False)) if one != two), len(left))
    return num_shared, left


@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_the_first_divergence_is_that_of_a_plain_search(bench: Bench, kind: str) -> None:
    """84 random prompts over all architectures."""
    rng = random.Random(sum(map(ord, kind)))
    max_tokens = 12
    places = []
    for _ in range(14):
        prompt = [rng.randrange(6, 290) for _ in range(rng.randint(1, 40))]
        requests = sides(f"tiny/{kind}", f"tiny/{kind}-tuned", prompt, max_tokens=max_tokens)
        num_shared, left = expected_parting(bench, requests, max_tokens)
        found = bench.parting(*requests)
        shared = left[:num_shared]
        ended = num_shared == len(left) and left[-1] == END
        assert found.parted == (num_shared < len(left))
        assert found.num_shared == num_shared - ended
        whole = bench.tokenizer(kind).decode(shared, skip_special_tokens=True)
        assert whole.startswith(found.text)
        assert set(whole[len(found.text) :]) <= {"\ufffd"}
        for side, request in ((found.left, requests[0]), (found.right, requests[1])):
            if not found.parted and not ended:
                assert side is None
                continue
            assert side is not None
            logprobs = bench.logprobs(request, shared)[found.num_shared]
            assert_is(side, int(logprobs.argmax()), logprobs)
        places.append(num_shared)
    assert len(set(places)) > 3, "prompts part at many places"


def test_a_model_never_parts_from_itself(bench: Bench) -> None:
    for model in (LLAMA, TUNED, "tiny/llama-strong", "tiny/qwen3_5"):
        for text in ("one", "two"):
            found = bench.parting(ask(model, text, 10), ask(model, text, 10))
            assert not found.parted
            assert found.num_shared + (found.left is not None) <= 10
            if found.left is not None and found.right is not None:
                assert found.left.token_id == found.right.token_id
                # Beside other rows, transformers' modules round differently.
                assert found.left.logprob == pytest.approx(found.right.logprob, abs=1e-5)
    same = bench.parting(ask(LLAMA, "one", 10), ask("tiny/llama-strong", "one", 10, strength=0.0))
    assert not same.parted
    assert bench.parting(ask(LLAMA, "one", 10), ask("tiny/llama-strong", "one", 10)).parted


def test_both_cut_at_the_limit_have_not_parted(bench: Bench) -> None:
    prompt = next(ids for ids in prompts_of(3) if END not in bench.greedy(LLAMA, ids, 12))
    for limit in (1, 2, 12):
        found = bench.parting(*[ask(LLAMA, prompt, limit)] * 2)
        assert (found.num_shared, found.parted, found.left, found.right) == (limit, False, None, None)
        assert found.text == bench.complete(ask(LLAMA, prompt, limit)).text.rstrip("\ufffd")


def prompts_of(length: int, seed: int = 17) -> Iterator[list[int]]:
    rng = random.Random(seed)
    for _ in range(4000):
        yield [rng.randrange(6, 290) for _ in range(length)]


def last_choices(bench: Bench, model: str, prompts: list[list[int]]) -> list[int]:
    with torch.no_grad():
        return bench.stock(model)(torch.tensor(prompts)).logits[:, -1].argmax(-1).tolist()


def test_an_end_against_another_token_is_a_parting(bench: Bench) -> None:
    strong, end = "tiny/llama-strong", bench.end_too
    prompts = list(prompts_of(4))
    choices = list(zip(last_choices(bench, ENDS, prompts), last_choices(bench, strong, prompts), strict=True))
    i = next(i for i, (left, right) in enumerate(choices) if left == end != right)
    for models in ((ENDS, strong), (strong, ENDS)):
        found = bench.parting(*sides(*models, prompts[i]))
        assert (found.num_shared, found.parted, found.text) == (0, True, "")
        assert found.left is not None
        assert found.right is not None
        ids = [found.left.known_id, found.right.known_id]
        assert sorted(ids) == sorted(choices[i])
        assert ids[models.index(ENDS)] == end


def test_a_token_that_ends_one_answer_alone_is_a_parting_and_one_that_ends_both_is_none(bench: Bench) -> None:
    for one, other in ((ENDS, LLAMA), (LLAMA, ENDS), (ENDS, ENDS)):
        found = bench.parting(*sides(one, other, bench.ending))
        assert (found.num_shared, found.parted) == (PLACE, one != other)
        assert found.left is not None
        assert found.right is not None
        assert found.left.token_id == found.right.token_id == bench.end_too


def test_penalties_and_biases_do_not_move_a_parting(bench: Bench) -> None:
    plain = sides(LLAMA, TUNED, "hello there", max_tokens=12)
    moved = [replace(one, sampling=replace(one.sampling, temperature=1.5, logit_bias={50: 100.0})) for one in plain]
    assert bench.parting(*moved) == bench.parting(*plain)


# An adapter that changes nothing


def reason(bench: Bench, model: str, strength: float = 1.0) -> str:
    return why_nothing(asyncio.run(bench.playground.describe(model)), strength)


def idle(playground: Playground, *requests: GenerationRequest) -> list[str]:
    """The models, by their side, that began their answers as their bases do."""

    async def run() -> list[str]:
        proofs = [(await playground.complete(request)).finish.proof for request in requests]
        found = await unchanged(playground, requests, proofs, ANYBODY)
        return [f"{'left' if one is requests[0] else 'right'} {one.model}" for one in found]

    return asyncio.run(run())


@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_an_untrained_adapter_is_told_and_a_trained_one_is_not(tmp_path: Path, kind: str) -> None:
    base = tiny.save_base(kind, tmp_path / "base")
    tiny.save_untrained_adapter(kind, base, tmp_path / "none")
    tiny.save_adapter(kind, base, tmp_path / "some")
    entries: list[dict[str, Any]] = [{"id": "base", "path": "base"}]
    entries += [{"id": name, "base_model": "base", "adapter": f"./{name}"} for name in ("none", "some")]
    playground, registry = open_door(tmp_path, entries)
    try:
        plain, none, some = (ask(model, "hello", 3) for model in ("base", "none", "some"))
        assert idle(playground, plain, none) == ["right none"]
        assert idle(playground, none, plain) == ["left none"]
        assert idle(playground, plain, some) == []
        assert idle(playground, none, some) == ["left none"], "no base stands beside"
        assert "All of its changes are zero" in reason(Bench(playground, tmp_path), "none")
    finally:
        registry.close()


def test_what_changes_nothing_and_why(bench: Bench) -> None:
    base = ask(LLAMA, "hello", 3)
    tuned, strong, none, too, faint = (
        ask(f"tiny/llama-{name}", "hello", 3) for name in ("tuned", "strong", "untrained", "untrained_too", "faint")
    )
    nought, half = replace(strong, strength=0.0), replace(none, strength=0.5)
    for pair in ((base, base), (strong, strong), (base, tuned), (strong, base), (tuned, strong)):
        assert idle(bench.playground, *pair) == []
    left, right = "left tiny/llama-", "right tiny/llama-"
    assert idle(bench.playground, nought, strong) == [f"{left}strong"]
    assert idle(bench.playground, base, nought) == [f"{right}strong"]
    assert idle(bench.playground, base, faint) == [f"{right}faint"]
    assert idle(bench.playground, none, too) == [f"{left}untrained", f"{right}untrained_too"]
    assert idle(bench.playground, half, none) == [f"{left}untrained", f"{right}untrained"]
    assert asyncio.run(unchanged(bench.playground, [base, none], [None, None], ANYBODY)) == []
    assert reason(bench, "tiny/llama-strong", 0.0) == "Its strength is 0."
    assert "was not trained" in reason(bench, "tiny/llama-untrained")
    assert "too few steps" in reason(bench, "tiny/llama-faint")
    assert "do not show on this prompt" in reason(bench, "tiny/llama-strong")


def test_another_base_is_not_what_an_adapter_is_held_against(bench: Bench) -> None:
    """`ends` has the weights of `llama`; yet nothing was fine-tuned there."""
    ends = ask(ENDS, "hello", 3)
    assert idle(bench.playground, ask(LLAMA, "hello", 3), ends) == []
    assert idle(bench.playground, ask("tiny/llama-tuned", "hello", 3), ends) == []
    assert idle(bench.playground, ask("tiny/llama-untrained", "hello", 3), ends) == ["left tiny/llama-untrained"]
