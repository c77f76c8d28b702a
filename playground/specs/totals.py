"""Scores summed up: each measure over all cases, the difference of two models, and how far to trust it.

Knows scores alone. Draws from a generator of its own with a fixed seed, so that the same scores give the same figures
wherever they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from playground.specs.scoring import Score

NUM_RESAMPLES = 10_000
SEED = 20_250_101
MAX_DRAWN = 1_000_000
"""So many cases are drawn at once, whatever their number: 12 MB."""
FEWEST_DIFFERING = 6
"""With fewer cases that differ, all the same way, a fair coin does as much more than once in twenty: 2 / 2^5 > 0.05."""
_Z = NormalDist().inv_cdf(0.975)

Vote = Literal["left", "right", "tie", "both_bad"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95% interval, in the value's unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure's mean over `num_cases` cases, 0 to 1 a side; `difference` is right − left, None where there is one
    side or where one case is all. `reading` says it in words, for a person who knows no statistics."""

    name: str
    label: str
    left: float
    right: float | None
    num_cases: int
    difference: Interval | None
    reading: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """A measure: what of a score it takes, and how it is put into words."""

    name: str
    label: str
    worth: Callable[[Score], float | None]
    alone: str
    apart: str
    alike: str
    words: tuple[str, str] = ("more", "fewer")


_KINDS = (
    _Kind(
        "pass",
        "Cases passed",
        lambda score: float(score.passed),
        "{one} passes {share} of {cases}",
        "{right} passes {points} points {more} cases than {left}",
        "{right} passes as many cases as {left}",
    ),
    _Kind(
        "exact",
        "Expected answer met",
        lambda score: None if score.exact is None else float(score.exact),
        "{one} meets the expected answer in {share} of {cases}",
        "{right} meets the expected answer in {points} points {more} cases than {left}",
        "{right} meets the expected answer in as many cases as {left}",
    ),
    _Kind(
        "fields",
        "JSON fields right",
        lambda score: score.fields,
        "{one} gets {share} of the JSON fields right, over {cases}",
        "{right} gets {points} points {more} of the JSON fields right than {left}",
        "{right} gets as many of the JSON fields right as {left}",
    ),
    _Kind(
        "f1",
        "Words in common (F1)",
        lambda score: score.f1,
        "{one} has a word F1 of {share} with the expected answer, over {cases}",
        "{right} has a word F1 that is {points} points {more} than that of {left}",
        "{right} has the same word F1 as {left}",
        ("higher", "lower"),
    ),
)


def change(left: Score, right: Score) -> Literal["improved", "regressed", "same"]:
    """What the right model does to a case, by passing."""
    if left.passed == right.passed:
        return "same"
    return "improved" if right.passed else "regressed"


def totals(lefts: Sequence[Score], rights: Sequence[Score] | None, names: tuple[str, ...]) -> tuple[Measure, ...]:
    """Each measure that some case has, over the cases that have it on both sides; `names` are the models', left first.

    `rights` are the scores of the same cases in the same order, or None for one model alone; raises ValueError where
    their number differs.
    """
    if rights is None:
        found = [(kind, [worth for score in lefts if (worth := kind.worth(score)) is not None]) for kind in _KINDS]
        return tuple(_alone(kind, worths, names[0]) for kind, worths in found if worths)
    pairs = [(kind, _pairs(kind, lefts, rights)) for kind in _KINDS]
    return tuple(_compared(kind, both, names) for kind, both in pairs if both)


def wilson(num_good: int, num_all: int) -> Interval:
    """A share with its 95% Wilson score interval (Wilson, 1927, JASA 22:209-212); of nothing, 0 within 0 to 1.

    Raises ValueError where `num_good` is not from 0 to `num_all`.
    """
    return _wilson(num_good, num_all)


def win_rate(votes: Sequence[Vote]) -> Interval | None:
    """The right side's share of the votes that took a side, a tie counted as half a win, with its Wilson interval;
    votes that both are bad do not count. None where none counts."""
    num_wins, num_ties = votes.count("right"), votes.count("tie")
    num_all = num_wins + num_ties + votes.count("left")
    return _wilson(num_wins + num_ties / 2, num_all) if num_all else None


