"""A Space on ZeroGPU: the program with a package that forks and pickles as the real one does, on a CPU."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect

from playground.local.steppers import Steppers
from playground.local.weights import tensors_of
from playground.local.zero_gpu import SECONDS_TO_BEGIN, seconds_of
from playground.types import GenerationRequest, Sampling
from tests.drive import free_port, wait_for
from tests.server import DEMO, JSON, PATIENCE, ROOT, Reply, Server
from tests.test_rows import make_house

STAND_IN = ROOT / "tests" / "zero_gpu"
CHAT = {"messages": [{"role": "user", "content": "Where is my lamp?"}]}


@dataclass
class Lent:
    """A program whose GPU is lent, and what the lender wrote down."""

    server: Server
    log: Path
    fault: Path

    def notes(self, what: str) -> list[dict[str, Any]]:
        return [note for note in map(json.loads, self.log.read_text().splitlines()) if what in note]

    def post(self, path: str, **body: Any) -> Reply:
        return self.server.post(path, body)


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lent]:
    folder = tmp_path_factory.mktemp("lent")
    log, fault, port = folder / "log", folder / "fault", free_port()
    environ = {
        **os.environ,
        "PYTHONPATH": str(STAND_IN),
        "SYSTEM": "spaces",
        "SPACE_ID": "me/playground",
        "SPACES_ZERO_GPU": "true",
        "STAND_IN_LOG": str(log),
        "STAND_IN_FAULT": str(fault),
        "PLAYGROUND_HOME": str(folder / "home"),
    }
    command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        while "running at" not in (line := process.stdout.readline()):
            assert line, "the program did not start"
        app: Any = None
        yield Lent(Server(f"http://127.0.0.1:{port}", app, folder), log, fault)
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


@pytest.fixture
def faulty(lent: Lent) -> Iterator[Path]:
    yield lent.fault
    lent.fault.unlink()


def test_the_space_is_told_before_its_page_is_up_that_a_gpu_is_wanted(lent: Lent) -> None:
    assert lent.notes("decorated")[0] == {"decorated": "_nothing"}


def test_the_page_compares_and_each_side_runs_in_a_fork_of_its_own(lent: Lent, visit) -> None:
    person = visit(f"{lent.server.url}/").open()
    before = len(lent.notes("began"))
    person.ask("How much is delivery?", "compare")
    for side in ("left", "right"):
        person.expect_state(side, "done")
        expect(person.text(side)).to_have_text(re.compile(r"\w+"))
    person.page.close()
    began = lent.notes("began")[before:]
    assert len({note["began"] for note in began}) == 2
    assert len({note["parent"] for note in began}) == 1


@pytest.mark.parametrize("model", [DEMO, JSON])
def test_rest_answers_as_without_a_lent_gpu(lent: Lent, demo_server: Server, model: str) -> None:
    body = {"model": model, **CHAT, "temperature": 0, "max_tokens": 40}
    found = lent.post("/api/v1/playground/completions", **body).json()["data"]
    expected = demo_server.post("/api/v1/playground/completions", body).json()["data"]
    assert (found["content"], found["usage"]) == (expected["content"], expected["usage"])
    assert found["proof"]["first"] == expected["proof"]["first"]


def test_a_stream_comes_piece_by_piece(lent: Lent) -> None:
    reply = lent.post("/v1/chat/completions", model=DEMO, **CHAT, max_tokens=8, stream=True)
    assert reply.status == 200
    assert reply.body.count(b"data: ") > 4
    assert reply.body.endswith(b"data: [DONE]\n\n")


def test_what_needs_no_gpu_asks_for_none(lent: Lent) -> None:
    began = len(lent.notes("began"))
    assert lent.post("/api/v1/playground/tokenize", model=JSON, **CHAT).status == 200
    assert len(lent.notes("began")) == began


def test_two_at_once_run_in_two_forks(lent: Lent) -> None:
    before = len(lent.notes("began"))
    body = {"model": DEMO, **CHAT, "temperature": 0, "max_tokens": 30}
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda _: lent.post("/api/v1/playground/completions", **body), range(2)))
    assert len({reply.json()["data"]["content"] for reply in replies}) == 1
    assert len({note["began"] for note in lent.notes("began")[before:]}) == 2


def test_whoever_leaves_closes_the_call(lent: Lent) -> None:
    before = len(lent.notes("began"))
    body = {"model": DEMO, "prompt": "Where", "max_tokens": 500, "logit_bias": {"2": -100}, "stream": True}
    request = urllib.request.Request(
        f"{lent.server.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with contextlib.closing(urllib.request.urlopen(request, timeout=PATIENCE)) as answer:
        assert answer.readline().startswith(b"data: ")
    pid = lent.notes("began")[before]["began"]
    wait_for(lambda: pid in [note["ended"] for note in lent.notes("ended")])
    (ended,) = [note for note in lent.notes("ended") if note["ended"] == pid]
    assert (ended["stopped"], ended["code"]) == (True, 0)


def test_a_refusal_comes_out_of_the_fork_as_it_is(lent: Lent) -> None:
    reply = lent.post("/v1/completions", model=DEMO, prompt="lamp " * 2000, max_tokens=1)
    assert reply.status == 400
    assert reply.error()["param"] == "prompt"


@pytest.mark.parametrize("fault", ["raise", "die"])
def test_what_breaks_in_the_fork_is_an_error_and_the_next_answer_is_none(lent: Lent, faulty: Path, fault: str) -> None:
    faulty.write_text(fault)
    reply = lent.post("/api/v1/playground/completions", model=DEMO, **CHAT)
    assert (reply.status, reply.error()["code"]) == (500, "internal_error")
    assert "GPU" in reply.error()["message"]
    faulty.write_text("")
    assert lent.post("/api/v1/playground/completions", model=DEMO, **CHAT, max_tokens=4).status == 200


def test_a_quota_that_is_used_up_is_told_in_its_own_words(lent: Lent, faulty: Path, visit) -> None:
    faulty.write_text("quota")
    reply = lent.post("/api/v1/playground/completions", model=DEMO, **CHAT, max_tokens=300)
    assert (reply.status, reply.error()["code"]) == (429, "overloaded")
    assert f"quota ({SECONDS_TO_BEGIN + 10}s requested)" in reply.error()["message"]
    person = visit(f"{lent.server.url}/").open("Single")
    person.ask("How much is delivery?")
    expect(person.problem("model")).to_contain_text("exceeded your free ZeroGPU quota")
    person.page.close()


# What it is made of


def test_a_gpu_is_asked_for_as_long_as_the_answer_may_take() -> None:
    def asked(max_tokens: int) -> int:
        return seconds_of(GenerationRequest("m", prompt="x", sampling=Sampling(max_tokens=max_tokens)))

    assert asked(0) == SECONDS_TO_BEGIN
    assert asked(1) == SECONDS_TO_BEGIN + 1
    assert asked(4096) == SECONDS_TO_BEGIN + 137


def test_all_that_rows_need_goes_to_the_gpu(tmp_path: Path) -> None:
    engine = make_house("llama", tmp_path).load(Steppers(kernels=False))
    meta = torch.device("meta")
    engine.move(meta)
    assert {tensor.device for _, tensor in tensors_of(engine._base.model)} == {meta}
    for tune in engine._fine_tunes.values():
        carried = [t for own in tune.adapter.factors.values() for t in (own.a, own.b, own.column_scale)]
        carried += [t for own in tune.adapter.saved.values() for t in own.values()]
        assert {tensor.device for tensor in carried if tensor is not None} == {meta}
