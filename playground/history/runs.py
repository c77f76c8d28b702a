"""Runs of the page: what was asked of one model or two, and what each answered.

Knows the store; refuses to know how a run is made or shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Literal, cast

from playground.errors import broken_rule
from playground.history.records import ANSWERS, ANYBODY, REQUESTS, Choice, KeptAnswer, RecordNotFound
from playground.store import Migration, Store
from playground.types import GenerationRequest

Kind = Literal["compare", "single"]
MAX_LISTED = 200
NOBODY_SIGNS_IN = "nobody signs in on this server, and one visitor's runs would be every other one's"
_AT_ONCE = 100

MIGRATION: Migration = (
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        asked_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        kind TEXT NOT NULL CHECK (kind IN ('compare', 'single')),
        requests TEXT NOT NULL,
        answers TEXT NOT NULL,
        words TEXT NOT NULL
    )
    """,
    "CREATE INDEX runs_by_owner ON runs (owner, number)",
    "CREATE TABLE keeping (owner TEXT PRIMARY KEY NOT NULL, is_on INTEGER NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is kept. `number` grows with each; `asked_at` is UTC; `vote` is by side, where one was cast."""

    number: int
    id: str
    owner: str
    asked_at: str
    kind: Kind
    requests: tuple[GenerationRequest, ...]
    answers: tuple[KeptAnswer, ...]
    vote: Choice | None = None

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(request.model for request in self.requests)

    @property
    def prompt(self) -> str:
        """The last thing that was asked."""
        return self.requests[0].messages[-1].content


class Runs:
    """The runs of all owners; each sees their own alone. `is_on` False keeps no new ones of anybody. Everything
    raises `InternalError` where the store fails."""

    def __init__(self, store: Store, is_on: bool) -> None:
        self._store, self._is_on = store, is_on

    def may_keep(self, owner: str) -> bool:
        """Whether this owner's can be kept at all. Where nobody signs in, one visitor's would be every other one's."""
        return self._is_on and owner != ANYBODY

    def is_kept(self, owner: str) -> bool:
        """Whether this owner's runs are kept."""
        if not self.may_keep(owner):
            return False
        with self._store.reading() as connection:
            return _is_on(connection, owner)

    def keep(self, owner: str, is_on: bool) -> None:
        """Keeps this owner's runs from now on, or no longer; what is there stays. Raises `InvalidRequest` where they
        cannot be kept."""
        if is_on and not self.may_keep(owner):
            raise broken_rule("kept", True, "this server keeps no runs" if owner != ANYBODY else NOBODY_SIGNS_IN)
        with self._store.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO keeping (owner, is_on) VALUES (?, ?)", (owner, is_on))

    def add(
        self, owner: str, kind: Kind, requests: Sequence[GenerationRequest], answers: Sequence[KeptAnswer]
    ) -> str | None:
        """Keeps a run and gives its id; None where this owner's are not kept."""
        if not self.may_keep(owner):
            return None
        run_id = secrets.token_hex(16)
        values = (
            run_id,
            owner,
            kind,
            REQUESTS.dump_json(tuple(requests)).decode(),
            ANSWERS.dump_json(tuple(answers)).decode(),
            _words(requests, answers),
        )
        with self._store.writing() as connection:
            if not _is_on(connection, owner):
                return None
            connection.execute(
                "INSERT INTO runs (id, owner, kind, requests, answers, words) VALUES (?, ?, ?, ?, ?, ?)", values
            )
        return run_id

    def run(self, owner: str, run_id: str) -> Run:
        """One run; raises `RecordNotFound`."""
        with self._store.reading() as connection:
            row = connection.execute(f"{_RUNS} WHERE runs.id = ? AND runs.owner = ?", (run_id, owner)).fetchone()
        if row is None:
            raise RecordNotFound(f"run: there is none {run_id!r} of yours", param="run")
        return _run(row)

    def search(self, owner: str, text: str = "", before: int | None = None, limit: int = 50) -> list[Run]:
        """The latest runs in which every word of `text` stands, in any letter case; of those before a number."""
        conditions, values = ["runs.owner = ?"], [owner]
        for word in text.casefold().split():
            conditions.append("instr(runs.words, ?) > 0")
            values.append(word)
        if before is not None:
            conditions.append("runs.number < ?")
            values.append(str(before))
        question = f"{_RUNS} WHERE {' AND '.join(conditions)} ORDER BY runs.number DESC LIMIT {min(limit, MAX_LISTED)}"
        with self._store.reading() as connection:
            return [_run(row) for row in connection.execute(question, values)]

    def all(self, owner: str) -> Iterator[Run]:
        """Every run, the latest first, a few at a time in memory."""
        before: int | None = None
        while runs := self.search(owner, before=before, limit=_AT_ONCE):
            yield from runs
            before = runs[-1].number

    def delete(self, owner: str, run_id: str) -> None:
        """Takes a run away, with its vote; raises `RecordNotFound`."""
        with self._store.writing() as connection:
            _forget_securely(connection)
            done = connection.execute("DELETE FROM runs WHERE id = ? AND owner = ?", (run_id, owner)).rowcount
        if not done:
            raise RecordNotFound(f"run: there is none {run_id!r} of yours", param="run")

    def delete_all(self, owner: str) -> int:
        """Takes all of an owner's runs away, with their votes; gives how many they were."""
        with self._store.writing() as connection:
            _forget_securely(connection)
            return connection.execute("DELETE FROM runs WHERE owner = ?", (owner,)).rowcount


_RUNS = """
SELECT runs.number, runs.id, runs.owner, runs.asked_at, runs.kind, runs.requests, runs.answers, votes.choice
FROM runs LEFT JOIN votes ON votes.run_id = runs.id
"""


def _run(row: Row) -> Run:
    number, run_id, owner, asked_at, kind, requests, answers, choice = row
    return Run(
        number,
        run_id,
        owner,
        asked_at,
        cast("Kind", kind),
        REQUESTS.validate_json(requests),
        ANSWERS.validate_json(answers),
        choice,
    )


def _words(requests: Sequence[GenerationRequest], answers: Sequence[KeptAnswer]) -> str:
    """All that can be searched for, in one letter case; SQLite's own folds ASCII alone."""
    asked = [message.content for message in requests[0].messages]
    return "\n".join([*asked, *(r.model for r in requests), *(a.text for a in answers)]).casefold()


def _is_on(connection: Connection, owner: str) -> bool:
    row = connection.execute("SELECT is_on FROM keeping WHERE owner = ?", (owner,)).fetchone()
    return row is None or bool(row[0])


def _forget_securely(connection: Connection) -> None:
    # What a person deletes must not be read out of the file's free pages.
    connection.execute("PRAGMA secure_delete = ON")
