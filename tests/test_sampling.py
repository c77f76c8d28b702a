"""A row's choices against formulas written out in full."""

from __future__ import annotations

import random

import pytest
import torch

from playground.errors import InvalidRequest
from playground.local.sampling import Sampler, score
from playground.types import Sampling

VOCABULARY = 700


def some_logits(seed: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def allowed(logits: torch.Tensor, sampling: Sampling, out: list[int]) -> torch.Tensor:
    """The probabilities that a sampler must draw from, by plain full sorts."""
    scores = logits.clone()
    for token_id in set(out):
        scores[token_id] -= out.count(token_id) * sampling.frequency_penalty + sampling.presence_penalty
    for token_id, bias in sampling.logit_bias.items():
        scores[token_id] += bias
    probs = (scores / sampling.temperature).softmax(0)
    order = probs.argsort(descending=True)
    if sampling.top_k:
        probs[order[sampling.top_k :]] = 0
    probs /= probs.sum()
    before = probs[order].cumsum(0) - probs[order]
    probs[order[before >= sampling.top_p]] = 0
    return probs / probs.sum()


CASES = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.3, top_p=0.7),
    Sampling(temperature=1.5, top_k=5),
    Sampling(temperature=1.0, top_k=40, top_p=0.6),
    Sampling(temperature=0.8, frequency_penalty=1.2, presence_penalty=-0.5),
    Sampling(temperature=1.0, logit_bias={3: 8.0, 4: -100.0}),
    Sampling(temperature=2.0, top_p=0.999),
]


@pytest.mark.parametrize("sampling", CASES)
def test_draws_follow_the_distribution(sampling: Sampling) -> None:
    logits = some_logits(1)[:30].clone()
    out = [2, 2, 5]
    expected = allowed(logits, sampling, out)
    counts = torch.zeros(30)
    sampler = Sampler(sampling, seed=11)
    num_draws = 6000
    for _ in range(num_draws):
        sampler._counts = {2: 2, 5: 1}
        counts[sampler.choose(logits)] += 1
    assert not counts[expected == 0].any()
    kept = expected * num_draws >= 5
    deviation = ((counts - expected * num_draws) ** 2 / (expected * num_draws))[kept].sum()
    assert deviation < 2.5 * int(kept.sum()) + 15


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("spread", [0.001, 1.0, 6.0])
def test_top_p_keeps_exactly_the_nucleus(top_p: float, spread: float) -> None:
    """Also where the best 512 tokens are not enough."""
    logits = some_logits(5, spread)
    sampling = Sampling(temperature=1.0, top_p=top_p)
    cut = Sampler(sampling, 0)._cut(logits)
    expected = allowed(logits, sampling, [])
    differing = (cut.isfinite() != (expected > 0)).nonzero().flatten()
    assert len(differing) <= 1, "one token at the very edge may fall either way in float32"


def test_a_tiny_temperature_is_nearly_greedy() -> None:
    logits = torch.tensor([1.0, 3.0, 2.5, 0.0])
    assert {Sampler(Sampling(temperature=1e-40), seed).choose(logits) for seed in range(20)} == {1}


def test_greedy_takes_the_best_and_penalties_move_it() -> None:
    logits = torch.tensor([1.0, 3.0, 2.5, 0.0])
    assert [Sampler(Sampling(temperature=0), 0).choose(logits) for _ in range(3)] == [1, 1, 1]
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=0.4), 0)
    assert [sampler.choose(logits) for _ in range(5)] == [1, 1, 2, 1, 2]
    sampler = Sampler(Sampling(temperature=0, presence_penalty=0.6), 0)
    assert [sampler.choose(logits) for _ in range(3)] == [1, 2, 1]


def test_a_seed_gives_the_same_tokens_and_leaves_the_global_state() -> None:
    state = torch.random.get_rng_state()
    runs = []
    for _ in range(2):
        sampler = Sampler(Sampling(temperature=1.0), seed=99)
        runs.append([sampler.choose(some_logits(i)) for i in range(40)])
        random.random()
    other = Sampler(Sampling(temperature=1.0), seed=100)
    assert runs[0] == runs[1]
    assert runs[0] != [other.choose(some_logits(i)) for i in range(40)]
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_seed_is_one_noise_for_two_models() -> None:
    """Nearly equal logits give nearly always equal tokens: answers part where the models do."""
    same = 0
    left, right = (Sampler(Sampling(temperature=1.0), seed=5) for _ in range(2))
    for i in range(100):
        logits = some_logits(i)
        same += left.choose(logits) == right.choose(logits + 0.01 * some_logits(1000 + i, 1.0))
    assert same >= 95


def test_logprobs_are_the_log_softmax_of_raw_logits() -> None:
    logits = some_logits(8)
    expected = torch.log_softmax(logits.double(), 0)
    found = score(logits[None], [17], 4, str)[0]
    assert found.logprob == pytest.approx(float(expected[17]), abs=1e-5)
    best = expected.topk(4)
    assert [one.token_id for one in found.top] == best.indices.tolist()
    assert [one.logprob for one in found.top] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert (found.spelling, found.top[0].spelling) == ("17", str(found.top[0].token_id))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", -1),
        ("max_tokens", 4097),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("seed", 2**63),
        ("stop", ("a", "b", "c", "d", "e")),
        ("stop", ("",)),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -2.5),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: 101.0}),
        ("logprobs", 21),
    ],
)
def test_impossible_settings_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Sampling(**{field: value})  # type: ignore[arg-type]
    assert caught.value.param == field
    assert field in caught.value.message
