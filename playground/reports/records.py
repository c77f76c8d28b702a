"""A report as plain JSON values: the shapes that REST, the page and the written reports share.

Knows reports; refuses to know formats and who reads them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from playground.history.exports import answer_record
from playground.history.records import KeptAnswer
from playground.reports.report import CaseReport, Report
from playground.specs import Constraint, Interval, Measure, Score


def report_record(report: Report) -> dict[str, Any]:
    """All of a report."""
    evaluation = report.evaluation
    return {
        "id": evaluation.id,
        "name": report.spec.name,
        "description": report.spec.description,
        "file_name": evaluation.file_name,
        "started_at": evaluation.started_at,
        "state": evaluation.state,
        "problem": evaluation.problem or None,
        "models": list(evaluation.models),
        "sampling": {"temperature": 0, "max_tokens": evaluation.max_tokens},
        "constraints": constraint_records(report.spec.constraints),
        "totals": totals_record(report),
        "cases": [case_record(case) for case in report.cases],
    }


def totals_record(report: Report) -> dict[str, Any]:
    """What the cases come to."""
    return {
        "num_cases": len(report.cases),
        "sides": [asdict(side) for side in report.sides],
        "measures": [_measure(measure) for measure in report.measures],
        "changes": dict(report.changes),
        "num_votes": report.num_votes,
        "win_rate": _interval(report.votes),
    }


def case_record(case: CaseReport) -> dict[str, Any]:
    """A case and what came of it; an answer that is not there yet is null."""
    asked = case.case
    return {
        "number": case.number,
        "input": asked.input,
        "messages": [{"role": message.role, "content": message.content} for message in asked.messages],
        "expected": asked.expected,
        "assertions": [str(assertion) for assertion in asked.assertions],
        "answers": [_scored(a, s) for a, s in zip(case.answers, case.scores, strict=True)],
        "change": case.change,
        "vote": case.vote,
    }


def constraint_records(constraints: tuple[Constraint, ...]) -> list[dict[str, Any]]:
    """The spec's constraints, and how each is checked."""
    return [{"text": one.text, "enforced": one.enforced, "reading": one.reading} for one in constraints]


def _scored(answer: KeptAnswer | None, score: Score | None) -> dict[str, Any] | None:
    if answer is None or score is None:
        return None
    return {**answer_record(answer), **asdict(score), "failures": list(score.failures)}


def _measure(measure: Measure) -> dict[str, Any]:
    return {**asdict(measure), "difference": _interval(measure.difference)}


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return asdict(interval) if interval is not None else None
