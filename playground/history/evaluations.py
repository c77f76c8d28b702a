"""Evaluations: a spec asked of one model or two, each answer kept with its score the moment it has ended.

Knows the store; refuses to know how an evaluation is run, scored or shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from playground.history.records import ANSWER, ANYBODY, CALLER, KeptAnswer, RecordNotFound, owner_of
from playground.specs import Score
from playground.store import Migration, Store
from playground.types import Caller

State = Literal["running", "paused", "stopped", "failed", "done"]
MAX_LISTED = 200

MIGRATION: Migration = (
    """
    CREATE TABLE evaluations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        caller TEXT NOT NULL,
        started_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        name TEXT NOT NULL,
        file_name TEXT NOT NULL,
        spec TEXT NOT NULL,
        models TEXT NOT NULL,
        num_cases INTEGER NOT NULL,
        max_tokens INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'stopped', 'failed', 'done')),
        problem TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX evaluations_by_owner ON evaluations (owner, number)",
    """
    CREATE TABLE evaluation_answers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        evaluation_id TEXT NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
        case_number INTEGER NOT NULL,
        side INTEGER NOT NULL,
        answer TEXT NOT NULL,
        score TEXT NOT NULL,
        UNIQUE (evaluation_id, case_number, side)
    )
    """,
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation as it is kept. `file_name` and `spec` are the spec as it was given; `models` are asked in this
    order, the one to compare with first; `problem` says why it failed; `started_at` is UTC."""

    number: int
    id: str
    owner: str
    caller: Caller
    started_at: str
    name: str
    file_name: str
    models: tuple[str, ...]
    num_cases: int
    max_tokens: int
    state: State
    problem: str
    num_answers: int

    @property
    def num_wanted(self) -> int:
        """So many answers make it whole."""
        return self.num_cases * len(self.models)


@dataclass(frozen=True, slots=True)
class Place:
    """A case and a side, by number from 0."""

    case: int
    side: int


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """A side's answer to a case, and what it is worth. `number` grows with each that is kept."""

    number: int
    place: Place
    answer: KeptAnswer
    score: Score


_MODELS = TypeAdapter(tuple[str, ...])
_SCORE = TypeAdapter(Score)
_EVALUATIONS = """
SELECT number, id, owner, caller, started_at, name, file_name, models, num_cases, max_tokens, state, problem,
    (SELECT COUNT(*) FROM evaluation_answers WHERE evaluation_id = id)
FROM evaluations
"""

_ANSWERS = "SELECT number, case_number, side, answer, score FROM evaluation_answers WHERE evaluation_id = ?"


