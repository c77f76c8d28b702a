"""What a figure is: two programs in the same rounds, and the ratio of what they did.

Knows numbers, medians and JSON; nothing of how anything is measured or drawn.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Rounds = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One of a figure's ratios: what is asked for, what both sides did round by round, in the figure's unit. A case
    without a `goal` is shown for what it is."""

    name: str
    ours: Sequence[float]
    theirs: Sequence[float]
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: what slows both down in one round leaves it alone."""
        return statistics.median(own / other for own, other in zip(self.ours, self.theirs, strict=True))


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table. `more` says that more is better; `missing` is why there are no cases."""

    name: str
    unit: str
    ours: str
    theirs: str
    more: bool
    cases: tuple[Case, ...] = ()
    missing: str = ""

    def reach(self, case: Case) -> float | None:
        """How far the goal is reached: 1 is just reached, more is better."""
        if case.goal is None:
            return None
        return case.ratio / case.goal if self.more else case.goal / case.ratio


@dataclass(frozen=True, slots=True)
class Found:
    """All that one run found: by which command, on which machine, what was asked and how often. `models` says how
    many million parameters each has."""

    command: str
    machine: Mapping[str, Any]
    asked: Mapping[str, int]
    models: Mapping[str, float]
    figures: tuple[Figure, ...]

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Found:
        told = json.loads(file.read_text())
        figures = [{**one, "cases": tuple(Case(**case) for case in one["cases"])} for one in told["figures"]]
        return cls(
            told["command"], told["machine"], told["asked"], told["models"], tuple(Figure(**one) for one in figures)
        )


def play(runs: Mapping[str, Callable[[int], float]], num_rounds: int) -> Rounds:
    """Runs each in every round, forth and back; each is given the round's number. A first round warms up and does not
    count."""
    found: Rounds = {name: [] for name in runs}
    for number in range(num_rounds + 1):
        for name in list(runs)[:: 1 if number % 2 else -1]:
            value = runs[name](number)
            if number:
                found[name].append(value)
    return found
