"""Runs that are kept, made again, and what came of it beside what was kept.

Knows the service and the history; refuses to know how it is shown.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from playground.errors import PlaygroundError
from playground.history.records import KeptAnswer
from playground.history.replaying import Replay, replay
from playground.history.runs import Run
from playground.service import Fold, Playground
from playground.types import Caller, Finish, GenerationRequest


async def again(playground: Playground, run: Run, caller: Caller) -> list[tuple[KeptAnswer, Replay]]:
    """Each side of a run asked once more, with the seed that it was drawn by; a side that fails says why."""
    requests = [_seeded(request, answer) for request, answer in zip(run.requests, run.answers, strict=True)]
    folds = [Fold() for _ in requests]
    answers: dict[int, KeptAnswer] = {}
    async with aclosing(playground.stream_all(requests, caller)) as items:
        async for index, item in items:
            if isinstance(item, PlaygroundError):
                answers[index] = KeptAnswer("failed", error=item.message)
                continue
            folds[index].add(item)
            if isinstance(item, Finish):
                answers[index] = KeptAnswer.of(folds[index].answer())
    return [(answers[i], replay(before, answers[i])) for i, before in enumerate(run.answers)]


def _seeded(request: GenerationRequest, answer: KeptAnswer) -> GenerationRequest:
    seed = answer.finish.seed if answer.finish else request.sampling.seed
    return request.drawn_by(replace(request.sampling, seed=seed))
