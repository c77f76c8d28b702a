"""Keys, accounts and organizations, over real database files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from playground import accounts as accounts_module
from playground.accounts import Accounts
from playground.errors import ConfigurationError, Forbidden, InvalidKey, InvalidRequest
from playground.store import FILE_NAME, Store
from playground.types import Caller
from tests.test_store import all_at_once


@pytest.fixture
def accounts(tmp_path) -> Accounts:
    return Accounts(Store(tmp_path))


def caller_of(accounts: Accounts, key: str, org: str | None = None) -> Caller:
    return accounts.caller(accounts.sign_in(key), org)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_key_speaks_for_its_account(accounts):
    key = accounts.create("me", [])
    assert re.fullmatch(r"tt_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", key)
    assert accounts.sign_in(key) == key[3:11]
    assert caller_of(accounts, key) == Caller(account="me", manager=True)


def test_each_key_is_another(accounts):
    keys = {accounts.create("me", []) for _ in range(5)}
    assert len({key[:11] for key in keys}) == len({key[12:] for key in keys}) == 5
    assert {caller_of(accounts, key).account for key in keys} == {"me"}


def test_the_first_organization_ever_given_is_the_default(accounts):
    first = accounts.create("me", ["zoo", "acme"])
    assert caller_of(accounts, first) == Caller("me", "zoo", manager=True)
    second = accounts.create("me", ["aaa", "acme"])
    for key in (first, second):
        assert caller_of(accounts, key) == Caller("me", "zoo", manager=True)
        for org in ("zoo", "acme", "aaa"):
            assert caller_of(accounts, key, org) == Caller("me", org, manager=True)
    assert [record.orgs for record in accounts.list()] == [("zoo", "acme", "aaa")] * 2


def test_accounts_may_share_an_organization_and_choose_their_own_default(accounts):
    mine = accounts.create("me", ["acme", "zoo"])
    yours = accounts.create("you", ["zoo"])
    assert caller_of(accounts, mine).org == "acme"
    assert caller_of(accounts, yours).org == "zoo"
    with pytest.raises(Forbidden):
        caller_of(accounts, yours, "acme")


@pytest.mark.parametrize("org", ["other", "me", "", "Acme", "acme ", "é", "\ud800", "x" * 200])
def test_an_organization_that_is_not_the_accounts_is_forbidden(accounts, org):
    accounts.create("else", ["other"])
    key = accounts.create("me", ["acme", "zoo"])
    with pytest.raises(Forbidden) as caught:
        caller_of(accounts, key, org)
    assert caught.value.param == "X-Org-Id"
    assert caught.value.message.startswith(f"X-Org-Id: {repr(org)[:40]}")
    assert caught.value.message.endswith("it must be one of acme, zoo")
    assert len(caught.value.message) < 200


def test_an_account_without_organizations_says_so(accounts):
    key = accounts.create("me", [])
    with pytest.raises(Forbidden, match="belongs to no organization"):
        caller_of(accounts, key, "acme")


def test_a_key_that_is_nearly_right_is_wrong(accounts):
    key = accounts.create("me", [])
    other = accounts.create("you", [])
    last = "A" if key[-1] != "A" else "B"
    wrong = [
        "",
        "tt_",
        key[:-1],
        key[:-1] + last,
        key + "\n",
        key + "A",
        key + "\ud800",
        " " + key,
        key.upper(),
        key[3:],
        key[:12] + other[12:],
        "tt_00000000" + key[11:],
        key[:11],
        key[:20] + "é" + key[21:],
        key[:20] + "\ud800" + key[21:],
        hashlib.sha256(key.encode()).hexdigest(),
    ]
    for attempt in wrong:
        with pytest.raises(InvalidKey):
            accounts.sign_in(attempt)
    assert accounts.sign_in(key) == key[3:11]


def test_an_unknown_id_is_no_caller(accounts):
    accounts.create("me", [])
    for key_id in ("00000000", "", "me"):
        with pytest.raises(InvalidKey):
            accounts.caller(key_id)


def test_a_revoked_key_is_of_no_use_and_the_others_are(accounts, tmp_path):
    key = accounts.create("me", ["acme"])
    other = accounts.create("me", [])
    key_id = accounts.sign_in(key)
    # By another process's object, as the command does it beside a running server.
    Accounts(Store(tmp_path)).revoke(key_id)
    with pytest.raises(InvalidKey):
        accounts.sign_in(key)
    for org in (None, "acme", "other"):
        with pytest.raises(InvalidKey):
            accounts.caller(key_id, org)
    assert caller_of(accounts, other) == Caller("me", "acme", manager=True)
    assert [(record.id, record.revoked) for record in accounts.list()] == [(key_id, True), (other[3:11], False)]


def test_revoking_twice_keeps_the_first_time(accounts, tmp_path):
    key_id = accounts.create("me", [])[3:11]
    with Store(tmp_path).writing() as connection:
        connection.execute("UPDATE keys SET revoked_at = '2000-01-01 00:00:00'")
    accounts.revoke(key_id)
    with Store(tmp_path).reading() as connection:
        assert connection.execute("SELECT revoked_at FROM keys").fetchone() == ("2000-01-01 00:00:00",)


@pytest.mark.parametrize("key_id", ["00000000", "", "me", "\udcff", "tt_00000000"])
def test_revoking_what_is_no_key_is_said(accounts, key_id):
    key = accounts.create("me", [])
    with pytest.raises(InvalidRequest, match="8 characters"):
        accounts.revoke(key_id)
    assert caller_of(accounts, key)


def test_a_key_that_was_revoked_still_means_that_keys_are_on(accounts):
    assert not accounts.any_key()
    key = accounts.create("me", [])
    assert accounts.any_key()
    accounts.revoke(key[3:11])
    assert accounts.any_key()


def test_the_list_tells_all_and_no_secret(accounts):
    key = accounts.create("me", ["acme", "zoo"])
    accounts.create("you", [])
    mine, yours = accounts.list()
    assert (mine.id, mine.account, mine.orgs, mine.revoked) == (key[3:11], "me", ("acme", "zoo"), False)
    assert (yours.account, yours.orgs) == ("you", ())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", mine.created_at)
    assert key[12:] not in repr(accounts.list())


def test_no_key_is_anywhere_on_disk(accounts, tmp_path):
    with Store(tmp_path).reading() as reader:
        # Whoever reads keeps the write-ahead log from being folded away.
        reader.execute("SELECT * FROM keys").fetchall()
        keys = [accounts.create("me", ["acme"]) for _ in range(3)]
        for key in keys:
            accounts.sign_in(key)
        accounts.revoke(keys[0][3:11])
        files = bytes_below(tmp_path)
        assert len(files) == 3
    for content in (*files.values(), *bytes_below(tmp_path).values()):
        for key in keys:
            assert key.encode() not in content
            assert key[12:].encode() not in content
    # The scan would find what is there.
    assert any(hashlib.sha256(keys[0].encode()).digest() in content for content in files.values())


@pytest.mark.parametrize(
    "name",
    ["", " ", "-me", ".me", "_me", "me ", "a b", "a/b", "me\n", "é", "٣", "a\0b", "\udcff", "x" * 65, "me,you"],
)
def test_a_bad_name_names_value_and_rule_and_makes_nothing(accounts, name, tmp_path):
    for kind, attempt in (("account", (name, [])), ("organization", ("me", ["acme", name]))):
        with pytest.raises(InvalidRequest) as caught:
            accounts.create(*attempt)
        assert caught.value.param == kind
        assert caught.value.message.startswith(f"{kind}: {repr(name)[:70]}")
        assert "64" in caught.value.message
    assert not accounts.any_key()
    with Store(tmp_path).reading() as connection:
        assert connection.execute("SELECT * FROM owners").fetchall() == []


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-D", "x" * 64, "support-v2"])
def test_good_names(accounts, name):
    assert caller_of(accounts, accounts.create(name, [f"o{name[1:]}"])) == Caller(name, f"o{name[1:]}", manager=True)


def test_accounts_and_organizations_have_one_namespace(accounts):
    accounts.create("me", ["acme"])
    for attempt, param, kind in (
        (("acme", []), "account", "organization"),
        (("you", ["me"]), "organization", "account"),
        (("us", ["us"]), "organization", "account"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            accounts.create(*attempt)
        assert caught.value.param == param
        assert f"is the name of an {kind}" in caught.value.message
        assert "models.yaml" in caught.value.message
    assert [record.account for record in accounts.list()] == ["me"]
    # What was refused has left no name behind.
    accounts.create("them", ["you", "us"])


def test_an_id_is_never_given_twice(accounts, monkeypatch):
    key = accounts.create("me", [])
    accounts.revoke(key[3:11])
    drawn = iter([key[3:11], key[3:11], "0123abcd"])
    monkeypatch.setattr(accounts_module.secrets, "token_hex", lambda _: next(drawn))
    assert accounts.create("you", [])[3:11] == "0123abcd"
    with pytest.raises(InvalidKey):
        accounts.caller(key[3:11])


def test_the_cookie_secret_is_made_once_and_is_each_homes_own(accounts, tmp_path):
    secret = accounts.cookie_secret()
    assert len(secret) == 43
    assert accounts.cookie_secret() == Accounts(Store(tmp_path)).cookie_secret() == secret
    assert Accounts(Store(tmp_path / "other")).cookie_secret() != secret


def test_a_home_without_a_database_has_no_accounts_and_gets_none(tmp_path):
    assert Accounts.at(tmp_path / "home") is None
    assert list(tmp_path.iterdir()) == []
    key = Accounts(Store(tmp_path / "home")).create("me", [])
    found = Accounts.at(tmp_path / "home")
    assert found is not None
    assert caller_of(found, key).account == "me"


def test_a_database_that_cannot_be_read_is_not_one_without_keys(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not a database, and as long as a page of one would be" * 100)
    with pytest.raises(ConfigurationError):
        Accounts.at(tmp_path)


def test_a_database_with_nothing_of_accounts_in_it_gets_them(tmp_path):
    Store(tmp_path).migrate("notes", [("CREATE TABLE notes (text TEXT)",)])
    accounts = Accounts.at(tmp_path)
    assert accounts is not None
    assert not accounts.any_key()
    assert accounts.list() == ()


def test_processes_that_create_keys_at_once_all_get_one(tmp_path):
    code = (
        "from playground.accounts import Accounts; from playground.store import Store\n"
        "def run(home):\n"
        "    for number in range(10):\n"
        "        accounts = Accounts(Store(home))\n"
        "        accounts.caller(accounts.sign_in(accounts.create('me', [f'org{number}'])), f'org{number}')\n"
    )
    home = tmp_path / "home"
    all_at_once(code, home, 4)
    records = Accounts(Store(home)).list()
    assert len({record.id for record in records}) == len(records) == 40
    assert sorted(records[0].orgs) == sorted(f"org{number}" for number in range(10))