def _wilson(good: float, num_all: int) -> Interval:
    if not 0 <= good <= num_all:
        raise ValueError(f"num_good: {good} is not from 0 to {num_all}, the number of all")
    if not num_all:
        return Interval(0.0, 0.0, 1.0)
    share, square = good / num_all, _Z**2 / num_all
    center = (share + square / 2) / (1 + square)
    half = (share * (1 - share) * square + square**2 / 4) ** 0.5 / (1 + square)
    return Interval(share, max(0.0, center - half), min(1.0, center + half))


def bootstrap(differences: Sequence[float]) -> Interval:
    """The mean of at least one difference with the 95% percentile interval of its bootstrap: 2.5% of the means of
    resampled cases lie below it and 2.5% above (Efron and Tibshirani, 1993, chapter 13)."""
    values = np.asarray(differences, dtype=np.float64)
    generator = np.random.default_rng(SEED)
    num_rows = max(1, MAX_DRAWN // len(values))
    means: list[NDArray[np.float64]] = []
    for start in range(0, NUM_RESAMPLES, num_rows):
        size = (min(num_rows, NUM_RESAMPLES - start), len(values))
        means.append(values[generator.integers(len(values), size=size, dtype=np.int32)].mean(axis=1))
    # Rounded, so that differences that cancel out come to zero, and equal ones to themselves.
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975)).round(12)
    return Interval(round(float(values.mean()), 12), float(low), float(high))


def _pairs(kind: _Kind, lefts: Sequence[Score], rights: Sequence[Score]) -> list[tuple[float, float]]:
    both = [(kind.worth(left), kind.worth(right)) for left, right in zip(lefts, rights, strict=True)]
    return [(left, right) for left, right in both if left is not None and right is not None]


def _alone(kind: _Kind, worths: Sequence[float], name: str) -> Measure:
    mean = fmean(worths)
    reading = kind.alone.format(one=name, share=f"{mean:.1%}", cases=_cases(len(worths))) + "."
    return Measure(kind.name, kind.label, mean, None, len(worths), None, reading)


def _compared(kind: _Kind, pairs: Sequence[tuple[float, float]], names: tuple[str, ...]) -> Measure:
    left, right = fmean(left for left, _ in pairs), fmean(right for _, right in pairs)
    differences = [right - left for left, right in pairs]
    interval = bootstrap(differences)
    reading = f"{_told(kind, interval, names)}{_trust(interval, differences)}"
    shown = interval if len(pairs) > 1 else None
    return Measure(kind.name, kind.label, left, right, len(pairs), shown, reading)


def _told(kind: _Kind, interval: Interval, names: tuple[str, ...]) -> str:
    left, right = names
    if interval.value == 0:
        return kind.alike.format(left=left, right=right)
    points, more = f"{abs(interval.value) * 100:.1f}", kind.words[interval.value < 0]
    return kind.apart.format(left=left, right=right, points=points, more=more)


def _trust(interval: Interval, differences: Sequence[float]) -> str:
    """How far the difference can be trusted, in words."""
    num_cases = len(differences)
    if num_cases < 2:
        return ": one case is too few to tell how sure that is."
    if interval.low == interval.high:
        alike = "no case differs" if interval.value == 0 else "all cases differ by the same"
        return f": {alike}, and from {_cases(num_cases)} alone the bootstrap cannot tell how others would differ."
    low, high = (-interval.high, -interval.low) if interval.value < 0 else (interval.low, interval.high)
    told = f" (95% interval {_points(low)} to {_points(high)}): "
    if low <= 0 <= high:
        return f"{told}the interval includes zero: with {_cases(num_cases)} a difference this small may be luck."
    num_differing = sum(difference != 0 for difference in differences)
    if num_differing < FEWEST_DIFFERING:
        return f"{told}but only {num_differing} of {_cases(num_cases)} differ, too few to rule luck out."
    return f"{told}more than chance would give."


def _points(share: float) -> str:
    return f"{round(share * 100, 1) + 0.0:.1f}"


def _cases(num_cases: int) -> str:
    return "1 case" if num_cases == 1 else f"{num_cases:,} cases"
