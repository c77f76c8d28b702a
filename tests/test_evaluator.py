"""Evaluations behind the page: begun, halted, resumed, never lost and never asked twice."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from playground.errors import InternalError, InvalidRequest, ModelLoadFailed, ModelNotFound, Overloaded
from playground.evaluator import MAX_RUNNING, Evaluator, default_models, spec_of
from playground.history import History
from playground.history.evaluations import Place
from playground.history.records import ALONE, RecordNotFound
from playground.store import Store
from playground.types import ANYBODY, Caller
from tests.drive import wait_for
from tests.evaluating import BASE, LOCAL, TUNE, ScriptedService, evaluator, main, spec, text_of

NUM_CASES = 40
MODELS = (BASE, TUNE)


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
def running(tmp_path: Path, service: ScriptedService) -> Iterator[Evaluator]:
    made = evaluator(tmp_path, service)
    yield made
    made.close()


def begin(running: Evaluator, num_cases: int = NUM_CASES, caller: Caller = LOCAL) -> str:
    return running.start("spec.json", spec(num_cases), MODELS, caller)


def state_of(running: Evaluator, evaluation_id: str, caller: Caller = LOCAL) -> str:
    return running.standing(running.evaluation(caller, evaluation_id)).state


def test_every_case_is_asked_of_every_model_once(running: Evaluator, service: ScriptedService) -> None:
    evaluation_id = begin(running)
    running.wait(evaluation_id)
    assert Counter(service.asked) == Counter((m, f"question {i}") for i in range(NUM_CASES) for m in MODELS)
    report = running.report(LOCAL, evaluation_id)
    assert [side.num_passed for side in report.sides] == [14, NUM_CASES]
    assert report.changes == {"improved": 26, "regressed": 0, "same": 14}
    for case in report.cases:
        texts = [answer.text for answer in case.answers if answer]
        assert texts == [text_of(model, f"question {case.number}") for model in MODELS]
    assert service.most_at_once == 4


def test_a_halted_one_goes_on_where_it_was(running: Evaluator, service: ScriptedService) -> None:
    evaluation_id = begin(running)
    wait_for(lambda: running.evaluation(LOCAL, evaluation_id).num_answers > 10)
    running.halt(LOCAL, evaluation_id, "paused")
    assert state_of(running, evaluation_id) == "paused"
    kept = {(MODELS[p.side], f"question {p.case}") for p in running._evaluations.places(evaluation_id)}
    before = len(service.asked)
    running.resume(LOCAL, evaluation_id)
    running.wait(evaluation_id)
    assert state_of(running, evaluation_id) == "done"
    assert not kept & set(service.asked[before:]), "what is kept is not asked again"
    assert running.evaluation(LOCAL, evaluation_id).num_answers == 2 * NUM_CASES


def test_a_stopped_one_keeps_what_it_has(running: Evaluator) -> None:
    evaluation_id = begin(running)
    wait_for(lambda: running.evaluation(LOCAL, evaluation_id).num_answers > 10)
    running.halt(LOCAL, evaluation_id, "stopped")
    found = running.report(LOCAL, evaluation_id)
    assert state_of(running, evaluation_id) == "stopped"
    assert 0 < sum(side.num_answers for side in found.sides) < 2 * NUM_CASES


def test_halting_one_that_is_done_changes_nothing(running: Evaluator) -> None:
    evaluation_id = begin(running, 2)
    running.wait(evaluation_id)
    running.halt(LOCAL, evaluation_id, "paused")
    assert state_of(running, evaluation_id) == "done"


def test_a_case_that_cannot_be_asked_fails_alone(running: Evaluator, service: ScriptedService) -> None:
    service.errors["question 3"] = InvalidRequest("messages: the prompt is longer than the context", param="messages")
    evaluation_id = begin(running, 6)
    running.wait(evaluation_id)
    case = running.report(LOCAL, evaluation_id).cases[3]
    assert [answer.state for answer in case.answers if answer] == ["failed", "failed"]
    assert all("longer than the context" in score.failures[0] for score in case.scores if score)
    assert state_of(running, evaluation_id) == "done"


def test_an_overloaded_server_is_asked_again(running: Evaluator, service: ScriptedService) -> None:
    service.errors["question 1"] = Overloaded("Too many answers are waiting.")
    evaluation_id = begin(running, 3)
    wait_for(lambda: running.evaluation(LOCAL, evaluation_id).num_answers == 4)
    service.errors.clear()
    running.wait(evaluation_id)
    assert running.report(LOCAL, evaluation_id).sides[1].num_passed == 3


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(running: Evaluator, service: ScriptedService) -> None:
    service.errors["question"] = ModelLoadFailed("some/base needs 61 GB, and 16 GB are free")
    evaluation_id = begin(running, 20)
    running.wait(evaluation_id)
    standing = running.standing(running.evaluation(LOCAL, evaluation_id))
    assert (standing.state, standing.problem) == ("failed", "some/base needs 61 GB, and 16 GB are free")
    assert standing.num_answers == 0, "an error is no answer"
    service.errors.clear()
    running.resume(LOCAL, evaluation_id)
    running.wait(evaluation_id)
    standing = running.standing(running.evaluation(LOCAL, evaluation_id))
    assert (standing.state, standing.problem) == ("done", "")


def test_one_that_cannot_begin_is_not_kept(running: Evaluator) -> None:
    for file, text, models, error in (
        ("spec.json", "{", MODELS, InvalidRequest),
        ("spec.json", spec(2), (BASE, "some/other"), ModelNotFound),
        ("spec.json", spec(2), (BASE, BASE), InvalidRequest),
        ("spec.json", spec(2).replace(BASE, "no/where"), (), InvalidRequest),
    ):
        with pytest.raises(error):
            running.start(file, text, models, LOCAL)
    with pytest.raises(InvalidRequest, match="max_tokens"):
        running.start("spec.json", spec(2), MODELS, LOCAL, max_tokens=5000)
    assert running.list(LOCAL) == []


def test_a_spec_says_which_models(service: ScriptedService) -> None:
    assert default_models(spec_of(spec(1), "spec.json"), service.models(LOCAL)) == MODELS


def test_few_run_at_once(running: Evaluator, service: ScriptedService) -> None:
    service.errors["question"] = Overloaded("wait")
    for _ in range(MAX_RUNNING):
        begin(running)
    with pytest.raises(Overloaded, match="pause one"):
        begin(running)
    assert len(running.list(LOCAL)) == MAX_RUNNING


def test_nobody_sees_anothers(running: Evaluator) -> None:
    ann, bob = Caller("ann"), Caller("bob")
    evaluation_id = begin(running, 2, ann)
    running.wait(evaluation_id)
    assert [one.id for one in running.list(ann)] == [evaluation_id]
    assert running.list(bob) == running.list(LOCAL) == running.list(ANYBODY) == []
    for ask in (
        lambda: running.evaluation(bob, evaluation_id),
        lambda: running.report(bob, evaluation_id),
        lambda: running.cases(bob, evaluation_id),
        lambda: running.pair(bob, evaluation_id, 0),
        lambda: running.vote(bob, evaluation_id, 0, "tie"),
        lambda: running.halt(bob, evaluation_id, "stopped"),
        lambda: running.resume(bob, evaluation_id),
        lambda: running.delete(bob, evaluation_id),
    ):
        with pytest.raises(RecordNotFound):
            ask()


def test_where_nobody_signs_in_an_id_opens_one_and_none_are_listed(running: Evaluator) -> None:
    evaluation_id = begin(running, 2, ANYBODY)
    running.wait(evaluation_id)
    assert running.list(ANYBODY) == []
    assert running.evaluation(ANYBODY, evaluation_id).num_answers == 4


def test_news_are_the_cases_that_changed(running: Evaluator) -> None:
    evaluation_id = begin(running, 5)
    running.wait(evaluation_id)
    last, cases = running.cases(LOCAL, evaluation_id)
    assert [case.number for case in cases] == list(range(5))
    assert running.cases(LOCAL, evaluation_id, last) == (last, ())
    newest, news = running.cases(LOCAL, evaluation_id, last - 1)
    assert newest == last
    assert len(news) == 1
    assert None not in news[0].answers, "a case that changed comes whole"


def test_votes_are_kept_once(running: Evaluator) -> None:
    evaluation_id = begin(running, 3)
    running.wait(evaluation_id)
    assert running.pair(LOCAL, evaluation_id, 1).texts == tuple(text_of(m, "question 1") for m in MODELS)
    running.vote(LOCAL, evaluation_id, 1, "right")
    with pytest.raises(InvalidRequest, match="already"):
        running.vote(LOCAL, evaluation_id, 1, "left")
    with pytest.raises(InvalidRequest, match="below 3"):
        running.vote(LOCAL, evaluation_id, 3, "left")
    report = running.report(LOCAL, evaluation_id)
    assert (report.cases[1].vote, report.num_votes) == ("right", 1)


def test_deleting_one_that_runs_ends_it(running: Evaluator, tmp_path: Path) -> None:
    evaluation_id = begin(running)
    wait_for(lambda: running.evaluation(LOCAL, evaluation_id).num_answers > 3)
    running.delete(LOCAL, evaluation_id)
    with Store(tmp_path).reading() as connection:
        assert connection.execute("SELECT COUNT(*) FROM evaluation_answers").fetchone() == (0,)
    with pytest.raises(RecordNotFound):
        running.evaluation(LOCAL, evaluation_id)


def test_another_process_leaves_it_alone(running: Evaluator, service: ScriptedService, tmp_path: Path) -> None:
    service.errors["question"] = Overloaded("wait")
    evaluation_id = begin(running)
    other = evaluator(tmp_path, ScriptedService())
    try:
        assert state_of(other, evaluation_id) == "elsewhere"
        other.resume_interrupted()
        with pytest.raises(InvalidRequest, match="another process"):
            other.resume(LOCAL, evaluation_id)
        with pytest.raises(InvalidRequest, match="another process"):
            other.halt(LOCAL, evaluation_id, "paused")
        assert state_of(running, evaluation_id) == "running"
    finally:
        other.close()


def test_looking_at_one_never_stands_in_its_way(running: Evaluator, service: ScriptedService) -> None:
    evaluation_id = begin(running)
    done, seen = threading.Event(), Counter[str]()

    def look() -> None:
        while not done.is_set():
            seen[state_of(running, evaluation_id)] += 1

    onlookers = [threading.Thread(target=look) for _ in range(3)]
    for onlooker in onlookers:
        onlooker.start()
    try:
        for _ in range(60):
            running.halt(LOCAL, evaluation_id, "paused")
            with running._evaluations._store.writing() as connection:
                connection.execute("DELETE FROM evaluation_answers")
                connection.execute("UPDATE evaluations SET state = 'paused'")
            running.resume(LOCAL, evaluation_id)
    finally:
        done.set()
        for onlooker in onlookers:
            onlooker.join()
    assert "elsewhere" not in seen


def test_another_process_s_is_not_deleted(running: Evaluator, service: ScriptedService, tmp_path: Path) -> None:
    service.errors["question 5"] = Overloaded("wait")
    evaluation_id = begin(running)
    other = evaluator(tmp_path, ScriptedService())
    with pytest.raises(InvalidRequest, match="another process runs it"):
        other.delete(LOCAL, evaluation_id)
    other.close()
    assert state_of(running, evaluation_id) == "running"


def test_closing_leaves_it_to_the_next_start(service: ScriptedService, tmp_path: Path) -> None:
    first = evaluator(tmp_path, service)
    evaluation_id = begin(first)
    wait_for(lambda: first.evaluation(LOCAL, evaluation_id).num_answers > 3)
    first.close()
    second = evaluator(tmp_path, ScriptedService())
    assert state_of(second, evaluation_id) == "interrupted"
    second.resume_interrupted()
    second.wait(evaluation_id)
    assert state_of(second, evaluation_id) == "done"
    second.close()


def test_a_paused_one_stays_so_over_a_restart(running: Evaluator, tmp_path: Path) -> None:
    evaluation_id = begin(running)
    running.halt(LOCAL, evaluation_id, "paused")
    second = evaluator(tmp_path, ScriptedService())
    second.resume_interrupted()
    assert state_of(second, evaluation_id) == "paused"
    second.close()


def test_an_end_that_cannot_be_kept_is_told_and_goes_on_later(
    running: Evaluator, service: ScriptedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    turn, add = running._evaluations.turn, running._evaluations.add_answer

    def failing(real):
        def call(*args):
            if full.is_set():
                raise InternalError("the database could not be used: database or disk is full")
            return real(*args)

        return call

    monkeypatch.setattr(running._evaluations, "turn", failing(turn))
    monkeypatch.setattr(running._evaluations, "add_answer", failing(add))
    evaluation_id = begin(running)
    wait_for(lambda: running.evaluation(LOCAL, evaluation_id).num_answers > 3)
    full.set()
    running.wait(evaluation_id)
    standing = running.standing(running.evaluation(LOCAL, evaluation_id))
    assert standing.state == "interrupted"
    assert "disk is full" in standing.problem
    full.clear()
    running.resume(LOCAL, evaluation_id)
    running.wait(evaluation_id)
    assert running.report(LOCAL, evaluation_id).sides[1].num_passed == NUM_CASES


def evaluating(home: Path, log: Path) -> BaseProcess:
    """A process that evaluates, forked off one that has imported what it needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.evaluating"])
    process = context.Process(target=main, args=(home, log))
    process.start()
    return process


