"""Keys, and the accounts and organizations they belong to.

Knows what a key looks like and who may speak with it; refuses to know which models that opens, and keeps no
key in clear.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from playground.errors import Forbidden, InvalidKey, broken_rule, shortened
from playground.store import Migration, Store
from playground.types import Caller

MIGRATIONS: tuple[Migration, ...] = (
    (
        # One table for both kinds of owner: `owner` in models.yaml does not say which kind it names.
        """
        CREATE TABLE owners (
            name TEXT PRIMARY KEY NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('account', 'organization'))
        )
        """,
        """
        CREATE TABLE memberships (
            position INTEGER PRIMARY KEY,
            account TEXT NOT NULL REFERENCES owners (name),
            org TEXT NOT NULL REFERENCES owners (name),
            UNIQUE (account, org)
        )
        """,
        """
        CREATE TABLE keys (
            id TEXT PRIMARY KEY NOT NULL,
            account TEXT NOT NULL REFERENCES owners (name),
            sha256 BLOB NOT NULL,
            created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
            revoked_at TEXT
        )
        """,
        "CREATE TABLE cookie_secret (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), secret TEXT NOT NULL)",
    ),
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME_RULE = "it must be 1 to 64 letters, digits, dots, dashes and underscores of ASCII, a letter or digit first"
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_ID_RULE = "it must be the id of a key, the 8 characters after tt_: `python app.py keys list` has them all"
_KEY = re.compile(rf"tt_({_KEY_ID.pattern})_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What may be shown of a key. `orgs` are its account's, the default one first; `created_at` is in UTC."""

    id: str
    account: str
    orgs: tuple[str, ...]
    created_at: str
    revoked: bool


class Accounts:
    """The keys of a store, with their accounts and organizations."""

    def __init__(self, store: Store) -> None:
        store.migrate("accounts", MIGRATIONS)
        self._store = store

    @classmethod
    def at(cls, home: Path) -> Accounts | None:
        """The accounts of a home that has a database; None where there is none, and none is made."""
        return cls(Store(home)) if Store.exists(home) else None

    def create(self, account: str, orgs: Sequence[str]) -> str:
        """A new key of `account`, which is made if need be and gets `orgs` beside those that it has.

        This is the only time that the key is seen. Raises `InvalidRequest` for a name that breaks the rule,
        or that is an account's where an organization is meant, or the other way round; then nothing is made.
        """
        with self._store.writing() as connection:
            _claim(connection, account, "account")
            for org in orgs:
                _claim(connection, org, "organization")
                connection.execute(
                    "INSERT INTO memberships (account, org) VALUES (?, ?) ON CONFLICT DO NOTHING", (account, org)
                )
            key_id = _new_id(connection)
            key = f"tt_{key_id}_{secrets.token_urlsafe(32)}"
            connection.execute(
                "INSERT INTO keys (id, account, sha256) VALUES (?, ?, ?)", (key_id, account, _digest(key))
            )
        return key

    def list(self) -> tuple[KeyRecord, ...]:
        """All keys ever made, the oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute("SELECT id, account, created_at, revoked_at FROM keys ORDER BY rowid").fetchall()
            return tuple(
                KeyRecord(key_id, account, _orgs(connection, account), created_at, revoked_at is not None)
                for key_id, account, created_at, revoked_at in rows
            )

    def revoke(self, key_id: str) -> None:
        """Makes a key of no more use, for good; raises `InvalidRequest` if there is none with this id."""
        with self._store.writing() as connection:
            if not (_KEY_ID.fullmatch(key_id) and _is_taken(connection, key_id)):
                raise broken_rule("id", key_id, _ID_RULE)
            connection.execute(
                "UPDATE keys SET revoked_at = CURRENT_TIMESTAMP WHERE id = ? AND revoked_at IS NULL", (key_id,)
            )

    def any_key(self) -> bool:
        """Whether a key was ever made. Revoked ones count: revoking the last one must not open a server."""
        with self._store.reading() as connection:
            return connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None

    def sign_in(self, key: str) -> str:
        """The id of a valid key; raises `InvalidKey`."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise InvalidKey
        key_id = match[1]
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT sha256 FROM keys WHERE id = ? AND revoked_at IS NULL", (key_id,)
            ).fetchone()
        # An unknown id costs the same comparison, so that the time taken tells nothing.
        same = hmac.compare_digest(row[0] if row else bytes(hashlib.sha256().digest_size), _digest(key))
        if row is None or not same:
            raise InvalidKey
        return key_id

    def caller(self, key_id: str, org: str | None = None) -> Caller:
        """Who speaks with a key, for `org` or for the first organization that its account was given, if any.

        Raises `InvalidKey` for a key that is unknown or revoked, `Forbidden` for an organization that is not
        its account's.
        """
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT account FROM keys WHERE id = ? AND revoked_at IS NULL", (key_id,)
            ).fetchone()
            if row is None:
                raise InvalidKey
            account = row[0]
            orgs = _orgs(connection, account)
        if org is None:
            return Caller(account, orgs[0] if orgs else None, manager=True)
        if org not in orgs:
            raise _not_a_member(org, orgs)
        return Caller(account, org, manager=True)

    def cookie_secret(self) -> str:
        """What the page's cookies are signed with: 256 random bits, made once and kept."""
        with self._store.writing() as connection:
            connection.execute(
                "INSERT INTO cookie_secret (only_row, secret) VALUES (1, ?) ON CONFLICT DO NOTHING",
                (secrets.token_urlsafe(32),),
            )
            return connection.execute("SELECT secret FROM cookie_secret").fetchone()[0]


def _digest(key: str) -> bytes:
    # A plain hash suffices: a key holds 256 random bits, so there is nothing to guess that stretching would slow.
    return hashlib.sha256(key.encode()).digest()


def _claim(connection: Connection, name: str, kind: str) -> None:
    """Makes the owner of this name, if need be; raises `InvalidRequest` if the name cannot be of this kind."""
    if not _NAME.fullmatch(name):
        raise broken_rule(kind, name, _NAME_RULE)
    connection.execute("INSERT INTO owners (name, kind) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, kind))
    taken_as = connection.execute("SELECT kind FROM owners WHERE name = ?", (name,)).fetchone()[0]
    if taken_as != kind:
        rule = f"it is the name of an {taken_as}, and an owner in models.yaml must mean one of the two"
        raise broken_rule(kind, name, rule)


def _is_taken(connection: Connection, key_id: str) -> bool:
    return connection.execute("SELECT 1 FROM keys WHERE id = ?", (key_id,)).fetchone() is not None


def _new_id(connection: Connection) -> str:
    """An id that no key has or had: a revoked key's cookies must never be another key's."""
    key_id = secrets.token_hex(4)
    while _is_taken(connection, key_id):
        key_id = secrets.token_hex(4)
    return key_id


def _orgs(connection: Connection, account: str) -> tuple[str, ...]:
    rows = connection.execute("SELECT org FROM memberships WHERE account = ? ORDER BY position", (account,))
    return tuple(org for (org,) in rows)


def _not_a_member(org: str, orgs: Sequence[str]) -> Forbidden:
    rule = f"it must be one of {', '.join(orgs)}" if orgs else "this key's account belongs to no organization"
    return Forbidden(f"X-Org-Id: {shortened(repr(org))} is not allowed: {rule}", param="X-Org-Id")
