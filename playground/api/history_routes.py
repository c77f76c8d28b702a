"""What is kept of the page's runs and votes: looked through, run again, written out, deleted.

Knows the service's history and these routes' format, whose replies are wrapped in `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from playground import recalling
from playground.api.calling import CurrentCaller
from playground.api.documenting import LISTING, QUESTION, RUNNING, Responses, answered, documented, missing
from playground.api.fields import KEPT_ID, Body
from playground.api.json_bodies import JsonRoute
from playground.api.sse import unless_gone
from playground.history import History
from playground.history.exports import (
    answer_record,
    preferences,
    run_lines,
    run_record,
    run_table,
    vote_lines,
    vote_table,
)
from playground.history.records import Choice, RecordNotFound, owner_of
from playground.history.runs import MAX_LISTED, Run
from playground.history.tallies import Tally, tallies
from playground.service import Playground

RunId = Annotated[str, Path(pattern=KEPT_ID, description="As the list gives it.")]
Export = Literal["runs.jsonl", "runs.csv", "votes.jsonl", "votes.csv", "preferences.jsonl"]


class KeepingBody(Body):
    """Whether the caller's runs are to be kept from now on."""

    kept: bool


class Keeping(BaseModel):
    """Whether the caller's runs are kept, and whether they could be: not where nobody signs in, nor where this server
    keeps none."""

    kept: bool
    possible: bool


class KeepingReply(BaseModel):
    """The wrapped state."""

    data: Keeping


class KeptSide(BaseModel):
    """What one model was asked, and what it answered. Values that were not measured are null."""

    model: str
    messages: list[dict[str, str]]
    strength: float
    thinking: bool
    sampling: dict[str, Any]
    answer: dict[str, Any]


class KeptRun(BaseModel):
    """A run of the page; `vote` is the blind vote on it, by side."""

    id: str
    asked_at: str
    kind: Literal["compare", "single"]
    sides: list[KeptSide]
    vote: Choice | None


class KeptRunReply(BaseModel):
    """The wrapped run."""

    data: KeptRun


class KeptRunsReply(BaseModel):
    """The wrapped runs, the latest first; `next` is what `before` must be for those that follow, null at the end."""

    data: list[KeptRun]
    next: int | None


class Again(BaseModel):
    """One side run again. `changed` names the weights and files that are not what they were."""

    same: bool
    changed: list[str]
    reading: str
    answer: dict[str, Any]


class AgainReply(BaseModel):
    """The wrapped sides, in the run's order."""

    data: list[Again]


class Deleted(BaseModel):
    """How many runs were deleted."""

    deleted: int


class DeletedReply(BaseModel):
    """The wrapped number."""

    data: Deleted


class PairTally(BaseModel):
    """The blind votes on two models. `win_rate` is the second one's, between 0 and 1: its wins and half of the ties,
    of all but the votes for neither; null where there are only such. `low` and `high` bound it with 95% confidence."""

    models: list[str]
    left: int
    right: int
    tie: int
    both_bad: int
    win_rate: float | None
    low: float | None
    high: float | None


class TalliesReply(BaseModel):
    """The wrapped tallies, a pair of models each."""

    data: list[PairTally]


_WRITERS: dict[Export, tuple[str, Callable[[History, str], Iterator[str]]]] = {
    "runs.jsonl": ("application/jsonl", lambda history, owner: run_lines(history.runs.all(owner))),
    "runs.csv": ("text/csv", lambda history, owner: run_table(history.runs.all(owner))),
    "votes.jsonl": ("application/jsonl", lambda history, owner: vote_lines(history.votes.all(owner))),
    "votes.csv": ("text/csv", lambda history, owner: vote_table(history.votes.all(owner))),
    "preferences.jsonl": ("application/jsonl", lambda history, owner: preferences(history.votes.all(owner))),
}
_SIDE = KeptSide(
    model="playground/shop-demo",
    messages=QUESTION,
    strength=1.0,
    thinking=False,
    sampling={"temperature": 0.7, "max_tokens": 1024, "seed": 48213},
    answer={"state": "done", "content": "Your parcel is on its way.", "finish_reason": "stop"},
)
_RUN = KeptRun(id="0f" * 16, asked_at="2026-11-27T09:30:00.000Z", kind="single", sides=[_SIDE], vote=None)
_AGAIN = Again(same=True, changed=[], reading="The same 7 tokens.", answer=_SIDE.answer)
_TALLY = PairTally(
    models=["playground/shop-demo", "playground/shop-json"],
    left=1,
    right=7,
    tie=2,
    both_bad=0,
    win_rate=0.8,
    low=0.49,
    high=0.94,
)
_GONE = missing(RecordNotFound(f"run: there is none {_RUN.id!r} of yours", param="run"))
_FILE: Responses = {
    200: {
        "description": "The file.",
        "content": {"application/jsonl": {"schema": {"type": "string"}, "example": "{}\n"}},
    }
}