def test_twenty_kills_lose_nothing_and_ask_nothing_twice(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "asked"
    num_cases, num_kills = 150, 20
    evaluations = History(Store(home)).evaluations
    evaluation_id = evaluations.add(
        LOCAL, "spec.json", spec(num_cases), name="scripted", models=MODELS, num_cases=num_cases, max_tokens=64
    )
    kept: set[Place] = set()
    for kill in range(num_kills):
        asked_before = log.read_text().splitlines() if log.exists() else []
        process = evaluating(home, log)
        wait_for(lambda: len(evaluations.places(evaluation_id)) > len(kept) + kill % 5)  # noqa: B023
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was killed before it was done"
        asked = {tuple(json.loads(line)) for line in log.read_text().splitlines()[len(asked_before) :] if line}
        assert not asked & {(MODELS[p.side], f"question {p.case}") for p in kept}, "what was kept is not asked again"
        places = evaluations.places(evaluation_id)
        assert kept <= places, "nothing that was kept is lost"
        kept = places
    assert len(kept) < 2 * num_cases
    last = evaluating(home, log)
    last.join()
    assert last.exitcode == 0
    evaluation = evaluations.evaluation(ALONE, evaluation_id)
    answers = evaluations.answers(evaluation_id)
    assert (evaluation.state, len(answers)) == ("done", 2 * num_cases)
    assert {one.place for one in answers} == {Place(case, side) for case in range(num_cases) for side in range(2)}
    for one in answers:
        assert one.answer.text == text_of(MODELS[one.place.side], f"question {one.place.case}")
