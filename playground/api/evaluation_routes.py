"""Evaluations over REST: begun from a spec, watched, halted, resumed, voted on blind, reported.

Knows the evaluator, what is kept, and these routes' format, whose replies are wrapped in `data`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from playground.api.calling import CurrentCaller
from playground.api.documenting import LISTING, answered, asked, documented, missing
from playground.api.evaluation_bodies import (
    BEGIN,
    CASES,
    CHECK,
    CHECKED,
    MEDIA_TYPES,
    PAIR,
    REPORT,
    REVEALED,
    STATE,
    TOTALS,
    BlindPair,
    BlindPairReply,
    Cases,
    CasesReply,
    CheckedSpec,
    CheckedSpecReply,
    EvaluationBody,
    EvaluationReply,
    EvaluationsReply,
    EvaluationState,
    Gone,
    GoneReply,
    ReadConstraint,
    Revealed,
    RevealedReply,
    SpecBody,
    TotalsReply,
    VoteBody,
)
from playground.api.fields import KEPT_ID
from playground.api.history_routes import attached
from playground.api.json_bodies import JsonRoute
from playground.evaluator import Evaluator, default_models, spec_of
from playground.history.evaluations import Evaluation
from playground.history.records import RecordNotFound
from playground.reports import Format, case_record, constraint_records, totals_record, written
from playground.service import Playground
from playground.types import Caller
from playground.voting import blind_order, side_of

EvaluationId = Annotated[str, Path(pattern=KEPT_ID, description="As the list gives it.")]
CaseNumber = Annotated[int, Path(ge=0, lt=100_000, description="From 0, in the spec's order.")]

CHECKING = {**documented(400, 413), **LISTING}
_NONE = RecordNotFound(f"evaluation: there is none {STATE.id!r} of yours", param="evaluation")
FINDING = {**documented(400), **missing(_NONE), **LISTING}
BEGINNING = {**LISTING, **documented(400, 404, 413, 429, 501, 503)}


def evaluation_router(playground: Playground, evaluator: Evaluator) -> APIRouter:
    """`evaluations` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground/evaluations", tags=["Evaluations"], route_class=JsonRoute)
    _add_beginning(router, playground, evaluator)
    _add_going_on(router, evaluator)
    _add_findings(router, evaluator)
    return router


def _add_beginning(router: APIRouter, playground: Playground, evaluator: Evaluator) -> None:
    @router.get("", responses={**LISTING, **answered(EvaluationsReply(data=[STATE]))})
    def list_evaluations(caller: CurrentCaller) -> EvaluationsReply:
        """The caller's evaluations. Where nobody signs in none are listed: there, whoever has an id may use it."""
        return EvaluationsReply(data=[_state(evaluator, one) for one in evaluator.list(caller)])

    @router.post("/check", responses={**CHECKING, **answered(CheckedSpecReply(data=CHECKED))}, openapi_extra=CHECK)
    def check_spec(body: SpecBody, caller: CurrentCaller) -> CheckedSpecReply:
        """Reads a spec without running it; a 400's message tells all of its problems, a line each."""
        spec = spec_of(body.spec, body.file_name)
        return CheckedSpecReply(
            data=CheckedSpec(
                name=spec.name,
                description=spec.description,
                num_cases=len(spec.cases),
                constraints=[ReadConstraint(**one) for one in constraint_records(spec.constraints)],
                models=list(default_models(spec, playground.models(caller))),
            )
        )

    @router.post("", responses={**BEGINNING, **answered(EvaluationReply(data=STATE))}, openapi_extra=BEGIN)
    def begin(body: EvaluationBody, caller: CurrentCaller) -> EvaluationReply:
        """Begins an evaluation, which goes on by itself: look at it again to see how far it is."""
        evaluation_id = evaluator.start(body.file_name, body.spec, body.models, caller, body.max_tokens)
        return _reply(evaluator, caller, evaluation_id)


