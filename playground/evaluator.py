"""Runs evaluations behind everything else: a spec's cases asked of one model or two, as many at once as fit.

Knows the service, specs and what is kept of an evaluation; refuses to know how it is shown. It has a thread of its
own, with the event loop in which the service is asked. Each answer is kept the moment it has ended, so that an
evaluation goes on where it was, whatever ended its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout

from playground.errors import InvalidRequest, ModelNotFound, Overloaded, PlaygroundError, broken_rule
from playground.history import History
from playground.history.evaluations import Evaluation, Place
from playground.history.evaluations import State as KeptState
from playground.history.records import Choice, KeptAnswer, owner_of
from playground.history.votes import Pair
from playground.reports import CaseReport, Report, cases_of, report_of
from playground.service import Playground
from playground.specs import Spec, SpecError, no_answer, parse_text, score
from playground.types import MAX_NEW_TOKENS, Caller, GenerationRequest, ModelStatus, Sampling

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_RUNNING = 4
"""So many evaluations may run at once, over everybody."""
MAX_READ_SPECS = 8
RETRY_SECONDS = 1.0
DEFAULT_MAX_TOKENS = 1024
ELSEWHERE = "another process runs it: pause it there"

State = Literal["running", "elsewhere", "interrupted", "paused", "stopped", "failed", "done"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an evaluation is. `interrupted` ones ran in a process that has ended, `elsewhere` ones run in another;
    `seconds_left` is there once it can be told."""

    state: State
    problem: str
    num_answers: int
    num_wanted: int
    seconds_left: float | None


@dataclass(slots=True)
class _Run:
    """An evaluation that runs here. `num_before` answers were there when it began."""

    task: asyncio.Task[None]
    began_at: float
    num_before: int
    num_done: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def seconds_left(self, num_wanted: int) -> float | None:
        if not self.num_done:
            return None
        num_missing = num_wanted - self.num_before - self.num_done
        return num_missing * (time.monotonic() - self.began_at) / self.num_done


