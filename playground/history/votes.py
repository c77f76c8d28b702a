"""Blind votes: which of two answers was better, cast before anybody could see whose they were.

Knows the store, and a pair of answers as it was voted on; refuses to know how a vote is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from playground.errors import InvalidRequest
from playground.history.records import Choice
from playground.store import Migration, Store
from playground.types import Message

_AT_ONCE = 200

MIGRATION: Migration = (
    """
    CREATE TABLE votes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        voted_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        run_id TEXT UNIQUE REFERENCES runs (id) ON DELETE CASCADE,
        evaluation_id TEXT REFERENCES evaluations (id) ON DELETE CASCADE,
        case_number INTEGER,
        pair TEXT NOT NULL,
        choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie', 'both_bad')),
        CHECK ((run_id IS NULL) <> (evaluation_id IS NULL)),
        CHECK ((evaluation_id IS NULL) = (case_number IS NULL)),
        UNIQUE (evaluation_id, case_number)
    )
    """,
    "CREATE INDEX votes_by_owner ON votes (owner, number)",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the same messages, the left one first, and which models gave them."""

    messages: tuple[Message, ...]
    models: tuple[str, str]
    texts: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote as it is kept: on a run, or on a case of an evaluation; `voted_at` is UTC."""

    number: int
    voted_at: str
    source: Literal["run", "evaluation"]
    source_id: str
    case_number: int | None
    pair: Pair
    choice: Choice


_PAIR = TypeAdapter(Pair)
_VOTES = """
SELECT number, voted_at, run_id, evaluation_id, case_number, pair, choice FROM votes
WHERE owner = ? AND number > ? ORDER BY number LIMIT ?
"""


class Votes:
    """The votes of all owners; each sees their own alone. Everything raises `InternalError` where the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_run(self, owner: str, run_id: str, pair: Pair, choice: Choice) -> None:
        """Keeps a vote on a run; raises `InvalidRequest` where it has one."""
        self._add(owner, run_id, None, None, pair, choice)

    def on_case(self, owner: str, evaluation_id: str, case_number: int, pair: Pair, choice: Choice) -> None:
        """Keeps a vote on a case of an evaluation; raises `InvalidRequest` where it has one."""
        self._add(owner, None, evaluation_id, case_number, pair, choice)

    def all(self, owner: str) -> Iterator[Vote]:
        """Every vote, the oldest first, a few at a time in memory."""
        after = 0
        while True:
            with self._store.reading() as connection:
                rows = connection.execute(_VOTES, (owner, after, _AT_ONCE)).fetchall()
            for number, voted_at, run_id, evaluation_id, case_number, pair, choice in rows:
                source = ("run", run_id) if run_id is not None else ("evaluation", evaluation_id)
                yield Vote(number, voted_at, *source, case_number, _PAIR.validate_json(pair), choice)
                after = number
            if len(rows) < _AT_ONCE:
                return

    def of_evaluation(self, evaluation_id: str) -> dict[int, Choice]:
        """What was voted on an evaluation's cases, by the case's number."""
        question = "SELECT case_number, choice FROM votes WHERE evaluation_id = ?"
        with self._store.reading() as connection:
            return dict(connection.execute(question, (evaluation_id,)).fetchall())

    def _add(
        self,
        owner: str,
        run_id: str | None,
        evaluation_id: str | None,
        case_number: int | None,
        pair: Pair,
        choice: Choice,
    ) -> None:
        statement = """
        INSERT INTO votes (owner, run_id, evaluation_id, case_number, pair, choice) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING
        """
        values = (owner, run_id, evaluation_id, case_number, _PAIR.dump_json(pair).decode(), choice)
        with self._store.writing() as connection:
            done = connection.execute(statement, values).rowcount
        if not done:
            # Whoever has voted has seen whose answers they are: a second vote would not be blind.
            raise InvalidRequest("vote: there is one on this pair already", param="vote")