class Evaluations:
    """The evaluations of all owners; each sees their own alone. Where nobody signs in, whoever knows an id may see
    that one, and nobody is told ids. Everything raises `InternalError` where the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self,
        caller: Caller,
        file_name: str,
        spec: str,
        *,
        name: str,
        models: Sequence[str],
        num_cases: int,
        max_tokens: int,
    ) -> str:
        """Keeps a new evaluation, running and without answers, and gives its id."""
        evaluation_id = secrets.token_hex(16)
        statement = """
        INSERT INTO evaluations (id, owner, caller, file_name, spec, name, models, num_cases, max_tokens, state)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'running')
        """
        said = CALLER.dump_json(caller).decode()
        asked = _MODELS.dump_json(tuple(models)).decode()
        values = (evaluation_id, owner_of(caller), said, file_name, spec, name, asked, num_cases, max_tokens)
        with self._store.writing() as connection:
            connection.execute(statement, values)
        return evaluation_id

    def evaluation(self, owner: str, evaluation_id: str) -> Evaluation:
        """One of an owner's; raises `RecordNotFound`."""
        with self._store.reading() as connection:
            question = f"{_EVALUATIONS} WHERE id = ? AND owner = ?"
            row = connection.execute(question, (evaluation_id, owner)).fetchone()
        if row is None:
            raise RecordNotFound(f"evaluation: there is none {evaluation_id!r} of yours", param="evaluation")
        return _evaluation(row)

    def list(self, owner: str) -> list[Evaluation]:
        """An owner's latest, the latest first."""
        if owner == ANYBODY:
            return []
        with self._store.reading() as connection:
            question = f"{_EVALUATIONS} WHERE owner = ? ORDER BY number DESC LIMIT {MAX_LISTED}"
            return [_evaluation(row) for row in connection.execute(question, (owner,))]

    def running(self) -> list[Evaluation]:
        """Those of all owners that run, or did when their process ended."""
        with self._store.reading() as connection:
            question = f"{_EVALUATIONS} WHERE state = 'running' ORDER BY number"
            return [_evaluation(row) for row in connection.execute(question)]

    def spec(self, evaluation_id: str) -> str:
        """The spec's text as it was given."""
        with self._store.reading() as connection:
            row = connection.execute("SELECT spec FROM evaluations WHERE id = ?", (evaluation_id,)).fetchone()
        if row is None:
            raise RecordNotFound(f"evaluation: there is none {evaluation_id!r} of yours", param="evaluation")
        return row[0]

    def answers(self, evaluation_id: str) -> list[CaseAnswer]:
        """All answers so far, in the order in which they ended."""
        with self._store.reading() as connection:
            rows = connection.execute(f"{_ANSWERS} ORDER BY number", (evaluation_id,)).fetchall()
        return [_case_answer(row) for row in rows]

    def news(self, evaluation_id: str, after: int) -> tuple[int, list[CaseAnswer]]:
        """The number of the last answer, and all answers to the cases that were answered after the one of a number."""
        touched = "SELECT case_number FROM evaluation_answers WHERE evaluation_id = ? AND number > ?"
        question = f"{_ANSWERS} AND case_number IN ({touched}) ORDER BY number"
        with self._store.reading() as connection:
            rows = connection.execute(question, (evaluation_id, evaluation_id, after)).fetchall()
        answers = [_case_answer(row) for row in rows]
        return max([after, *(answer.number for answer in answers)]), answers

    def places(self, evaluation_id: str) -> set[Place]:
        """Where there is an answer already."""
        question = "SELECT case_number, side FROM evaluation_answers WHERE evaluation_id = ?"
        with self._store.reading() as connection:
            return {Place(*row) for row in connection.execute(question, (evaluation_id,))}

    def add_answer(self, evaluation_id: str, place: Place, answer: KeptAnswer, score: Score) -> None:
        """Keeps an answer. One that is there already stays: nothing is kept twice, and one whose evaluation was
        deleted is not kept."""
        statement = """
        INSERT INTO evaluation_answers (evaluation_id, case_number, side, answer, score)
        SELECT id, ?, ?, ?, ? FROM evaluations WHERE id = ? ON CONFLICT DO NOTHING
        """
        values = (place.case, place.side, ANSWER.dump_json(answer).decode(), _SCORE.dump_json(score).decode())
        with self._store.writing() as connection:
            connection.execute(statement, (*values, evaluation_id))

    def turn(self, evaluation_id: str, state: State, problem: str = "") -> None:
        """Says in which state an evaluation is from now on, and why."""
        with self._store.writing() as connection:
            statement = "UPDATE evaluations SET state = ?, problem = ? WHERE id = ?"
            connection.execute(statement, (state, problem, evaluation_id))

    def delete(self, owner: str, evaluation_id: str) -> None:
        """Takes an evaluation away, with its answers and votes; raises `RecordNotFound`."""
        with self._store.writing() as connection:
            # What a person deletes must not be read out of the file's free pages.
            connection.execute("PRAGMA secure_delete = ON")
            statement = "DELETE FROM evaluations WHERE id = ? AND owner = ?"
            done = connection.execute(statement, (evaluation_id, owner)).rowcount
        if not done:
            raise RecordNotFound(f"evaluation: there is none {evaluation_id!r} of yours", param="evaluation")


def _case_answer(row: tuple) -> CaseAnswer:
    number, case, side, answer, score = row
    return CaseAnswer(number, Place(case, side), ANSWER.validate_json(answer), _SCORE.validate_json(score))


def _evaluation(row: tuple) -> Evaluation:
    number, evaluation_id, owner, caller, started_at, name, file_name, models, *rest = row
    return Evaluation(
        number,
        evaluation_id,
        owner,
        CALLER.validate_json(caller),
        started_at,
        name,
        file_name,
        _MODELS.validate_json(models),
        *rest,
    )
