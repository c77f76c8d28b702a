"""The difference of two answers as the page shows it, under one sentence that sums it up.

Knows answers and what insight tells of them; refuses to know components.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from playground.insight import Segment, difference, is_json, json_difference
from playground.ui.streaming import LiveAnswer, View

NO_DIFFERENCE: View = {"summary": "", "flag": "", "segments": [], "fields": [], "names": []}


async def differing(answers: Sequence[LiveAnswer], sides: Sequence[str]) -> View:
    """What to show below two finished answers; nothing where one is missing or was cut."""
    if len(answers) < 2 or any(answer.state != "done" for answer in answers):
        return NO_DIFFERENCE
    left, right = (answer.text.strip() for answer in answers)
    names = [f"{side} · {answer.model}" for side, answer in zip(sides, answers, strict=True)]
    return {**await asyncio.to_thread(difference_view, left, right), "names": names}


def difference_view(left: str, right: str) -> View:
    """The difference of two answers under one sentence that sums it up."""
    if left == right:
        return {**NO_DIFFERENCE, "summary": "None: both answers are the same, character for character."}
    fields = json_difference(left, right)
    if fields is not None:
        num_differing = sum(field.kind != "same" for field in fields)
        summary = f"{num_differing} of {_count(len(fields), 'field')} differ."
        return {**NO_DIFFERENCE, "summary": summary, "fields": [asdict(field) for field in fields]}
    segments = difference(left, right)
    return {
        **NO_DIFFERENCE,
        "summary": _summary(left, right, segments),
        "segments": [asdict(segment) for segment in segments],
    }


def _summary(left: str, right: str, segments: Sequence[Segment]) -> str:
    if is_json(left) != is_json(right):
        return f"Only the {'left' if is_json(left) else 'right'} answer is JSON."
    if not any(segment.kind == "same" for segment in segments):
        return "Nothing in common: no sentence or line appears in both answers."
    if all(segment.kind == "same" for segment in segments):
        return "White space alone."
    return "Marked − is only in the left answer, marked + only in the right one."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
