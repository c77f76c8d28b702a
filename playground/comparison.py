"""What two models make of one question, token by token: where their greedy answers part, and how likely each
finds the other's answer.

Knows the service; each question is answers asked of it, so that it runs, counts and stops as every answer does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from statistics import fmean

from playground.errors import InternalError, InvalidRequest, PlaygroundError
from playground.evidence import AdapterDetails, First, Proof, same_first
from playground.service import Playground
from playground.types import Caller, Delta, Echo, Finish, GenerationRequest, Sampling, TokenLogprob

NUM_TOP = 5
"""So many alternatives are told of each token."""
TINY_RATIO = 1e-4
"""An adapter whose largest change is a smaller share of the weight it changes is told to be tiny."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer that stands. `thought` tells of each token whether it is thinking, which `text` leaves out; empty where
    none is."""

    token_ids: tuple[int, ...]
    text: str
    thought: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenScores:
    """A token of an answer: what it wrote, and how both models saw it. `own` gave the answer."""

    piece: str
    own: TokenLogprob
    other: TokenLogprob

    @property
    def difference(self) -> float:
        """In natural log-probability; above 0 where the model that said it finds it likelier."""
        return self.own.logprob - self.other.logprob


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """An answer's tokens under both models; pieces join to its text. Means are None for an answer of no token."""

    tokens: tuple[TokenScores, ...]

    @property
    def own_mean(self) -> float | None:
        return _mean(token.own.logprob for token in self.tokens)

    @property
    def other_mean(self) -> float | None:
        return _mean(token.other.logprob for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two greedy answers part: after `num_shared` tokens that wrote `text`, each model's own next token with
    its best alternatives, None for a model that was cut there. `parted` is False where they never did."""

    num_shared: int
    text: str
    parted: bool
    left: TokenLogprob | None = None
    right: TokenLogprob | None = None


def perplexity(mean_logprob: float) -> float:
    """Out of a mean natural log-probability; at most 1e300, which JSON holds."""
    return math.exp(min(-mean_logprob, 690.0))


async def require_same_tokens(playground: Playground, requests: Sequence[GenerationRequest], caller: Caller) -> None:
    """Raises `InvalidRequest` where the models' tokenizers differ: one's tokens say nothing to the other."""
    hashes = {(await playground.render(request, caller)).tokenizer_hash for request in requests}
    if len(hashes) > 1:
        names = " and ".join(request.model for request in requests)
        raise InvalidRequest(
            f"models: {names} cut text into different tokens, so their tokens cannot be set against each other",
            param="models",
        )


async def parting(playground: Playground, requests: Sequence[GenerationRequest], caller: Caller) -> Parting:
    """The first token at which two greedy answers differ; both end there. Penalties and biases are left out.

    Raises what answers raise, and `InvalidRequest` for models of different tokenizers.
    """
    await require_same_tokens(playground, requests, caller)
    greedy = [replace(request, sampling=_greedy(request.sampling), alone=False) for request in requests]
    sides = (_Greedy(), _Greedy())
    async with aclosing(playground.stream_all(greedy, caller)) as items:
        async for index, item in items:
            if isinstance(item, PlaygroundError):
                raise item
            sides[index].add(item)
            found = _parted(*sides)
            if found is not None:
                return found
    raise InternalError("two answers ended and said nothing")


async def cross_scores(
    playground: Playground, requests: Sequence[GenerationRequest], said: Sequence[Said], caller: Caller
) -> tuple[AnswerScores, ...]:
    """Each answer under its own model and under the other, in the order of `requests`.

    Raises what answers raise, and `InvalidRequest` for models of different tokenizers.
    """
    await require_same_tokens(playground, requests, caller)
    scoring = [
        replace(asked, continuation=one.token_ids, echo=True, sampling=_SCORING, alone=False)
        for i, one in enumerate(said)
        for asked in (requests[i], requests[1 - i])
        if one.token_ids
    ]
    echoes = iter([answer.echo for answer in await playground.complete_all(scoring, caller)])
    return tuple(_scores(one, next(echoes), next(echoes)) if one.token_ids else AnswerScores(()) for one in said)


async def unchanged(
    playground: Playground,
    requests: Sequence[GenerationRequest],
    proofs: Sequence[Proof | None],
    caller: Caller,
) -> list[GenerationRequest]:
    """Those of the requests whose fine-tune began its answer as its base does. The base is asked for that where no
    answer here is its own to the very same tokens; raises what answers raise."""
    found = []
    for request, proof in zip(requests, proofs, strict=True):
        if proof is None or proof.adapter is None:
            continue
        token_ids = (await playground.render(request, caller)).token_ids
        for other, base in zip(requests, proofs, strict=True):
            if base is None or base.adapter is not None or base.base != proof.base:
                continue
            if (await playground.render(other, caller)).token_ids == token_ids:
                first = base.first
                break
        else:
            first = await _first_of_base(playground, request, token_ids, caller)
        if same_first(proof.first, first):
            found.append(request)
    return found


async def _first_of_base(
    playground: Playground, request: GenerationRequest, token_ids: tuple[int, ...], caller: Caller
) -> First:
    """How the base of a request's model would begin after these tokens."""
    base = playground.status(request.model, caller).card.base_model
    assert base is not None, "only a fine-tune has an adapter"
    nothing = Sampling(max_tokens=0, temperature=0)
    asked = GenerationRequest(base, prompt=token_ids, sampling=nothing, alone=False)
    proof = (await playground.complete(asked, caller)).finish.proof
    return proof.first if proof is not None else ()


def why_nothing(details: AdapterDetails, strength: float) -> str:
    """The likeliest reason that an adapter changes nothing."""
    if strength == 0:
        return "Its strength is 0."
    largest = max((change.ratio for change in details.changes), default=0.0)
    if largest == 0:
        return "All of its changes are zero, as training starts: it was not trained, or another checkpoint was saved."
    if largest < TINY_RATIO:
        return (
            f"Its largest change is {largest:.1e} of the weight it changes: too few steps, too small a learning rate "
            "or alpha."
        )
    return "Its changes are not zero, but they do not show on this prompt: try one like those it was trained on."


_SCORING = Sampling(max_tokens=0, temperature=0, logprobs=NUM_TOP)


def _greedy(sampling: Sampling) -> Sampling:
    return Sampling(max_tokens=sampling.max_tokens, temperature=0, stop=sampling.stop, logprobs=NUM_TOP)


def _mean(values: Iterator[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None


class _Greedy:
    """One greedy answer as it comes: its tokens, the last one its end token, or None where it was cut."""

    def __init__(self) -> None:
        self.tokens: list[TokenLogprob | None] = []
        self.over = False

    def add(self, event: object) -> None:
        if isinstance(event, Delta):
            self.tokens += event.logprobs
        elif isinstance(event, Finish):
            self.tokens.append(event.end)
            self.over = True

    def ends_at(self, place: int) -> bool:
        return self.over and place == len(self.tokens) - 1


def _parted(left: _Greedy, right: _Greedy) -> Parting | None:
    """None while both say the same and may go on."""
    text = ""
    for place, (one, other) in enumerate(zip(left.tokens, right.tokens, strict=False)):
        if one is None or other is None:
            return Parting(place, text, False, one, other)
        ends = left.ends_at(place), right.ends_at(place)
        if one.known_id != other.known_id or ends[0] != ends[1]:
            return Parting(place, text, True, one, other)
        if all(ends):
            return Parting(place, text, False, one, other)
        text += one.piece
    return None


def _scores(said: Said, own: Echo | None, other: Echo | None) -> AnswerScores:
    """The tokens that wrote the answer's text: not its thinking, nor a stop string's tokens after it."""
    assert own is not None
    assert other is not None
    tokens: list[TokenScores] = []
    num_left = len(said.text)
    thought = said.thought or (False,) * len(said.token_ids)
    for one, theirs, is_thinking in zip(own.logprobs, other.logprobs, thought, strict=True):
        if is_thinking:
            continue
        assert one is not None
        assert theirs is not None
        piece = one.piece[:num_left]
        num_left -= len(piece)
        if num_left or piece:
            tokens.append(TokenScores(piece, one, theirs))
    return AnswerScores(tuple(tokens))
