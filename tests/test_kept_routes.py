"""Evaluations and the history over REST: each account's own, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.accounts import Accounts
from playground.history.evaluations import Place
from playground.history.records import ALONE
from playground.store import Store
from playground.types import GenerationRequest, Message, Sampling
from tests.kept import add
from tests.server import DEMO, JSON, LLAMA, Server, serving

P = "/api/v1/playground"
NO_ID = "0" * 32
SPEC = json.dumps(
    {
        "name": "s",
        "system_prompt": "",
        "base_model": DEMO,
        "eval_cases": [{"input": "Hello", "assert": ["min-length:1"]}],
    }
)


@pytest.fixture(scope="module")
def guarded(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, str]]:
    """A server with two accounts, and their keys."""
    home = tmp_path_factory.mktemp("guarded")
    accounts = Accounts(Store(home))
    keys = accounts.create("ann", []), accounts.create("bob", [])
    with serving(models_file, home) as server:
        yield server, *keys


def done(server: Server, body: dict, **headers: str) -> str:
    reply = server.post(f"{P}/evaluations", body, **headers)
    assert reply.status == 200, reply.body
    evaluation_id = reply.json()["data"]["id"]
    server.app.evaluator.wait(evaluation_id)
    return evaluation_id


def test_each_account_has_its_own(guarded: tuple[Server, str, str]) -> None:
    server, ann, bob = guarded
    evaluation_id = done(server, {"spec": SPEC, "models": [DEMO], "max_tokens": 4}, Authorization=f"Bearer {ann}")
    run_id = add(server.app.playground.history, "of ann", "ann")
    one, run = f"{P}/evaluations/{evaluation_id}", f"{P}/runs/{run_id}"
    assert server.get(one, Authorization=ann).json()["data"]["state"] == "done"
    assert server.get(run, Authorization=ann).json()["data"]["sides"][0]["answer"]["content"] == "Good day!"
    reads = (one, f"{one}/cases", f"{one}/totals", f"{one}/report", f"{one}/cases/0/blind", run)
    for reply in (
        *(server.get(path, Authorization=bob) for path in reads),
        *(server.post(f"{one}/{verb}", {}, Authorization=bob) for verb in ("pause", "stop", "resume")),
        server.post(f"{one}/cases/0/vote", {"choice": "a"}, Authorization=bob),
        server.post(f"{run}/again", {}, Authorization=bob),
        *(server.send("DELETE", path, None, {"Authorization": bob}) for path in (one, run)),
    ):
        assert (reply.status, reply.error()["code"]) == (404, "not_found")
    for path in ("evaluations", "runs", "votes"):
        assert server.get(f"{P}/{path}", Authorization=bob).json()["data"] == []
        assert server.get(f"{P}/{path}").status == 401
    for what in ("runs.jsonl", "votes.jsonl", "preferences.jsonl"):
        assert server.get(f"{P}/export/{what}", Authorization=bob).body == b""
    assert b"of ann" in server.get(f"{P}/export/runs.csv", Authorization=ann).body


def test_what_is_not_there_looks_like_what_is_anothers(server: Server) -> None:
    for path in (f"{P}/evaluations/{NO_ID}", f"{P}/runs/{NO_ID}"):
        for reply in (server.get(path), server.send("DELETE", path, None, {})):
            assert (reply.status, reply.error()["code"]) == (404, "not_found")
    for path in (f"{P}/evaluations/x", f"{P}/runs/{'g' * 32}", f"{P}/export/secrets.csv", f"{P}/runs?limit=0"):
        assert (server.get(path).status, server.get(path).error()["code"]) == (400, "validation_error")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("evaluations/xx", "evaluation_id: 'xx' is not allowed: it must be an id as the list gives it"),
        ("runs/zz", "run_id: 'zz' is not allowed: it must be an id as the list gives it"),
        ("runs?search=" + "ab" * 501, "b' is not allowed: it must have at most 1000 characters"),
        ("runs?limit=many", "limit: 'many' is not allowed: it must be a whole number"),
        ("runs?limit=1.5", "limit: '1.5' is not allowed: it must be a whole number"),
        ("runs?before=" + "9" * 5000, "9' is not allowed: it must be a whole number, and a shorter one"),
        (f"evaluations/{NO_ID}/cases/first/blind", "number: 'first' is not allowed: it must be a whole number"),
        (
            f"evaluations/{NO_ID}/report?format=pdf",
            "format: 'pdf' is not allowed: it must be 'json', 'md', 'html' or 'csv'",
        ),
    ],
)
def test_what_breaks_a_rule_is_told_with_its_own(server: Server, path: str, message: str) -> None:
    assert server.get(f"{P}/{path}").error()["message"].endswith(message)


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({}, "spec", "spec"),
        ({"spec": "{}"}, "spec", "base_model"),
        ({"spec": SPEC, "colour": 1}, "colour", "colour"),
        ({"spec": SPEC, "models": [DEMO, DEMO]}, "models", "two that differ"),
        ({"spec": SPEC, "models": [DEMO, JSON, LLAMA]}, "models", "2"),
        ({"spec": SPEC, "max_tokens": 0}, "max_tokens", "1"),
        ({"spec": SPEC.replace(DEMO, "no/where")}, "base_model", "name the models"),
    ],
)
def test_what_cannot_begin_says_why(server: Server, body: dict, param: str, told: str) -> None:
    reply = server.post(f"{P}/evaluations", body)
    assert (reply.status, reply.error()["param"]) == (400, param)
    assert told in reply.error()["message"]
    assert server.post(f"{P}/evaluations", {"spec": SPEC, "models": ["me/nothing"]}).status == 404


def test_a_run_is_made_again_with_its_seed(server: Server) -> None:
    """What was kept of a real answer comes again, token by token."""
    history = server.app.playground.history
    evaluation_id = done(server, {"spec": SPEC, "models": [DEMO, JSON], "max_tokens": 12})
    kept = {one.place: one.answer for one in history.evaluations.answers(evaluation_id)}
    sampling = Sampling(max_tokens=12, temperature=0)
    requests = [GenerationRequest(m, (Message("user", "Hello"),), sampling=sampling, alone=False) for m in (DEMO, JSON)]
    run_id = history.runs.add(ALONE, "compare", requests, [kept[Place(0, 0)], kept[Place(0, 1)]])
    sides = server.post(f"{P}/runs/{run_id}/again", {}).json()["data"]
    assert [side["same"] for side in sides] == [True, True]
    assert all("The same" in side["reading"] for side in sides)


def test_files_come_as_files(server: Server) -> None:
    evaluation_id = done(server, {"spec": SPEC, "models": [DEMO], "max_tokens": 4})
    for form, kind in (
        ("json", "application/json"),
        ("md", "text/markdown"),
        ("html", "text/html"),
        ("csv", "text/csv"),
    ):
        reply = server.get(f"{P}/evaluations/{evaluation_id}/report?format={form}")
        assert reply.status == 200
        assert reply.headers["content-type"].startswith(kind)
        assert f".{form}" in reply.headers["content-disposition"]
    assert server.get(f"{P}/evaluations/{evaluation_id}/report?format=pdf").status == 400
    assert 'filename="votes.csv"' in server.get(f"{P}/export/votes.csv").headers["content-disposition"]


def test_keeping_is_switched_off_and_on(server: Server) -> None:
    history = server.app.playground.history
    assert server.get(f"{P}/history").json()["data"] == {"kept": True, "possible": True}
    off = server.send("PUT", f"{P}/history", b'{"kept": false}', {"Content-Type": "application/json"})
    assert off.json()["data"] == {"kept": False, "possible": True}
    assert not history.runs.is_kept(ALONE)
    server.send("PUT", f"{P}/history", b'{"kept": true}', {"Content-Type": "application/json"})
    assert history.runs.is_kept(ALONE)
    assert server.send("PUT", f"{P}/history", b'{"kept": 1}', {"Content-Type": "application/json"}).status == 400
