"""Figures as one table in Markdown: ratios, goals, and the medians that they come from.

Knows how numbers are written; nothing of how they were found.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.figures import Case, Figure

HEAD = ("figure", "measured", "goal", "this program's side", "the other side")
BETWEEN, NONE = " · ", "–"


def table(figures: Sequence[Figure]) -> str:
    """A line for each figure; several cases stand beside one another in the order that the first cell names."""
    lines = [HEAD, ("---",) * len(HEAD), *map(_cells, figures)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def ratio(value: float) -> str:
    """A ratio in three digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def amount(value: float) -> str:
    """A measured amount in three digits or more."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def goal(figure: Figure, case: Case) -> str:
    """What is asked for, and in which direction."""
    return NONE if case.goal is None else f"{'≥' if figure.more else '≤'} {case.goal:g}"


def _cells(figure: Figure) -> tuple[str, ...]:
    cases = figure.cases
    if not cases:
        return figure.name, f"not measured: {figure.missing}".replace("|", "/"), NONE, NONE, NONE
    names = f" ({BETWEEN.join(case.name for case in cases)})" if len(cases) > 1 else ""
    return (
        figure.name + names,
        BETWEEN.join(ratio(case.ratio) for case in cases),
        BETWEEN.join(goal(figure, case) for case in cases),
        f"{figure.ours}: {_medians([case.ours for case in cases])} {figure.unit}",
        f"{figure.theirs}: {_medians([case.theirs for case in cases])} {figure.unit}",
    )


def _medians(rounds: Sequence[Sequence[float]]) -> str:
    return BETWEEN.join(amount(statistics.median(values)) for values in rounds)