def history_router(playground: Playground) -> APIRouter:
    """`runs`, `history`, `votes` and `export` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground", tags=["History"], route_class=JsonRoute)
    history = playground.history

    @router.get("/history", responses={**LISTING, **answered(KeepingReply(data=Keeping(kept=True, possible=True)))})
    def show_keeping(caller: CurrentCaller) -> KeepingReply:
        """Whether the caller's runs are kept."""
        owner = owner_of(caller)
        return KeepingReply(data=Keeping(kept=history.runs.is_kept(owner), possible=history.runs.may_keep(owner)))

    @router.put(
        "/history",
        responses={
            **documented(400, 413),
            **LISTING,
            **answered(KeepingReply(data=Keeping(kept=False, possible=True))),
        },
    )
    def set_keeping(body: KeepingBody, caller: CurrentCaller) -> KeepingReply:
        """Keeps the caller's runs from now on, or no longer. What is kept stays until it is deleted."""
        history.runs.keep(owner_of(caller), body.kept)
        return show_keeping(caller)

    @router.get("/runs", responses={**documented(400), **LISTING, **answered(KeptRunsReply(data=[_RUN], next=None))})
    def search_runs(
        caller: CurrentCaller,
        search: Annotated[str, Query(max_length=1000, description="Words that all stand in it.")] = "",
        before: Annotated[int | None, Query(ge=1, lt=2**63, description="`next` of the reply before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
    ) -> KeptRunsReply:
        """The caller's runs, the latest first."""
        runs = history.runs.search(owner_of(caller), search, before, limit)
        following = runs[-1].number if len(runs) == limit else None
        return KeptRunsReply(data=[_told(run) for run in runs], next=following)

    @router.delete("/runs", responses={**LISTING, **answered(DeletedReply(data=Deleted(deleted=12)))})
    def delete_runs(caller: CurrentCaller) -> DeletedReply:
        """Deletes all of the caller's runs, with the votes on them."""
        return DeletedReply(data=Deleted(deleted=history.runs.delete_all(owner_of(caller))))

    @router.get(
        "/runs/{run_id}", responses={**documented(400), **_GONE, **LISTING, **answered(KeptRunReply(data=_RUN))}
    )
    def show_run(run_id: RunId, caller: CurrentCaller) -> KeptRunReply:
        """One run."""
        return KeptRunReply(data=_told(history.runs.run(owner_of(caller), run_id)))

    @router.delete(
        "/runs/{run_id}",
        responses={**documented(400), **_GONE, **LISTING, **answered(DeletedReply(data=Deleted(deleted=1)))},
    )
    def delete_run(run_id: RunId, caller: CurrentCaller) -> DeletedReply:
        """Deletes a run, with the vote on it."""
        history.runs.delete(owner_of(caller), run_id)
        return DeletedReply(data=Deleted(deleted=1))

    @router.post("/runs/{run_id}/again", responses={**RUNNING, **answered(AgainReply(data=[_AGAIN]))})
    async def run_again(run_id: RunId, request: Request, caller: CurrentCaller) -> AgainReply:
        """Asks the same of the same models with the same seed, and says whether the same came."""
        run = await run_in_threadpool(history.runs.run, owner_of(caller), run_id)
        sides = await unless_gone(request, recalling.again(playground, run, caller))
        return AgainReply(
            data=[
                Again(same=one.same, changed=list(one.changed), reading=one.reading, answer=answer_record(answer))
                for answer, one in sides
            ]
        )

    @router.get("/votes", responses={**LISTING, **answered(TalliesReply(data=[_TALLY]))})
    def tally_votes(caller: CurrentCaller) -> TalliesReply:
        """The caller's blind votes, counted by the pair of models that they are on."""
        return TalliesReply(data=[_tallied(one) for one in tallies(history.votes.all(owner_of(caller)))])

    @router.get("/export/{what}", response_class=StreamingResponse, responses={**documented(400), **LISTING, **_FILE})
    def export(what: Export, caller: CurrentCaller) -> StreamingResponse:
        """All of the caller's runs or votes as a file. `preferences.jsonl` has the votes that have a winner as prompt,
        chosen and rejected, for training."""
        media_type, write = _WRITERS[what]
        # Written into the answer as it is read, so that a long history needs no memory.
        lines = write(history, owner_of(caller))
        return StreamingResponse(lines, media_type=f"{media_type}; charset=utf-8", headers=attached(what))

    return router


def attached(name: str) -> dict[str, str]:
    """Headers of a file that is to be saved under a name."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}


def _told(run: Run) -> KeptRun:
    return KeptRun.model_validate(run_record(run))


def _tallied(one: Tally) -> PairTally:
    rate = one.win_rate
    return PairTally(
        models=list(one.models),
        **{choice: one.counts[choice] for choice in get_args(Choice)},
        win_rate=rate.value if rate else None,
        low=rate.low if rate else None,
        high=rate.high if rate else None,
    )
