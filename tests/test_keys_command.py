"""`python app.py keys …` over real homes: in this process, and once in one of its own, as a person runs it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import app
from playground.accounts import Accounts
from playground.store import FILE_NAME, Store

ROOT = Path(__file__).parent.parent
PATIENCE = 60


def run(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = app.main(args, {**os.environ, **environ})
        except SystemExit as left:
            status = int(left.code or 0)
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())


def run_alone(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "app.py", *args],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refusal(*args: str, **environ: str) -> str:
    """The one line that a refused command says."""
    result = run(*args, **environ)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


def accounts_of(home: Path) -> Accounts:
    accounts = Accounts.at(home)
    assert accounts is not None
    return accounts


def test_create_prints_the_key_alone_and_says_the_rest_aside(home):
    result = run_alone("keys", "create", "me", "--org", "acme", "zoo", "--org", "more", PLAYGROUND_HOME=str(home))
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"tt_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\n", result.stdout)
    assert "not shown again" in result.stderr
    key = result.stdout.strip()
    assert key[12:] not in result.stderr
    accounts = accounts_of(home)
    assert accounts.caller(accounts.sign_in(key), "more").account == "me"
    assert accounts.list()[0].orgs == ("acme", "zoo", "more")


def test_home_may_stand_anywhere_and_wins_over_the_environment(home, tmp_path):
    flag = ("--home", str(home))
    for args in (
        (*flag, "keys", "create", "a"),
        ("keys", *flag, "create", "b"),
        ("keys", "create", *flag, "c"),
        ("keys", "create", "d", *flag),
    ):
        assert run(*args, PLAYGROUND_HOME=str(tmp_path / "elsewhere")).returncode == 0
    assert [record.account for record in accounts_of(home).list()] == ["a", "b", "c", "d"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_list_is_an_aligned_table_without_secrets(home):
    accounts = Accounts(Store(home))
    keys = [accounts.create("me", ["acme", "zoo"]), accounts.create("somebody-else", [])]
    accounts.revoke(keys[1][3:11])
    result = run("keys", "list", "--home", str(home))
    assert (result.returncode, result.stderr) == (0, "")
    head, mine, other = result.stdout.splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{keys[0][3:11]}  me             acme \(default\), zoo  {time}  active", mine)
    assert re.fullmatch(rf"{keys[1][3:11]}  somebody-else  -                    {time}  revoked", other)
    for title, cell in (("ACCOUNT", "me"), ("ORGANIZATIONS", "acme"), ("STATE", "active")):
        assert head.index(title) == mine.index(cell)
    assert "UTC" in head
    assert keys[0][12:] not in result.stdout


def test_a_home_without_keys_is_said_and_not_made(home):
    listed = run("keys", "list", "--home", str(home))
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "keys create" in listed.stderr
    assert "keys create" in refusal("keys", "revoke", "00000000", "--home", str(home))
    assert not home.exists()


def test_revoke_ends_a_key(home):
    accounts = Accounts(Store(home))
    key_id = accounts.create("me", [])[3:11]
    result = run("keys", "revoke", key_id, "--home", str(home))
    assert (result.returncode, result.stdout) == (0, "")
    assert key_id in result.stderr
    assert [record.revoked for record in accounts.list()] == [True]


@pytest.mark.parametrize("wrong", ["00000000", "me", os.fsdecode(b"\xff")])
def test_revoking_an_unknown_id_is_said(home, wrong):
    Accounts(Store(home)).create("me", [])
    assert "'id'" not in (said := refusal("keys", "revoke", wrong, "--home", str(home)))
    assert said.startswith(f"id: {wrong!r} is not allowed: ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("a b",), "account: 'a b' is not allowed"),
        (("me", "--org", "a/b"), "organization: 'a/b' is not allowed"),
        (("acme",), "account: 'acme' is not allowed: it is the name of an organization"),
        (("me", "--org", "you"), "organization: 'you' is not allowed: it is the name of an account"),
    ],
)
def test_a_name_that_cannot_be_is_said(home, args, said):
    Accounts(Store(home)).create("you", ["acme"])
    assert refusal("keys", "create", *args, "--home", str(home)).startswith(said)
    assert len(accounts_of(home).list()) == 1


@pytest.mark.parametrize("action", [("create", "me"), ("list",), ("revoke", "00000000")])
def test_a_home_or_database_that_cannot_be_used_is_said(home, action):
    home.mkdir()
    (home / FILE_NAME).write_bytes(b"garbage" * 1000)
    assert str(home / FILE_NAME) in refusal("keys", *action, "--home", str(home))
    file = home / FILE_NAME
    assert refusal("keys", *action, "--home", str(file)).startswith("--home: ")
    assert refusal("keys", *action, PLAYGROUND_HOME=str(file)).startswith("PLAYGROUND_HOME: ")


@pytest.mark.parametrize("args", [("keys",), ("keys", "make"), ("keys", "create"), ("key", "list")])
def test_half_a_command_is_told_how_it_goes(args):
    result = run(*args)
    assert result.returncode == 2
    assert "usage: app.py" in result.stderr
    assert "Traceback" not in result.stderr


def test_commands_need_neither_page_nor_engine_nor_models(home):
    code = (
        "import os, sys, app\n"
        "status = app.main(['keys', 'create', 'me'], os.environ)\n"
        "heavy = {'gradio', 'fastapi', 'torch', 'transformers'} & {*sys.modules}\n"
        "sys.exit(status or ' '.join(heavy) or 0)\n"
    )
    environ = {**os.environ, "PLAYGROUND_HOME": str(home), "PLAYGROUND_MODELS": "/nowhere", "GRADIO_SERVER_PORT": "no"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(accounts_of(home).list()) == 1