class Evaluator:
    """Begins, halts and resumes evaluations. `num_at_once` answers are asked for at once by each.

    Methods block and may be called from any thread; all raise `RecordNotFound` for an evaluation that is not the
    caller's.
    """

    def __init__(self, playground: Playground, history: History, home: Path, num_at_once: int) -> None:
        self._playground, self._evaluations, self._votes = playground, history.evaluations, history.votes
        self._locks, self._num_at_once = home / "evaluating", num_at_once
        self._specs: dict[str, Spec] = {}
        self._runs: dict[str, _Run] = {}
        self._problems: dict[str, str] = {}
        # Held by whoever takes one of the files' locks, if only to see whether it is free.
        self._locking = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="evaluations", daemon=True)
        self._thread.start()

    def start(
        self, file_name: str, text: str, models: Sequence[str], caller: Caller, max_tokens: int = DEFAULT_MAX_TOKENS
    ) -> str:
        """Begins an evaluation and gives its id. Without `models` the spec says which.

        Raises `InvalidRequest` for a spec that cannot be used, with all its problems, `ModelNotFound` and
        `ModelLoadFailed` for models that cannot be run, `Overloaded`.
        """
        spec = spec_of(text, file_name)
        models = tuple(models) or default_models(spec, self._playground.models(caller))
        if not models:
            raise broken_rule("base_model", spec.base_model, "it is not among the models here: name the models to ask")
        if len(models) > 2 or len(set(models)) < len(models):
            raise broken_rule("models", list(models), "name one model, or two that differ")
        for model in models:
            self._playground.require_runnable(model, caller)
        if not 1 <= max_tokens <= MAX_NEW_TOKENS:
            raise broken_rule("max_tokens", max_tokens, f"it must be a whole number from 1 to {MAX_NEW_TOKENS}")
        if len(self._runs) >= MAX_RUNNING:
            raise Overloaded(f"{MAX_RUNNING} evaluations are running: pause one, or wait for one to end.")
        evaluation_id = self._evaluations.add(
            caller,
            file_name,
            text,
            name=spec.name,
            models=models,
            num_cases=len(spec.cases),
            max_tokens=max_tokens,
        )
        self._begin(self._evaluations.evaluation(owner_of(caller), evaluation_id), spec)
        return evaluation_id

    def list(self, caller: Caller) -> list[Evaluation]:
        """The caller's, the latest first."""
        return self._evaluations.list(owner_of(caller))

    def evaluation(self, caller: Caller, evaluation_id: str) -> Evaluation:
        """One of the caller's."""
        return self._evaluations.evaluation(owner_of(caller), evaluation_id)

    def report(self, caller: Caller, evaluation_id: str) -> Report:
        """What it has found so far."""
        evaluation = self.evaluation(caller, evaluation_id)
        answers, votes = self._evaluations.answers(evaluation_id), self._votes.of_evaluation(evaluation_id)
        names = [self._name(model, caller) for model in evaluation.models]
        return report_of(evaluation, self._spec(evaluation), answers, votes, names)

    def cases(self, caller: Caller, evaluation_id: str, after: int = 0) -> tuple[int, Sequence[CaseReport]]:
        """The last answer's number, and all cases, or those that have changed since the answer of number `after`."""
        evaluation = self.evaluation(caller, evaluation_id)
        last, answers = self._evaluations.news(evaluation_id, after)
        numbers = sorted({one.place.case for one in answers}) if after else range(evaluation.num_cases)
        votes = self._votes.of_evaluation(evaluation_id)
        return last, cases_of(evaluation, self._spec(evaluation), answers, votes, numbers)

    def pair(self, caller: Caller, evaluation_id: str, number: int) -> Pair:
        """A case's two answers, to be voted on; raises `InvalidRequest` where there are not two."""
        evaluation = self.evaluation(caller, evaluation_id)
        if number >= evaluation.num_cases:
            raise broken_rule("case", number, f"it must be below {evaluation.num_cases}")
        _, answers = self._evaluations.news(evaluation_id, 0)
        (found,) = cases_of(evaluation, self._spec(evaluation), answers, {}, [number])
        texts = [answer.text for answer in found.answers if answer is not None and answer.state == "done"]
        if len(texts) != 2 or len(evaluation.models) != 2:
            raise broken_rule("case", number, "it must have two answers to vote on")
        return Pair(found.case.messages, evaluation.models, (texts[0], texts[1]))

    def vote(self, caller: Caller, evaluation_id: str, number: int, choice: Choice) -> None:
        """Keeps a vote on a case; raises `InvalidRequest` where there is one already."""
        pair = self.pair(caller, evaluation_id, number)
        self._votes.on_case(owner_of(caller), evaluation_id, number, pair, choice)

    def standing(self, evaluation: Evaluation) -> Standing:
        """How far it is now."""
        run = self._runs.get(evaluation.id)
        if run is None:
            # It may have ended since it was looked up.
            evaluation = self._evaluations.evaluation(evaluation.owner, evaluation.id)
        state: State = evaluation.state
        if evaluation.state == "running" and run is None:
            state = self._state_without_run(evaluation.id)
        left = run.seconds_left(evaluation.num_wanted) if run else None
        problem = evaluation.problem or self._problems.get(evaluation.id, "")
        return Standing(state, problem, evaluation.num_answers, evaluation.num_wanted, left)

    def _state_without_run(self, evaluation_id: str) -> State:
        """Of one that is kept as running and was not seen to run here."""
        if self._is_elsewhere(evaluation_id):
            return "elsewhere"
        return "running" if evaluation_id in self._runs else "interrupted"

    def resume(self, caller: Caller, evaluation_id: str) -> None:
        """Goes on with one that was halted, has failed, or whose process has ended."""
        evaluation = self._evaluations.evaluation(owner_of(caller), evaluation_id)
        if evaluation_id in self._runs or evaluation.state == "done":
            return
        if len(self._runs) >= MAX_RUNNING:
            raise Overloaded(f"{MAX_RUNNING} evaluations are running: pause one, or wait for one to end.")
        self._begin(evaluation, self._spec(evaluation))

    def resume_interrupted(self) -> None:
        """Goes on with all that ran when their process ended."""
        for evaluation in self._evaluations.running():
            # One that another process runs is left to it; one that cannot go on says why when it is looked at.
            with contextlib.suppress(PlaygroundError):
                self.resume(evaluation.caller, evaluation.id)

    def halt(self, caller: Caller, evaluation_id: str, state: Literal["paused", "stopped"]) -> None:
        """Ends what runs; answers that had not ended are asked for again when it is resumed."""
        evaluation = self._evaluations.evaluation(owner_of(caller), evaluation_id)
        if evaluation.state == "done":
            return
        self._refuse_elsewhere(evaluation_id)
        self._within(self._end(evaluation_id))
        if self._evaluations.evaluation(evaluation.owner, evaluation_id).state != "done":
            self._evaluations.turn(evaluation_id, state)

    def delete(self, caller: Caller, evaluation_id: str) -> None:
        """Ends it and takes it away."""
        self._evaluations.evaluation(owner_of(caller), evaluation_id)
        self._refuse_elsewhere(evaluation_id)
        self._within(self._end(evaluation_id))
        self._evaluations.delete(owner_of(caller), evaluation_id)
        self._lock_path(evaluation_id).unlink(missing_ok=True)

    def wait(self, evaluation_id: str, seconds: float | None = None) -> bool:
        """Returns once it does not run here, or the time is over; whether it runs no longer."""
        run = self._runs.get(evaluation_id)
        return run is None or run.ended.wait(seconds)

    def close(self) -> None:
        """Ends all that runs here; it is resumed when the program starts again."""
        for evaluation_id in list(self._runs):
            self._within(self._end(evaluation_id))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, evaluation: Evaluation, spec: Spec) -> None:
        lock = self._lock(evaluation.id)
        with self._locking:
            if evaluation.id in self._runs:
                return
            try:
                lock.acquire(blocking=False)
            except Timeout:
                raise InvalidRequest(f"evaluation: {ELSEWHERE}", param="evaluation") from None
            try:
                self._evaluations.turn(evaluation.id, "running")
                self._problems.pop(evaluation.id, None)
                self._within(self._launch(evaluation, spec, lock))
            except BaseException:
                lock.release()
                raise

    async def _launch(self, evaluation: Evaluation, spec: Spec, lock: FileLock) -> None:
        places = await asyncio.to_thread(self._evaluations.places, evaluation.id)
        task = asyncio.create_task(self._run(evaluation, spec, _missing(evaluation, places), lock))
        self._runs[evaluation.id] = _Run(task, time.monotonic(), len(places))

    async def _run(self, evaluation: Evaluation, spec: Spec, missing: Iterator[Place], lock: FileLock) -> None:
        try:
            state, problem = await self._outcome(evaluation, spec, missing)
            await asyncio.to_thread(self._conclude, evaluation.id, state, problem)
        finally:
            # Nobody else may go on with it before its state is kept; whoever sees it run no longer finds the lock free.
            lock.release()
            self._runs.pop(evaluation.id).ended.set()

    async def _outcome(
        self, evaluation: Evaluation, spec: Spec, missing: Iterator[Place]
    ) -> tuple[Literal["done", "failed"], str]:
        workers = [asyncio.create_task(self._work(evaluation, spec, missing)) for _ in range(self._num_at_once)]
        try:
            await asyncio.gather(*workers)
        except PlaygroundError as error:
            return "failed", error.message
        except Exception:
            log.exception("an evaluation broke off")
            return "failed", "something broke in here; the log says what"
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return "done", ""

    async def _work(self, evaluation: Evaluation, spec: Spec, missing: Iterator[Place]) -> None:
        for place in missing:
            case = spec.cases[place.case]
            sampling = Sampling(max_tokens=evaluation.max_tokens, temperature=0)
            request = GenerationRequest(evaluation.models[place.side], case.messages, sampling=sampling, alone=False)
            answer = await self._ask(request, evaluation.caller)
            await asyncio.to_thread(self._keep, evaluation.id, spec, place, answer)
            self._runs[evaluation.id].num_done += 1

    async def _ask(self, request: GenerationRequest, caller: Caller) -> KeptAnswer:
        """An answer, or why this case cannot be asked; raises what would fail every other case too."""
        while True:
            try:
                return KeptAnswer.of(await self._playground.complete(request, caller))
            except InvalidRequest as error:
                return KeptAnswer("failed", error=error.message)
            except Overloaded:
                await asyncio.sleep(RETRY_SECONDS)

    def _keep(self, evaluation_id: str, spec: Spec, place: Place, answer: KeptAnswer) -> None:
        case = spec.cases[place.case]
        failed = answer.state == "failed"
        worth = no_answer(case, answer.error) if failed else score(case, spec.constraints, answer.text)
        self._evaluations.add_answer(evaluation_id, place, answer, worth)

    def _conclude(self, evaluation_id: str, state: KeptState, problem: str) -> None:
        try:
            self._evaluations.turn(evaluation_id, state, problem)
        except PlaygroundError as error:
            # What is kept says that it runs, so that it goes on after the next start.
            self._problems[evaluation_id] = problem or error.message
            log.error("an evaluation's end could not be kept: %s", error.message)

    def _spec(self, evaluation: Evaluation) -> Spec:
        """The spec, read once for the few evaluations that are looked at."""
        if evaluation.id not in self._specs:
            if len(self._specs) >= MAX_READ_SPECS:
                self._specs.clear()
            self._specs[evaluation.id] = spec_of(self._evaluations.spec(evaluation.id), evaluation.file_name)
        return self._specs[evaluation.id]

    def _name(self, model_id: str, caller: Caller) -> str:
        try:
            return self._playground.status(model_id, caller).card.name
        except ModelNotFound:
            # It was taken out of the catalog since.
            return model_id

    async def _end(self, evaluation_id: str) -> None:
        run = self._runs.get(evaluation_id)
        if run is not None:
            run.task.cancel()
            await asyncio.wait({run.task})

    def _refuse_elsewhere(self, evaluation_id: str) -> None:
        if self._is_elsewhere(evaluation_id):
            raise InvalidRequest(f"evaluation: {ELSEWHERE}", param="evaluation")

    def _is_elsewhere(self, evaluation_id: str) -> bool:
        with self._locking:
            if evaluation_id in self._runs:
                return False
            lock = self._lock(evaluation_id)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return True
            lock.release()
            return False

    def _lock(self, evaluation_id: str) -> FileLock:
        # The system lets go of it when the process ends, however it ends.
        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._lock_path(evaluation_id), thread_local=False)

    def _lock_path(self, evaluation_id: str) -> Path:
        return self._locks / f"{evaluation_id}.lock"

    def _within(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()


def spec_of(text: str, file_name: str) -> Spec:
    """The spec in a text; raises `InvalidRequest` with all its problems."""
    try:
        return parse_text(text, file_name)
    except SpecError as error:
        raise InvalidRequest("\n".join(error.problems), param="spec") from None


def default_models(spec: Spec, models: Sequence[ModelStatus]) -> tuple[str, ...]:
    """The spec's base and the first fine-tune of it that can be run; none where the spec's base is not there."""
    if spec.base_model is None or spec.base_model not in {model.card.id for model in models}:
        return ()
    tunes = [m.card for m in models if m.card.base_model == spec.base_model and m.card.problem is None]
    tunes.sort(key=lambda card: card.step is not None)
    return (spec.base_model, *(card.id for card in tunes[:1]))


def _missing(evaluation: Evaluation, places: set[Place]) -> Iterator[Place]:
    """What is still to be asked, the sides of a case one after the other."""
    for case in range(evaluation.num_cases):
        for side in range(len(evaluation.models)):
            if (place := Place(case, side)) not in places:
                yield place
