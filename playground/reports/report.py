"""What an evaluation found: each case on both sides, what changed, and the totals. Plain values, whole or so far.

Knows specs and what is kept; refuses to know files, formats and pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from playground.history.evaluations import CaseAnswer, Evaluation, Place
from playground.history.records import Choice, KeptAnswer
from playground.specs import Case, Interval, Measure, Score, Spec, change, totals, win_rate

Change = Literal["improved", "regressed", "same"]


@dataclass(frozen=True, slots=True)
class SideTotals:
    """One model over the cases that it has answered. Times are medians in milliseconds, measured in the batch;
    None where nothing was measured. `num_cut` answers reached the limit of new tokens; `num_failed` never came."""

    model: str
    num_answers: int
    num_passed: int
    num_cut: int
    num_failed: int
    first_token_ms: float | None
    total_ms: float | None
    num_prompt_tokens: int
    num_completion_tokens: int


@dataclass(frozen=True, slots=True)
class CaseReport:
    """A case with each side's answer and score, None where there is none yet. `change` is there for two answers."""

    number: int
    case: Case
    answers: tuple[KeptAnswer | None, ...]
    scores: tuple[Score | None, ...]
    change: Change | None
    vote: Choice | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `measures` compare the sides over the cases that both have answered; `votes` is the right side's
    win rate among the blind votes, None where there is none."""

    evaluation: Evaluation
    spec: Spec
    sides: tuple[SideTotals, ...]
    measures: tuple[Measure, ...]
    changes: dict[Change, int]
    cases: tuple[CaseReport, ...]
    num_votes: int
    votes: Interval | None


def report_of(
    evaluation: Evaluation, spec: Spec, kept: Sequence[CaseAnswer], votes: Mapping[int, Choice], names: Sequence[str]
) -> Report:
    """The report on what is kept of an evaluation so far. `names` are the models' for sentences."""
    cases = cases_of(evaluation, spec, kept, votes, range(len(spec.cases)))
    whole = [scores for case in cases if None not in (scores := case.scores)]
    num_sides = len(evaluation.models)
    columns = [[score for scores in whole if (score := scores[side]) is not None] for side in range(num_sides)]
    return Report(
        evaluation,
        spec,
        tuple(_side(model, cases, side) for side, model in enumerate(evaluation.models)),
        totals(columns[0], columns[1] if num_sides == 2 else None, tuple(names)),
        _changes(cases),
        cases,
        len(votes),
        win_rate(list(votes.values())),
    )


def cases_of(
    evaluation: Evaluation,
    spec: Spec,
    kept: Sequence[CaseAnswer],
    votes: Mapping[int, Choice],
    numbers: Iterable[int],
) -> tuple[CaseReport, ...]:
    """The cases of some numbers, with what is kept of their answers."""
    by_place = {one.place: one for one in kept}
    sides = range(len(evaluation.models))
    return tuple(
        _case(number, spec.cases[number], [by_place.get(Place(number, side)) for side in sides], votes.get(number))
        for number in numbers
    )


def _case(number: int, case: Case, kept: Sequence[CaseAnswer | None], vote: Choice | None) -> CaseReport:
    answers = tuple(one.answer if one else None for one in kept)
    scores = tuple(one.score if one else None for one in kept)
    changed: Change | None = None
    if len(scores) == 2 and scores[0] is not None and scores[1] is not None:
        changed = change(scores[0], scores[1])
    return CaseReport(number, case, answers, scores, changed, vote)


def _side(model: str, cases: Sequence[CaseReport], side: int) -> SideTotals:
    answers = [answer for case in cases if (answer := case.answers[side]) is not None]
    scores = [score for case in cases if (score := case.scores[side]) is not None]
    finishes = [answer.finish for answer in answers if answer.finish is not None]
    firsts = [f.timing.first_token_ms for f in finishes if f.timing.first_token_ms is not None]
    return SideTotals(
        model,
        num_answers=len(answers),
        num_passed=sum(score.passed for score in scores),
        num_cut=sum(finish.reason == "length" for finish in finishes),
        num_failed=sum(answer.state == "failed" for answer in answers),
        first_token_ms=median(firsts) if firsts else None,
        total_ms=median(finish.timing.total_ms for finish in finishes) if finishes else None,
        num_prompt_tokens=sum(finish.usage.num_prompt_tokens for finish in finishes),
        num_completion_tokens=sum(finish.usage.num_completion_tokens for finish in finishes),
    )


def _changes(cases: Sequence[CaseReport]) -> dict[Change, int]:
    counted = Counter(case.change for case in cases if case.change is not None)
    kinds: tuple[Change, ...] = ("improved", "regressed", "same")
    return {kind: counted[kind] for kind in kinds}