def _add_going_on(router: APIRouter, evaluator: Evaluator) -> None:
    @router.get("/{evaluation_id}", responses={**FINDING, **answered(EvaluationReply(data=STATE))})
    def show(evaluation_id: EvaluationId, caller: CurrentCaller) -> EvaluationReply:
        """One evaluation, and how far it is."""
        return _reply(evaluator, caller, evaluation_id)

    @router.delete("/{evaluation_id}", responses={**FINDING, **answered(GoneReply(data=Gone(id=STATE.id)))})
    def delete(evaluation_id: EvaluationId, caller: CurrentCaller) -> GoneReply:
        """Ends it, if it runs, and deletes it with its answers and votes."""
        evaluator.delete(caller, evaluation_id)
        return GoneReply(data=Gone(id=evaluation_id))

    @router.post("/{evaluation_id}/pause", responses={**FINDING, **answered(EvaluationReply(data=STATE))})
    def pause(evaluation_id: EvaluationId, caller: CurrentCaller) -> EvaluationReply:
        """Halts it; what has been answered stays."""
        evaluator.halt(caller, evaluation_id, "paused")
        return _reply(evaluator, caller, evaluation_id)

    @router.post("/{evaluation_id}/stop", responses={**FINDING, **answered(EvaluationReply(data=STATE))})
    def stop(evaluation_id: EvaluationId, caller: CurrentCaller) -> EvaluationReply:
        """Ends it with what has been answered."""
        evaluator.halt(caller, evaluation_id, "stopped")
        return _reply(evaluator, caller, evaluation_id)

    @router.post(
        "/{evaluation_id}/resume", responses={**FINDING, **documented(429), **answered(EvaluationReply(data=STATE))}
    )
    def resume(evaluation_id: EvaluationId, caller: CurrentCaller) -> EvaluationReply:
        """Goes on where it was."""
        evaluator.resume(caller, evaluation_id)
        return _reply(evaluator, caller, evaluation_id)


def _add_findings(router: APIRouter, evaluator: Evaluator) -> None:
    @router.get("/{evaluation_id}/cases", responses={**FINDING, **answered(CasesReply(data=CASES))})
    def show_cases(
        evaluation_id: EvaluationId,
        caller: CurrentCaller,
        after: Annotated[int, Query(ge=0, lt=2**63, description="`last` of the reply before.")] = 0,
    ) -> CasesReply:
        """All cases; with `after` only those that have changed."""
        last, cases = evaluator.cases(caller, evaluation_id, after)
        return CasesReply(data=Cases(last=last, cases=[case_record(case) for case in cases]))

    @router.get("/{evaluation_id}/totals", responses={**FINDING, **answered(TotalsReply(data=TOTALS))})
    def show_totals(evaluation_id: EvaluationId, caller: CurrentCaller) -> TotalsReply:
        """What the answers come to so far: each side by the cases that it has answered, measures and changes by those
        that both have."""
        return TotalsReply(data=totals_record(evaluator.report(caller, evaluation_id)))

    @router.get("/{evaluation_id}/report", response_class=Response, responses={**FINDING, **REPORT})
    def show_report(
        evaluation_id: EvaluationId,
        caller: CurrentCaller,
        form: Annotated[Format, Query(alias="format", description="html is one file that needs no other.")] = "json",
    ) -> Response:
        """Everything as a file."""
        text = written(evaluator.report(caller, evaluation_id), form)
        headers = attached(f"evaluation-{evaluation_id[:8]}.{form}")
        return Response(text, media_type=MEDIA_TYPES[form], headers=headers)

    @router.get("/{evaluation_id}/cases/{number}/blind", responses={**FINDING, **answered(BlindPairReply(data=PAIR))})
    def show_pair(evaluation_id: EvaluationId, number: CaseNumber, caller: CurrentCaller) -> BlindPairReply:
        """A case's two answers without a word of whose they are."""
        pair = evaluator.pair(caller, evaluation_id, number)
        first, second = blind_order(evaluation_id, number)
        messages = [{"role": message.role, "content": message.content} for message in pair.messages]
        a, b = pair.texts[first], pair.texts[second]
        return BlindPairReply(data=BlindPair(number=number, messages=messages, a=a, b=b))

    @router.post(
        "/{evaluation_id}/cases/{number}/vote",
        responses={**FINDING, **documented(413), **answered(RevealedReply(data=REVEALED))},
        openapi_extra=asked(the_first_one_is_better={"choice": "a"}),
    )
    def vote(evaluation_id: EvaluationId, number: CaseNumber, body: VoteBody, caller: CurrentCaller) -> RevealedReply:
        """Votes on a blind pair, once, and tells whose the answers were."""
        order = blind_order(evaluation_id, number)
        models = evaluator.pair(caller, evaluation_id, number).models
        choice = side_of(body.choice, order)
        evaluator.vote(caller, evaluation_id, number, choice)
        return RevealedReply(data=Revealed(a=models[order[0]], b=models[order[1]], vote=choice))


def _reply(evaluator: Evaluator, caller: Caller, evaluation_id: str) -> EvaluationReply:
    return EvaluationReply(data=_state(evaluator, evaluator.evaluation(caller, evaluation_id)))


def _state(evaluator: Evaluator, evaluation: Evaluation) -> EvaluationState:
    standing = evaluator.standing(evaluation)
    return EvaluationState(
        id=evaluation.id,
        name=evaluation.name,
        file_name=evaluation.file_name,
        started_at=evaluation.started_at,
        models=list(evaluation.models),
        max_tokens=evaluation.max_tokens,
        state=standing.state,
        problem=standing.problem or None,
        num_cases=evaluation.num_cases,
        num_answers=standing.num_answers,
        num_wanted=standing.num_wanted,
        seconds_left=standing.seconds_left,
    )
