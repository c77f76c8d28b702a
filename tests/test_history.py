"""What is kept: found again, by its owner alone; never lost, never twice, whatever ends the process that writes."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from playground.accounts import MIGRATIONS as ACCOUNTS
from playground.accounts import Accounts
from playground.errors import ConfigurationError, InternalError, InvalidRequest
from playground.history import MIGRATIONS, History
from playground.history.records import ALONE, ANYBODY, KeptAnswer, RecordNotFound, owner_of
from playground.history.replaying import replay
from playground.history.tallies import tallies
from playground.history.votes import Pair
from playground.store import FILE_NAME, Store
from playground.types import ANYBODY as NOBODY
from playground.types import Caller, Message
from tests.kept import BASE, FINISH, PROOF, TUNE, add, answered, asked

ROOT = Path(__file__).parent.parent


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(Store(tmp_path))


def test_a_run_comes_back_as_it_was(history: History) -> None:
    requests = (asked("Grüße 😀\n", temperature=0.3), replace(asked("Grüße 😀\n", TUNE), strength=0.5, thinking=True))
    answers = (answered("a\0b\u2028c"), KeptAnswer("failed", error="out of memory"))
    run_id = history.runs.add(ALONE, "compare", requests, answers)
    assert run_id is not None
    run = history.runs.run(ALONE, run_id)
    assert (run.requests, run.answers) == (requests, answers)
    assert (run.kind, run.models, run.prompt, run.vote) == ("compare", (BASE, TUNE), "Grüße 😀\n", None)


def test_runs_are_found_by_all_their_words_in_any_letter_case(history: History) -> None:
    first = add(history, "Where is my PARCEL?", text="On its way to Zürich")
    second = add(history, "100% of_it 'quoted'")
    found = {text: [run.id for run in history.runs.search(ALONE, text)] for text in (
        "", "parcel WHERE", "ZÜRICH", "parcel teapot", "100%", "of_it", "%", "_", "'", "some/tune be KIND", '"',
    )}  # fmt: skip
    assert found == {
        "": [second, first], "parcel WHERE": [first], "ZÜRICH": [first], "parcel teapot": [], "100%": [second],
        "of_it": [second], "%": [second], "_": [second], "'": [second], "some/tune be KIND": [second, first], '"': [],
    }  # fmt: skip


def test_runs_are_listed_a_few_at_a_time(history: History) -> None:
    ids = [add(history, f"question {i}") for i in range(7)]
    listed, before = [], None
    while page := history.runs.search(ALONE, before=before, limit=3):
        assert len(page) <= 3
        listed += [run.id for run in page]
        before = page[-1].number
    assert listed == ids[::-1]
    assert [run.id for run in history.runs.all(ALONE)] == ids[::-1]


def test_each_owner_sees_their_own_alone(history: History) -> None:
    ann = add(history, "of ann", "ann")
    assert history.runs.search("bob") == history.runs.search(ALONE) == []
    for ask in (history.runs.run, history.runs.delete):
        with pytest.raises(RecordNotFound):
            ask("bob", ann)
    assert history.runs.delete_all("bob") == 0
    assert history.runs.run("ann", ann).owner == "ann"
    callers = (Caller("ann", "acme"), Caller(everything=True), NOBODY)
    assert [owner_of(caller) for caller in callers] == ["ann", ALONE, ANYBODY]


def test_nothing_is_kept_of_nobody_or_where_it_is_switched_off(history: History, tmp_path: Path) -> None:
    def kept(of: History, owner: str) -> bool:
        return of.runs.add(owner, "single", [asked("hi")], [answered()]) is not None

    assert not kept(history, ANYBODY)
    assert not history.runs.is_kept(ANYBODY)
    with pytest.raises(InvalidRequest, match="nobody signs in"):
        history.runs.keep(ANYBODY, True)
    history.runs.keep(ALONE, False)
    assert not kept(history, ALONE)
    assert kept(history, "ann"), "each decides for themselves"
    history.runs.keep(ALONE, True)
    assert kept(history, ALONE)
    silent = History(Store(tmp_path), keeps_runs=False)
    assert not kept(silent, "ann")
    assert not silent.runs.is_kept("ann")
    assert len(silent.runs.search("ann")) == 1, "what is there stays"


def test_what_is_deleted_is_not_in_the_file_either(history: History, tmp_path: Path) -> None:
    secret = "a very private question that nobody else may read"
    run_id = add(history, secret)
    add(history, "another")
    history.runs.delete(ALONE, run_id)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    with pytest.raises(RecordNotFound):
        history.runs.run(ALONE, run_id)


def test_a_run_goes_with_its_vote(history: History) -> None:
    run_id = add(history, "hi")
    pair = Pair((Message("user", "hi"),), (BASE, TUNE), ("one", "two"))
    history.votes.on_run(ALONE, run_id, pair, "right")
    with pytest.raises(InvalidRequest, match="already"):
        history.votes.on_run(ALONE, run_id, pair, "left")
    assert history.runs.run(ALONE, run_id).vote == "right"
    assert [vote.pair for vote in history.votes.all(ALONE)] == [pair]
    history.runs.delete_all(ALONE)
    assert list(history.votes.all(ALONE)) == []


def test_votes_are_counted_by_pair_whichever_side_a_model_was_on(history: History) -> None:
    for left, right, choice in (
        (BASE, TUNE, "right"), (TUNE, BASE, "left"), (BASE, TUNE, "left"), (TUNE, BASE, "tie"),
        (BASE, TUNE, "both_bad"), (BASE, "other", "left"),
    ):  # fmt: skip
        pair = Pair((Message("user", "hi"),), (left, right), ("one", "two"))
        history.votes.on_run(ALONE, add(history, "hi"), pair, choice)  # type: ignore[arg-type]
    most, other = tallies(history.votes.all(ALONE))
    assert most.models == (BASE, TUNE)
    assert most.counts == {"left": 1, "right": 2, "tie": 1, "both_bad": 1}
    assert most.win_rate is not None
    assert most.win_rate.value == pytest.approx(2.5 / 4)
    assert other.models == (BASE, "other")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "The same 2 tokens."),
        ({"adapter_hash": "c" * 64}, "Not the same weights: the adapter (aaaaaaaa then, cccccccc now) changed since."),
        ({"base_hash": "c" * 64, "revision": "v2"}, "the base's revision (main then, v2 now), the base's weights ("),
        ({"base_hash": None}, "The same 2 tokens."),
    ],
)
def test_a_run_that_is_made_again_says_what_changed(changes: dict[str, str], told: str) -> None:
    tokens = (1, 2) if told.startswith("The same") else (1, 3)
    now = replace(answered(), token_ids=tokens, finish=replace(FINISH, proof=replace(PROOF, **changes)))
    found = replay(answered(), now)
    assert told in found.reading
    assert found.same == (tokens == (1, 2))
    assert bool(found.changed) == (found.reading != "The same 2 tokens.")


def test_another_answer_of_the_same_weights_says_so() -> None:
    now = replace(answered(), token_ids=(1, 3))
    assert "another answer from token 2 on" in replay(answered(), now).reading
    unsure = replace(answered(), finish=replace(FINISH, exact_seed=False))
    assert "its seed is not exact" in replay(unsure, now).reading
    assert "could not be run again: gone" in replay(answered(), KeptAnswer("failed", error="gone")).reading
    stopped = replace(answered(), state="stopped", finish=None, token_ids=(1,))
    assert "did not come to its end" in replay(stopped, now).reading
    assert not replay(stopped, answered()).same


def test_answers_of_another_server_are_compared_by_their_text() -> None:
    before = replace(answered(), token_ids=(), text="One.", finish=replace(FINISH, view="remote", proof=None))
    assert replay(before, before).reading == "The same text."
    found = replay(before, replace(before, text="Another."))
    assert (found.same, "shows neither its weights" in found.reading) == (False, True)


def test_a_database_from_before_the_history_keeps_its_keys(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.migrate("accounts", ACCOUNTS)
    key = Accounts(store).create("ann", ["acme"])
    history = History(Store(tmp_path))
    add(history, "hi", "ann")
    assert Accounts(Store(tmp_path)).sign_in(key)
    assert len(History(Store(tmp_path)).runs.search("ann")) == 1


def test_a_database_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    add(History(Store(tmp_path)), "hi")
    Store(tmp_path).migrate("history", (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN stars INTEGER",)))
    with pytest.raises(ConfigurationError, match="newer version"):
        History(Store(tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)


WRITER = """
import sys
from pathlib import Path
from playground.history import History
from playground.store import Store
from tests.kept import add
history = History(Store(Path(sys.argv[1])))
number = int(sys.argv[2])
while number < int(sys.argv[3]):
    print(number, add(history, f"question {number}"), flush=True)
    number += 1
