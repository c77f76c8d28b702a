"""A row's choice of its next token: penalties, bias, temperature, top-k, top-p, a generator of its own.

Knows one row's logits at a time; nothing of models, batches or text. The global random state is never
touched, so the same seed gives the same tokens whatever else runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch

from playground.types import Sampling, TokenLogprob

NUCLEUS_SHORTLIST = 512
"""Top-p looks at so many tokens first; only where their mass falls short are all of them sorted."""


class Sampler:
    """Chooses one row's tokens. `seed` is used as given; the same seed gives the same noise at each step.

    The noise is Gumbel's, one number a token of the vocabulary: two models asked with one seed see the same
    noise, so their answers part only where the models do.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(_spread(seed))
        self._counts: dict[int, int] = {}

    def choose(self, logits: torch.Tensor) -> int:
        """The next token's id out of `logits`, float32 of shape (vocabulary,), left as they are."""
        scores = self._adjusted(logits)
        if self._sampling.temperature == 0:
            token_id = int(scores.argmax())
        else:
            # The best score is made nought, or a small temperature would send several beyond what floats hold.
            scores = self._cut((scores - scores.max()) / self._sampling.temperature)
            noise = torch.empty(scores.shape, dtype=torch.float32).exponential_(generator=self._generator)
            token_id = int((scores.cpu() - noise.log()).argmax())
        self._counts[token_id] = self._counts.get(token_id, 0) + 1
        return token_id

    def _adjusted(self, logits: torch.Tensor) -> torch.Tensor:
        sampling = self._sampling
        penalized = self._counts if sampling.frequency_penalty or sampling.presence_penalty else {}
        changes = {
            token_id: -count * sampling.frequency_penalty - sampling.presence_penalty
            for token_id, count in penalized.items()
        }
        for token_id, bias in sampling.logit_bias.items():
            changes[token_id] = changes.get(token_id, 0.0) + bias
        if not changes:
            return logits
        index = torch.tensor(list(changes), device=logits.device)
        delta = torch.tensor(list(changes.values()), dtype=logits.dtype, device=logits.device)
        return logits.index_add(0, index, delta)

    def _cut(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores with all tokens outside top-k and top-p at minus infinity."""
        top_k, top_p = self._sampling.top_k, self._sampling.top_p
        num_tokens = scores.shape[0]
        if 0 < top_k < num_tokens:
            kept = scores.topk(top_k)
            scores = torch.full_like(scores, -torch.inf).scatter(0, kept.indices, kept.values)
        if top_p < 1:
            kept = _nucleus(scores, top_p, NUCLEUS_SHORTLIST) or _nucleus(scores, top_p, num_tokens)
            assert kept is not None
            scores = torch.full_like(scores, -torch.inf).scatter(0, kept[1], kept[0])
        return scores


def _nucleus(scores: torch.Tensor, top_p: float, num: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Values and indices of the smallest set of best tokens whose probability reaches `top_p`, sought among
    the best `num`; None where those do not reach it."""
    num = min(num, scores.shape[0])
    best = scores.topk(num)
    mass = (best.values - scores.logsumexp(0)).exp().cumsum(0)
    enough = (mass >= top_p).nonzero()
    if len(enough) == 0 and num < scores.shape[0]:
        return None
    size = int(enough[0]) + 1 if len(enough) else num
    return best.values[:size], best.indices[:size]


def score(
    logits: torch.Tensor, token_ids: Sequence[int], num_top: int, spell: Callable[[int], str]
) -> list[TokenLogprob]:
    """The natural log-probabilities of tokens, each under its own row of `logits` (tokens, vocabulary), with the
    `num_top` best tokens of that row."""
    logprobs = logits.log_softmax(1)
    best = logprobs.topk(min(num_top, logprobs.shape[1]), dim=1)
    own = logprobs.gather(1, torch.tensor(list(token_ids), device=logits.device)[:, None])[:, 0].tolist()
    scored = []
    for token_id, logprob, ids, values in zip(token_ids, own, best.indices.tolist(), best.values.tolist(), strict=True):
        top = tuple(TokenLogprob(i, value, spell(i)) for i, value in zip(ids, values, strict=True))
        scored.append(TokenLogprob(token_id, logprob, spell(token_id), top=top))
    return scored


def best(logits: torch.Tensor, num: int) -> tuple[tuple[int, float], ...]:
    """The likeliest `num` tokens under one row of `logits` (vocabulary,), each with its natural log-probability."""
    found = logits.log_softmax(0).topk(min(num, logits.shape[0]))
    return tuple(zip(found.indices.tolist(), found.values.tolist(), strict=True))


def _spread(seed: int) -> int:
    """Neighbouring seeds give unrelated streams, and every 64-bit number is a seed."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "little", signed=True)
