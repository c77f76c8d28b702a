"""The program's SQLite file: connections to it, and the numbered migrations that shaped it.

Refuses to know what is stored: each part of the program brings its own migrations and its own questions.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from playground.errors import ConfigurationError, InternalError

FILE_NAME = "playground.db"
BUSY_SECONDS = 10.0
"""How long a connection waits for another one's write to end."""

Migration = tuple[str, ...]
"""SQL statements that are applied together or not at all."""

_TABLE = """
CREATE TABLE migrations (
    part TEXT NOT NULL,
    number INTEGER NOT NULL,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (part, number)
)
"""


class Store:
    """The database of one home, made with the home where there is none.

    Each use opens a connection of its own, so that any thread and any process may use it at any time. Raises
    `ConfigurationError` where it cannot be made, or is there and is not a database of this program.
    """

    def __init__(self, home: Path) -> None:
        self.path = home.absolute() / FILE_NAME
        if not Store.exists(home):
            _create(self.path)
        with _refusing(self.path), _transaction(self.path, "BEGIN") as connection:
            # Any question will do: only a database of this program's making can answer it.
            _num_applied(connection, "")

    @staticmethod
    def exists(home: Path) -> bool:
        """Whether this home has a database, readable or not; raises `ConfigurationError` if that cannot be told."""
        path = home.absolute() / FILE_NAME
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unusable(path, error) from error
        return True

    def migrate(self, part: str, migrations: Sequence[Migration]) -> None:
        """Applies those of a part's migrations that the database lacks, in order, each with the record of it.

        Raises `ConfigurationError` where the database has had more of them than are known here.
        """
        with _refusing(self.path):
            with _transaction(self.path, "BEGIN") as connection:
                num_applied = _num_applied(connection, part)
            if num_applied > len(migrations):
                raise ConfigurationError(
                    [
                        f"{self.path}: a newer version of this program wrote it ({part}: change {num_applied}, and "
                        f"this version knows {len(migrations)}): run the newer one, or give another --home"
                    ]
                )
            for number in range(num_applied + 1, len(migrations) + 1):
                _migrate_once(self.path, part, number, migrations[number - 1])

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection that sees the database as it is now, whatever others write; raises `InternalError`."""
        with _failing(), _transaction(self.path, "BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection, None, None]:
        """The one connection that may write; what is written counts once the block has ended without an error.

        Raises `InternalError` if that fails, or if others write for longer than `BUSY_SECONDS`.
        """
        with _failing(), _transaction(self.path, "BEGIN IMMEDIATE") as connection:
            yield connection


def _create(path: Path) -> None:
    """Makes an empty database; one that somebody else makes meanwhile is as good."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=f"{FILE_NAME}.", dir=path.parent)
        os.close(handle)
        try:
            with closing(_connect(Path(unfinished))) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(_TABLE)
            _name(unfinished, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError([f"{path}: it cannot be made ({error}): give a --home that can be written"]) from error


def _name(unfinished: str, path: Path) -> None:
    """It gets its name when it is whole: a file of this name that is no database is never a young one."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    except OSError:
        # Not every file system has hard links, such as some that servers mount.
        os.rename(unfinished, path)


def _connect(path: Path) -> sqlite3.Connection:
    # Mode rw opens what is there and makes nothing. Without an isolation level, Python begins nothing by itself.
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def _transaction(path: Path, begin: str) -> Generator[sqlite3.Connection, None, None]:
    """A connection in a transaction, committed at the end; after an error, closing takes everything back."""
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(begin)
        yield connection
        connection.execute("COMMIT")


def _num_applied(connection: sqlite3.Connection, part: str) -> int:
    question = "SELECT COALESCE(MAX(number), 0) FROM migrations WHERE part = ?"
    return connection.execute(question, (part,)).fetchone()[0]


def _migrate_once(path: Path, part: str, number: int, migration: Migration) -> None:
    with _transaction(path, "BEGIN IMMEDIATE") as connection:
        # Another process may have done it since we looked.
        if _num_applied(connection, part) >= number:
            return
        for statement in migration:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations (part, number) VALUES (?, ?)", (part, number))


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        [f"{path}: it is there and cannot be used ({error}): let this user read and write it, or put a copy of it back"]
    )


@contextmanager
def _refusing(path: Path) -> Generator[None, None, None]:
    """At start, a database that cannot be used is a reason not to start."""
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


@contextmanager
def _failing() -> Generator[None, None, None]:
    """Later on, it fails what was asked, and nothing else."""
    try:
        yield
    except sqlite3.Error as error:
        raise InternalError(f"the database could not be used: {error}") from error
