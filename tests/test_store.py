"""The database file: how it is made, migrated, shared and refused. Real files, real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.errors import ConfigurationError, InternalError
from playground.store import FILE_NAME, Migration, Store

ROOT = Path(__file__).parent.parent
PATIENCE = 60
NOBODY = 65534
NOTES: tuple[Migration, ...] = (
    ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",),
    ("ALTER TABLE notes ADD COLUMN stars INTEGER NOT NULL DEFAULT 0", "UPDATE notes SET stars = 5"),
)


def notes_in(store: Store) -> list[tuple]:
    with store.reading() as connection:
        return connection.execute("SELECT * FROM notes ORDER BY id").fetchall()


def add_note(store: Store, text: str | None) -> None:
    with store.writing() as connection:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def all_at_once(code: str, home: Path, count: int) -> None:
    """Runs `code` in as many processes, which all begin when the last one is ready; each must end well."""
    code = (
        f"import sys; from pathlib import Path\n{code}\nhome = Path(sys.argv[1])\nprint(flush=True); input()\nrun(home)"
    )
    command = [sys.executable, "-c", code, str(home)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, stderr=subprocess.STDOUT, text=True)
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n", process.stdout.read()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """File modes mean nothing to root: for a while, be somebody to whom they do."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError:
        pytest.skip("root cannot become anybody else here")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_home() -> Iterator[Path]:
    """A home that anybody may enter: pytest's own folders let nobody in."""
    home = Path(tempfile.mkdtemp(prefix="playground-store-"))
    home.chmod(0o755)
    yield home
    home.chmod(0o755)
    shutil.rmtree(home)


def test_it_makes_home_and_file_for_their_owner_alone(tmp_path):
    umask = os.umask(0)
    try:
        store = Store(tmp_path / "new" / "home")
    finally:
        os.umask(umask)
    assert store.path == tmp_path / "new" / "home" / FILE_NAME
    assert mode_of(store.path.parent) == 0o700
    assert mode_of(store.path) == 0o600
    assert [path.name for path in store.path.parent.iterdir()] == [FILE_NAME]


def test_the_files_beside_it_are_the_owners_alone_too(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    with store.reading() as reader:
        reader.execute("SELECT * FROM notes")
        add_note(store, "a")
        beside = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    assert beside == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}


def test_a_home_that_was_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)
    Store(tmp_path)
    assert mode_of(tmp_path) == 0o750


def test_asking_whether_there_is_one_makes_none(tmp_path):
    home = tmp_path / "home"
    assert not Store.exists(home)
    assert not home.exists()
    home.mkdir()
    assert not Store.exists(home)
    assert list(home.iterdir()) == []
    Store(home)
    assert Store.exists(home)


def test_connections_wait_and_check_and_write_ahead(tmp_path):
    with Store(tmp_path).reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] >= 5000


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    add_note(store, "a")
    again = Store(tmp_path)
    again.migrate("notes", NOTES)
    assert notes_in(again) == [(1, "a", 0)]


def test_an_error_takes_back_all_that_its_block_wrote(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)

    def fail():
        with store.writing() as connection:
            connection.execute("INSERT INTO notes (text) VALUES ('a')")
            raise KeyError("of the caller's own")

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(InternalError, match=r"notes\.text"):
        add_note(store, None)
    assert notes_in(store) == []