"""


def writer(home: Path, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(home), str(first), str(last)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_to_one_home(tmp_path: Path) -> None:
    processes = [writer(tmp_path, first, first + 50) for first in (0, 50)]
    told = [line.split() for process in processes for line in process.communicate(timeout=120)[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    kept = {run.id: run.prompt for run in History(Store(tmp_path)).runs.all(ALONE)}
    assert kept == {run_id: f"question {number}" for number, run_id in told}
    assert len(kept) == 100


def test_twenty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    told: dict[str, str] = {}
    number = 0
    for kill in range(20):
        process = writer(tmp_path, number, 10**9)
        assert process.stdout is not None
        for _ in range(3 + kill % 4):
            line = process.stdout.readline().split()
            told[line[1]] = line[0]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        # What was printed whole was acknowledged, however much of it nobody had read yet.
        told |= {run_id: done for done, run_id in (line.split() for line in rest.splitlines(True) if line[-1] == "\n")}
        number = max(map(int, told.values())) + 2
    kept = {run.id: run.prompt for run in History(Store(tmp_path)).runs.all(ALONE)}
    assert {run_id: kept[run_id] for run_id in told} == {i: f"question {n}" for i, n in told.items()}
    assert len(kept) == len(set(kept.values())), "nothing is there twice"
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB that can be made to refuse writes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_says_so_and_loses_nothing(small_disk: Path) -> None:
    history = History(Store(small_disk))
    kept: list[str] = []

    def fill() -> None:
        while True:
            kept.append(add(history, f"question {len(kept)} {'long ' * 500}"))

    with pytest.raises(InternalError, match="full"):
        fill()
    assert kept
    assert [run.id for run in history.runs.all(ALONE)] == kept[::-1]
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    assert add(history, "there is room again")


def test_a_disk_that_refuses_writes_says_so_and_loses_nothing(small_disk: Path) -> None:
    history = History(Store(small_disk))
    kept = add(history, "before")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(InternalError, match="database"):
        add(history, "meanwhile")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert [run.id for run in history.runs.all(ALONE)] == [kept]
    assert add(history, "after")
