"""Blind votes counted: how often each of two models won, over all votes on the pair.

Knows votes; the arithmetic of intervals is the specs' affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from playground.history.records import Choice
from playground.history.votes import Vote
from playground.specs import Interval, win_rate

_MIRRORED: dict[Choice, Choice] = {"left": "right", "right": "left"}


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes on a pair of models; `win_rate` is the second one's, None where no vote tells."""

    models: tuple[str, str]
    counts: Counter[Choice]
    win_rate: Interval | None


def tallies(votes: Iterable[Vote]) -> list[Tally]:
    """A tally a pair, whichever side each model was on; the pair with the most votes first."""
    choices: dict[tuple[str, str], list[Choice]] = {}
    for vote in votes:
        left, right = vote.pair.models
        if (right, left) in choices:
            choices[right, left].append(_MIRRORED.get(vote.choice, vote.choice))
        else:
            choices.setdefault((left, right), []).append(vote.choice)
    found = [Tally(models, Counter(chosen), win_rate(chosen)) for models, chosen in choices.items()]
    return sorted(found, key=lambda tally: -tally.counts.total())