def test_a_process_that_dies_while_it_writes_leaves_nothing(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    code = (
        "import os, signal, sys; from pathlib import Path; from playground.store import Store\n"
        "with Store(Path(sys.argv[1])).writing() as connection:\n"
        "    connection.execute('PRAGMA cache_size = 1')\n"
        "    connection.executemany('INSERT INTO notes (text) VALUES (?)', [('x' * 5000,)] * 100)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert result.returncode == -9
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size > 0
    add_note(store, "after")
    assert notes_in(store) == [(1, "after", 0)]


def test_a_reader_sees_one_moment_while_others_write(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    with store.reading() as reader:
        assert reader.execute("SELECT COUNT(*) FROM notes").fetchone() == (0,)
        add_note(store, "a")
        assert reader.execute("SELECT COUNT(*) FROM notes").fetchone() == (0,)
    assert len(notes_in(store)) == 1


def test_threads_share_a_store(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    errors = []

    def work(name):
        try:
            for _ in range(20):
                with store.writing() as connection:
                    (count,) = connection.execute("SELECT COUNT(*) FROM notes").fetchone()
                    connection.execute("INSERT INTO notes (text) VALUES (?)", (f"{count} by {name}",))
                notes_in(store)
        except Exception as error:  # noqa: BLE001 - shown below, whatever it is
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert [int(text.split()[0]) for _, text, _ in notes_in(store)] == list(range(120))


def test_an_older_database_is_brought_up_to_date(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES[:1])
    add_note(store, "old")
    store.migrate("notes", NOTES)
    assert notes_in(store) == [(1, "old", 5)]
    with store.reading() as connection:
        records = connection.execute("SELECT part, number FROM migrations ORDER BY number").fetchall()
    assert records == [("notes", 1), ("notes", 2)]


def test_parts_number_their_migrations_apart(tmp_path):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    store.migrate("votes", [("CREATE TABLE votes (id INTEGER PRIMARY KEY)",)])
    store.migrate("notes", NOTES)
    with store.reading() as connection:
        assert connection.execute("SELECT COUNT(*) FROM votes").fetchone() == (0,)


def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_its_own(tmp_path):
    store = Store(tmp_path)
    broken = ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ConfigurationError, match="nowhere"):
        store.migrate("notes", [NOTES[0], broken])
    assert notes_in(store) == []
    mended = ("CREATE TABLE more (id INTEGER PRIMARY KEY)",)
    store.migrate("notes", [NOTES[0], mended])


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    Store(tmp_path).migrate("notes", NOTES)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(ConfigurationError) as caught:
        Store(tmp_path).migrate("notes", NOTES[:1])
    (problem,) = caught.value.problems
    for part in (str(tmp_path / FILE_NAME), "newer", "notes", "2", "1", "--home"):
        assert part in problem
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_processes_that_make_and_migrate_at_once_end_well(tmp_path):
    code = (
        "from playground.store import Store\n"
        "steps = [(f'CREATE TABLE t{n} (x)', f'INSERT INTO t{n} VALUES (1)') for n in range(30)]\n"
        "def run(home): Store(home).migrate('steps', steps)\n"
    )
    home = tmp_path / "home"
    all_at_once(code, home, 4)
    with Store(home).reading() as connection:
        assert connection.execute("SELECT COUNT(*) FROM migrations").fetchone() == (30,)
        assert connection.execute("SELECT COUNT(*) FROM t29").fetchone() == (1,)
    assert [path.name for path in home.iterdir()] == [FILE_NAME]


def test_a_database_that_was_made_meanwhile_is_kept(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.migrate("notes", NOTES)
    add_note(store, "theirs")
    # As it looked to us, a moment before they made it.
    monkeypatch.setattr(Store, "exists", lambda home: False)
    assert notes_in(Store(tmp_path)) == [(1, "theirs", 0)]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def somebody_elses(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")


def cut_short(path: Path) -> None:
    Store(path.parent).migrate("notes", NOTES)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x"),
        lambda path: path.write_bytes(bytes(range(256)) * 64),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("nowhere"),
        somebody_elses,
        cut_short,
    ],
    ids=["empty", "short", "garbage", "folder", "dangling", "another program's", "cut short"],
)
def test_what_is_there_and_is_no_database_is_refused_and_left_alone(tmp_path, spoil):
    path = tmp_path / FILE_NAME
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    assert Store.exists(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        Store(tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: it is there and cannot be used (")
    assert "\n" not in problem
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_database_that_this_user_may_not_read_is_refused(public_home):
    path = Store(public_home).path
    path.chmod(0)
    with without_privileges():
        assert Store.exists(public_home)
        with pytest.raises(ConfigurationError, match=r"cannot be used \(unable to open"):
            Store(public_home)


def test_a_home_that_this_user_may_not_enter_is_not_an_empty_one(public_home):
    Store(public_home)
    public_home.chmod(0)
    with without_privileges(), pytest.raises(ConfigurationError, match="cannot be used"):
        Store.exists(public_home)


def test_a_home_that_cannot_be_written_to_is_said(public_home):
    public_home.chmod(0o555)
    with without_privileges(), pytest.raises(ConfigurationError) as caught:
        Store(public_home)
    (problem,) = caught.value.problems
    assert str(public_home) in problem
    assert "--home" in problem
    assert list(public_home.iterdir()) == []


def test_a_home_below_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    assert not Store.exists(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        Store(tmp_path / "file")


def test_a_database_that_goes_away_later_fails_what_is_asked_then(tmp_path):
    store = Store(tmp_path)
    store.path.unlink()
    with pytest.raises(InternalError, match="database"), store.reading():
        pass
    with pytest.raises(InternalError, match="database"), store.writing():
        pass
    assert not store.path.exists()


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path / "home")
    assert [path.name for path in store.path.parent.iterdir()] == [store.path.name]
    Store(tmp_path / "home")
