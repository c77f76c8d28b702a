"""Behind a reverse proxy that serves the program below a path: page, REST, sign-in, and nothing outside the path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from playground.accounts import Accounts
from playground.store import Store
from tests.proxy import PREFIX, Proxy, proxying
from tests.server import DEMO, ROOT, Server, serving


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The program that knows where it is served, with no key."""
    home = tmp_path_factory.mktemp("home")
    with serving(ROOT / "models.yaml", home, GRADIO_ROOT_PATH=f"{PREFIX}/") as running:
        yield running


@pytest.fixture
def proxy(program: Server) -> Iterator[Proxy]:
    with proxying(program.url) as running:
        yield running
    assert running.strays == []


def through(proxy: Proxy, server: Server) -> Server:
    return Server(proxy.url.rstrip("/"), server.app, server.home)


def test_compare_answers_and_evaluate_lists(proxy: Proxy, visit) -> None:
    person = visit(proxy.url).open()
    person.ask("How much is delivery?", "compare")
    for side in ("left", "right"):
        person.expect_state(side, "done")
        expect(person.text(side)).to_have_text(re.compile(r"\w+"))
    person.page.get_by_role("tab", name="History").click()
    expect(person.page.locator("#history-tab").get_by_text("How much is delivery?").first).to_be_visible()
    person.page.get_by_role("tab", name="Evaluate").click()
    person.page.get_by_role("button", name="Try the demo's spec").click()
    expect(person.page.locator("#evaluate-tab").get_by_text(re.compile(r"\d+ cases")).first).to_be_visible()
    person.page.get_by_role("tab", name="Compare").click()
    expect(person.view_code("compare")).to_contain_text(f"{proxy.url}api/v1/playground/completions")


def test_its_documentation_is_drawn(proxy: Proxy, visit) -> None:
    person = visit(proxy.url)
    person.page.goto(f"{proxy.url}docs")
    expect(person.page.get_by_role("heading", name="Playground 1")).to_be_visible()
    expect(person.page.get_by_text("/api/v1/playground/completions").first).to_be_visible()


@pytest.mark.parametrize("strips", [True, False])
def test_rest_answers(program: Server, strips: bool) -> None:
    with proxying(program.url, strips=strips) as proxy:
        reached = through(proxy, program)
        assert reached.get("/healthz").status == 200
        body = {"model": DEMO, "prompt": "Where", "max_tokens": 4, "stream": True}
        reply = reached.post("/v1/completions", body)
        assert reply.status == 200
        assert reply.body.endswith(b"data: [DONE]\n\n")
        assert reached.get("/v1/nothing").error()["code"] == "not_found"
        assert reached.get("/").status == 200


def test_signing_in_and_out_stays_below_the_path(tmp_path: Path, visit) -> None:
    key = Accounts(Store(tmp_path)).create("me", [])
    with (
        serving(ROOT / "models.yaml", tmp_path, GRADIO_ROOT_PATH=PREFIX) as server,
        proxying(server.url) as proxy,
    ):
        person = visit(proxy.url)
        person.page.goto(proxy.url)
        person.page.get_by_label("API key").fill(key)
        person.page.get_by_role("button", name="Sign in").click()
        expect(person.frame("left")).to_be_visible()
        (cookie,) = person.page.context.cookies()
        assert cookie.get("path") == PREFIX
        person.page.get_by_role("button", name="Sign out").click()
        expect(person.page.get_by_label("API key")).to_be_visible()
        assert person.page.url == f"{proxy.url}sign-in"
        assert person.page.context.cookies() == []
        assert proxy.strays == []
