"""What can be shown of an answer besides its text: what was sent, what answered, where a fine-tune's change lies.

Plain values that engines fill in. Knows no library and nothing of how they are found or drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NUM_BEST = 20
"""So many of the likeliest first tokens of an answer are kept as the print of the model that gave it."""
SAME_LOGPROB = 1e-4
"""Two prints closer than this in every log-probability are of one model: rounding stays below, training above."""

First = tuple[tuple[int, float], ...]
"""The `NUM_BEST` likeliest tokens after a prompt, best first, as (token id, natural log-probability)."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt. `text` is the token read by itself; `special` ones are the template's own."""

    id: int
    text: str
    special: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a model is really given. `text` is the template's, None where token ids were sent; `thinking` says that
    the answer begins inside the model's thinking; `tokenizer_hash` tells tokenizers apart."""

    text: str | None
    tokens: tuple[PromptToken, ...]
    thinking: bool
    tokenizer_hash: str

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token.id for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Proof:
    """What gave an answer. `base_hash` is over all of the base's tensors as they were loaded, None until it was
    taken; `adapter_hash` is over the adapter's file as it was read; hashes are SHA-256 in hex. `first` is the print
    that this very answer's own logits left. `dtype` is what most of the base's weights are kept in, such as bfloat16
    or int8, None where an older answer does not tell."""

    base: str
    revision: str | None
    base_hash: str | None
    tokenizer_hash: str
    adapter: str | None
    adapter_hash: str | None
    strength: float
    first: First
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """How much an adapter changes one weight matrix: Frobenius norms of the change at strength 1 and of the weight.
    `layer` is None outside the numbered layers."""

    module: str
    layer: int | None
    kind: str
    change: float
    weight: float

    @property
    def ratio(self) -> float:
        """The change as a share of the weight."""
        return self.change / self.weight if self.weight else 0.0


@dataclass(frozen=True, slots=True)
class AdapterDetails:
    """A fine-tune's adapter as its file says it. `ranks` and `alphas` are all that occur, in rising order;
    `trained_on` is the base that its configuration names; `scalable` is None, or why its strength is fixed."""

    folder: str
    hash: str
    kind: str
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    targets: tuple[str, ...]
    num_parameters: int
    num_bytes: int
    trained_on: str | None
    trained_on_revision: str | None
    scalable: str | None
    changes: tuple[ModuleChange, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check of a proof and what came of it, in a sentence. `ok` is None where it could not be told."""

    check: Literal["base", "adapter", "side"]
    ok: bool | None
    finding: str


@dataclass(frozen=True, slots=True)
class Fidelity:
    """An adapter by row against a way to merge it: the largest difference of any logit at any token of a prompt, and
    after how many greedy tokens the answers part; None where `num_tokens` were the same."""

    way: str
    max_difference: float
    parts_after: int | None
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A merge as it lies in `folder`: the bytes of its files, and how near it is to the adapter by row, with no figures
    where rows cannot carry that adapter."""

    folder: str
    num_bytes: int
    fidelity: tuple[Fidelity, ...]


def same_first(one: First, other: First) -> bool:
    """Whether two prints are of one model: nearly equal log-probabilities for each token."""
    other_of = dict(other)
    return 0 < len(one) == len(other) and all(
        token_id in other_of and abs(other_of[token_id] - logprob) < SAME_LOGPROB for token_id, logprob in one
    )
