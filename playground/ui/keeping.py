"""Runs of the page into the history, beside whoever waits for their answers.

Knows live answers and the history; a run that cannot be kept says so and loses nothing that is on the page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from playground.errors import InternalError, PlaygroundError
from playground.history.records import KeptAnswer, owner_of
from playground.history.runs import Kind
from playground.types import Caller, GenerationRequest
from playground.ui.streaming import LiveAnswer

if TYPE_CHECKING:
    from playground.service import Playground

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a run: its id where it is kept, an error where it should have been and is not."""

    run_id: str | None = None
    error: PlaygroundError | None = None


def keep(
    playground: Playground,
    caller: Caller,
    kind: Kind,
    requests: Sequence[GenerationRequest],
    answers: Sequence[LiveAnswer],
) -> asyncio.Future[Kept]:
    """Begins to keep a run as it stands now. It is kept too where nobody awaits this, because the browser has gone."""
    asked, answered = tuple(requests), tuple(map(_kept, answers))

    def add() -> Kept:
        try:
            return Kept(playground.history.runs.add(owner_of(caller), kind, asked, answered))
        except PlaygroundError as error:
            log.error("a run could not be kept: %s", error.message)
            return Kept(error=InternalError(f"This run was not kept in the history: {error.message}"))

    return asyncio.get_running_loop().run_in_executor(None, add)


def _kept(answer: LiveAnswer) -> KeptAnswer:
    state = {"done": "done", "failed": "failed"}.get(answer.state, "stopped")
    return KeptAnswer(
        state,  # type: ignore[arg-type]
        answer.text,
        answer.thinking,
        tuple(answer.token_ids),
        tuple(answer.thought),
        answer.finish,
        answer.error.message if answer.error else "",
    )
