"""The page in a real browser, clicked as a person clicks it.

Most of it runs on the scripted service; what needs no script also runs on the real one with the demo.
Every test also asserts that the browser had no error to report and asked no other host for anything.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from fastapi import FastAPI
from playwright.sync_api import Locator, Page, expect
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from playground.errors import Overloaded
from playground.settings import read_settings
from playground.snippets import KEY_VARIABLE, snippets
from playground.types import Caller, GenerationRequest
from playground.ui import build_page, launch_settings
from playground.ui.calling import address_of
from playground.ui.streaming import Session
from tests.browser import PHONE, Person
from tests.drive import PATIENCE, free_port
from tests.fakes import BROKEN, JSON, OWNED, OWNER, UNLOADABLE, FakePlayground
from tests.shown_code import WAYS, run

ROOT = Path(__file__).parent.parent
MEASUREMENTS = ["First token", "Total", "Speed", "Prompt", "Answer", "Finish", "Seed", "Ran as"]


def launched(service: Any, *middleware: Middleware) -> Iterator[str]:
    page = build_page(service)
    page.queue(default_concurrency_limit=None, api_open=False)
    _, url, _ = page.launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        app_kwargs={"middleware": middleware},
        **launch_settings(),
    )
    yield url
    page.close()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> FakePlayground:
    return FakePlayground(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def scripted_url(scripted: FakePlayground) -> Iterator[str]:
    yield from launched(scripted)


class Door:
    """Believes whatever account a browser says it has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["caller"] = Caller(Request(scope).headers.get("x-account"))
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def guarded_url(scripted: FakePlayground) -> Iterator[str]:
    yield from launched(scripted, Middleware(Door))


@pytest.fixture(scope="module")
def inventory_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from launched(FakePlayground(tmp_path_factory.mktemp("home"), inference=False))


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The whole program over the demo's weights, as `python app.py` starts it."""
    if not (ROOT / "demo" / "adapters" / "shop-json").is_dir():
        pytest.skip("the demo's weights are not there")
    from app import App

    home = str(tmp_path_factory.mktemp("home"))
    program = App(read_settings(["--home", home, "--port", str(free_port())], {}))
    page, url = program.launch()
    yield url
    page.close()
    program.close()


@pytest.fixture
def fake(scripted: FakePlayground) -> Iterator[FakePlayground]:
    scripted.reset()
    yield scripted
    scripted.reset()


@pytest.fixture
def person(visit: Callable[..., Person], scripted_url: str, fake: FakePlayground) -> Person:
    return visit(scripted_url)


@pytest.fixture(params=["scripted", "demo"])
def page_url(request: pytest.FixtureRequest) -> str:
    """The page over the scripted service, then over the real one with the demo's weights."""
    if request.param == "scripted":
        request.getfixturevalue("fake")
    return request.getfixturevalue(f"{request.param}_url")


# Batches, without a browser.


async def counting(until: int, error: Exception | None = None) -> AsyncGenerator[int, None]:
    for number in range(until):
        yield number
        await asyncio.sleep(0)
    if error:
        raise error


async def collected(session: Session, events: AsyncGenerator[int, None]) -> list[int]:
    numbers: list[int] = []
    async for batch in session.batches(events):
        numbers += batch
        await asyncio.sleep(0.005)
    return numbers


def test_no_event_is_lost_when_the_stream_ends_behind_a_slow_reader():
    async def run() -> None:
        for until in range(0, 400, 7):
            assert await collected(Session(), counting(until)) == list(range(until))

    asyncio.run(run())


def test_an_error_comes_after_all_that_came_before_it():
    async def run() -> None:
        numbers: list[int] = []
        try:
            async for batch in Session().batches(counting(5, Overloaded("full"))):
                numbers += batch
        except Overloaded:
            numbers.append(-1)
        assert numbers == [0, 1, 2, 3, 4, -1]

    asyncio.run(run())


def test_stop_and_closing_both_close_the_stream():
    async def run(end: Callable[[Session], None]) -> bool:
        closed = asyncio.Event()

        async def endless() -> AsyncGenerator[int, None]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                closed.set()

        session = Session()
        async with aclosing(session.batches(endless())) as batches:
            async for _ in batches:
                end(session)
                if end is left:
                    break
        return closed.is_set()

    def left(_: Session) -> None:
        return None

    assert asyncio.run(run(Session.stop))
    assert asyncio.run(run(left))


# What needs no script: on the scripted service and on the real one.


def test_a_newcomer_clicks_an_example_and_sees_both_sides(visit, page_url):
    newcomer = visit(page_url).open()
    newcomer.page.get_by_role("button", name="Where is my parcel?").click()
    for side in ("left", "right"):
        newcomer.expect_state(side, "done")
        expect(newcomer.text(side)).not_to_be_empty()
        assert newcomer.frame(side).locator(".pg-metrics dt").all_inner_texts() == MEASUREMENTS
        expect(newcomer.metric(side, "Finish")).to_have_text(re.compile("stop|length"))
    expect(newcomer.text("right").locator(".pg-json")).to_be_visible()
    expect(newcomer.page.locator(".pg-difference")).to_contain_text("Only the right answer is JSON.")
    newcomer.expect_idle("compare")
    assert newcomer.metric("left", "Seed").inner_text() == newcomer.metric("right", "Seed").inner_text()


def test_a_conversation_of_several_turns_keeps_each_answers_measurements(visit, page_url):
    person = visit(page_url).open("Single")
    person.pick("model", "shop-demo|Shop demo")
    for number, question in enumerate(("Where is my parcel?", "How much is delivery?", "Thank you!")):
        person.ask(question)
        person.expect_state("model", "done", number)
        expect(person.page.locator("#single-prompt textarea")).to_have_value("")
        person.expect_idle("single")
    expect(person.answers("model")).to_have_count(3)
    for number in range(3):
        expect(person.metric("model", "Total", number)).to_have_text(re.compile(r"\d (ms|s)$"))
        expect(person.metric("model", "Prompt", number)).to_have_text(re.compile(r"^\d+ tok$"))


def test_retry_and_edit(visit, page_url):
    person = visit(page_url).open("Single")
    for question in ("Where is my parcel?", "How much is delivery?"):
        person.ask(question)
        person.expect_state("model", "done")
        person.expect_idle("single")
    seed = person.metric("model", "Seed", 1).inner_text()
    person.frame("model").get_by_role("button", name="Retry").last.click()
    expect(person.metric("model", "Seed", 1)).not_to_have_text(re.compile(f"^({seed}|–)$"))
    person.expect_state("model", "done", 1)
    person.expect_idle("single")
    expect(person.answers("model")).to_have_count(2)
    person.frame("model").get_by_role("button", name="Edit").first.click()
    person.page.get_by_label("Edited question").fill("Can I return a lamp?")
    person.page.get_by_role("button", name="Ask again").click()
    expect(person.frame("model").locator(".pg-bubble")).to_have_text(["Can I return a lamp?"])
    person.expect_state("model", "done", 0)
    person.expect_idle("single")
    person.page.locator("#clear").click()
    expect(person.answers("model")).to_have_count(0)


def test_an_empty_prompt_is_answered_with_a_sentence(visit, page_url):
    person = visit(page_url).open()
    person.page.locator("#compare-run").click()
    notice = person.page.locator("#compare-notice").get_by_role("alert")
    expect(notice).to_contain_text("The prompt is empty")
    person.ask("How much is delivery?", "compare", "Control+Enter")
    person.expect_state("left", "done")
    expect(notice).to_be_hidden()


def test_a_phone_in_the_dark(visit, page_url):
    person = visit(page_url, viewport=PHONE, color_scheme="dark").open()
    assert person.page.evaluate("document.body.classList.contains('dark')")
    person.ask("Where is my parcel?", "compare")
    person.expect_state("right", "done")
    expect(person.page.locator(".pg-difference")).to_be_visible()
    assert_fits(person.page)
    person.page.get_by_role("tab", name="Single").click()
    person.ask("Where is my parcel? " + "x" * 200)
    person.expect_state("model", "done")
    assert_fits(person.page)


def assert_fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


# What needs the script.


def test_the_first_look(person):
    person.open()
    assert person.page.locator("#left-picker input").input_value() == "shop-demo · on disk · 4 MB"
    assert person.page.locator("#right-picker input").input_value() == "↳ shop-json · on disk · 470 kB"
    assert person.options("left") == [
        "shop-demo · on disk · 4 MB",
        "↳ shop-json · on disk · 470 kB",
        "↳ shop-pirate · on disk · 470 kB",
        "↳ shop-broken · cannot be run: adapter_config.json is missing",
        "thinker-2B · 4.6 GB to download",
        "too-large · 61.0 GB to download",
    ]
    expect(person.page.get_by_label("Seed")).to_be_hidden()
    places = ("compare-view-code", "compare-prompt", "system-prompt")
    link, box, settings = (person.page.locator(f"#{place}").bounding_box() for place in places)
    assert link["y"] + link["height"] < box["y"]
    assert abs(box["y"] - settings["y"]) <= 1, "the button takes no room from the tab"


def test_both_sides_stream_at_the_same_time_and_nothing_jumps(person, fake):
    person.open()
    boxes = [person.frame(side).bounding_box() for side in ("left", "right")]
    person.ask("Where is it? gate-middle", "compare")
    expect(person.text("left")).to_have_text("Your parcel is")
    expect(person.text("right")).to_contain_text("order_status")
    for side in ("left", "right"):
        person.expect_state(side, "streaming")
    assert boxes == [person.frame(side).bounding_box() for side in ("left", "right")]
    expect(person.page.get_by_role("button", name="How much is delivery?")).to_be_disabled()
    fake.gate("middle").open()
    for side in ("left", "right"):
        person.expect_state(side, "done")
    assert boxes == [person.frame(side).bounding_box() for side in ("left", "right")]
    left, right = fake.requests
    assert left.messages == right.messages
    assert left.sampling == right.sampling
    assert left.sampling.seed is not None
    assert not left.alone
    assert not right.alone


@pytest.mark.parametrize("where", ["load", "first", "middle"])
def test_stop_in_compare(person, fake, where):
    person.open()
    person.ask(f"Where is it? gate-{where}", "compare")
    assert fake.gate(where).reached.wait(PATIENCE)
    if where == "middle":
        expect(person.text("left")).to_have_text("Your parcel is")
    if where == "load":
        bar = person.answers("left").get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-valuenow", "40")
        expect(person.answers("left")).to_contain_text("Downloading · 40% · 1.8 of 4.6 GB")
    person.stop("compare")
    for side in ("left", "right"):
        person.expect_state(side, "stopped")
        expect(person.answers(side).locator(".pg-cut")).to_have_text("Stopped")
        expect(person.metric(side, "Finish")).to_have_text("stopped")
    assert fake.gate(where).closed.wait(PATIENCE)
    expect(person.text("left")).to_have_text("Your parcel is" if where == "middle" else "")
    person.expect_idle("compare")
    expect(person.page.locator(".pg-difference")).to_be_hidden()
    person.ask("Where is it?", "compare")
    person.expect_state("left", "done")


def test_stop_in_single_keeps_the_part_and_goes_on_from_it(person, fake):
    person.open("Single")
    person.pick("model", "shop-demo")
    person.ask("Where is it? gate-middle")
    expect(person.text("model")).to_have_text("Your parcel is")
    person.stop("single")
    person.expect_state("model", "stopped")
    person.expect_idle("single")
    person.ask("And now? gate-first")
    assert fake.gate("first").reached.wait(PATIENCE)
    person.stop("single")
    person.expect_state("model", "stopped", 1)
    person.expect_idle("single")
    person.ask("Once more")
    person.expect_state("model", "done", 2)
    told = [message.content for message in fake.requests[-1].messages]
    assert told == ["Where is it? gate-middle", "Your parcel is", "Once more"]
    expect(person.metric("model", "Answer", 0)).to_have_text("3 tok")


def test_a_closed_tab_frees_the_model(visit, scripted_url, fake):
    person = visit(scripted_url).open()
    person.ask("Where is it? gate-first", "compare")
    assert fake.gate("first").reached.wait(PATIENCE)
    person.page.close()
    assert fake.gate("first").closed.wait(PATIENCE)


def test_a_tab_that_closes_before_its_stream_opens_frees_the_model(visit, scripted_url, fake):
    person = visit(scripted_url)
    person.page.route("**/queue/data*", lambda route: None)
    person.open()
    person.ask("Where is it? gate-first", "compare")
    assert fake.gate("first").reached.wait(PATIENCE)
    person.page.close()
    assert fake.gate("first").closed.wait(PATIENCE)


def test_two_people_do_not_disturb_each_other(visit, scripted_url, fake):
    one, two = (visit(scripted_url).open("Single") for _ in range(2))
    for somebody in (one, two):
        somebody.pick("model", "shop-demo")
    one.ask("Mine. gate-middle")
    expect(one.text("model")).to_have_text("Your parcel is")
    two.ask("Something else")
    two.expect_state("model", "done")
    one.expect_state("model", "streaming")
    one.stop("single")
    one.expect_state("model", "stopped")
    two.ask("A second question")
    expect(two.text("model")).to_contain_text("This is answer 2.")
    assert fake.requests[-1].messages[0].content == "Something else"


def test_a_side_that_fails_leaves_the_other_alone(person, fake):
    person.open()
    person.pick("right", "too-large")
    person.ask("Where is it?", "compare")
    person.expect_state("left", "done")
    person.expect_state("right", "failed")
    expect(person.problem("right")).to_contain_text("The model could not be loaded")
    expect(person.problem("right")).to_contain_text("out of memory: <b>61 GB</b> are needed")
    expect(person.problem("right").locator("b")).to_have_count(0)
    expect(person.text("right")).to_be_empty()
    expect(person.problem("left")).to_be_hidden()
    person.expect_idle("compare")
    person.pick("right", "shop-json")
    person.ask("Where is it?", "compare")
    person.expect_state("right", "done")
    expect(person.problem("right")).to_be_hidden()
    assert [request.model for request in fake.requests].count(UNLOADABLE) == 1


def test_errors_in_single_stay_out_of_the_conversation(person, fake):
    person.open("Single")
    person.pick("model", "shop-broken")
    expect(person.page.locator("#model-note")).to_have_text("Cannot be run: adapter_config.json is missing")
    person.ask("Hello?")
    person.expect_state("model", "failed")
    expect(person.problem("model")).to_contain_text("adapter_config.json is missing")
    expect(person.text("model")).to_be_empty()
    person.pick("model", "shop-demo")
    person.frame("model").get_by_role("button", name="Retry").click()
    person.expect_state("model", "done")
    expect(person.problem("model")).to_be_hidden()
    person.ask("Where is it? break-off")
    person.expect_state("model", "failed", 1)
    expect(person.answers("model").nth(1)).to_contain_text("Broken off by an error")
    expect(person.problem("model")).to_contain_text("the device went away")
    assert fake.requests[0].model == BROKEN


def test_after_a_bug_the_buttons_come_back(person):
    person.open("Single")
    person.ask("a bug")
    expect(person.problem("model")).to_contain_text("Something broke")
    person.expect_idle("single")
    person.ask("Where is it?")
    person.expect_state("model", "done", 1)


def test_text_of_a_model_stays_text(person):
    person.open("Single")
    person.pick("model", "shop-demo")
    person.ask("a long answer")
    person.expect_state("model", "done")
    text = person.text("model")
    expect(text.locator("strong")).to_have_text("Check the label.")
    expect(text.locator("li")).to_have_count(4)
    expect(text.locator("td")).to_have_text(["Packing", "1 day", "Delivery", "2–3 days"])
    expect(text.locator("pre")).to_have_text('print("parcel")')
    expect(text.locator("img, script, iframe, video, object, form")).to_have_count(0)
    expect(text).to_contain_text('<img src="https://evil.example/leak.png" onerror="alert(1)">')
    person.frame("model").get_by_role("button", name="Raw").click()
    expect(text).to_contain_text("1. **Check the label.** The number starts with `SH-`.")


def test_the_difference_by_sentence_and_by_field(person):
    person.open()
    person.pick("right", "shop-pirate")
    person.ask("Where is it?", "compare")
    difference = person.page.locator(".pg-difference")
    expect(difference.locator("ins")).to_have_text(["Arr!"])
    expect(difference.locator("del")).to_have_count(0)
    person.pick("right", "shop-json")
    person.ask("Where is it? as json", "compare")
    expect(difference).to_contain_text("2 of 4 fields differ.")
    expect(difference.locator("th")).to_have_text(["Field", "Left · shop-demo", "Right · shop-json"])
    expect(difference.locator("tr.pg-changed td")).to_have_text(["priority", '"low"', '"high"'])
    expect(difference.locator("tr.pg-added td")).to_have_text(["order.days", "absent", "7"])
    person.pick("left", "shop-json")
    person.ask("Where is it?", "compare")
    expect(difference).to_contain_text("None: both answers are the same")


def test_swap_takes_answers_along(person):
    person.open()
    person.ask("Where is it?", "compare")
    person.expect_state("right", "done")
    person.expect_idle("compare")
    person.page.locator("#swap").click()
    expect(person.text("left")).to_contain_text("order_status")
    expect(person.page.locator("#left-picker input")).to_have_value(re.compile("shop-json"))
    expect(person.page.locator(".pg-difference")).to_contain_text("Only the left answer is JSON.")


def test_settings_reach_the_model(person, fake):
    person.open("Single")
    person.page.get_by_label("System prompt").fill("Be brief.")
    person.page.locator("#temperature input[type=number]").fill("0.2")
    person.page.locator("#temperature input[type=number]").press("Tab")
    person.page.locator("#more button").first.click()
    person.page.get_by_label("Seed").fill("42")
    person.page.get_by_label("Stop strings").fill("END\n\\n\\n")
    person.ask("Where is it?")
    person.expect_state("model", "done")
    request = fake.requests[-1]
    assert request.model == JSON
    assert [message.role for message in request.messages] == ["system", "user"]
    assert (request.sampling.temperature, request.sampling.seed) == (0.2, 42)
    assert request.sampling.stop == ("END", "\n\n")
    assert request.alone
    expect(person.metric("model", "Seed")).to_have_text("42")
    person.page.get_by_label("Seed").fill("many")
    person.ask("Where is it?")
    expect(person.page.locator("#single-notice")).to_contain_text("'many' is not allowed")
    person.expect_idle("single")


def test_thinking_is_offered_where_a_model_thinks_and_shown_apart(person, fake):
    person.open("Single")
    person.page.locator("#more button").first.click()
    expect(person.page.get_by_label("Seed")).to_be_visible()
    expect(person.page.get_by_label("Thinking")).to_have_count(0)
    person.pick("model", "thinker-2B")
    person.page.get_by_label("Thinking").check()
    person.ask("Where is it?")
    person.expect_state("model", "done")
    thinking = person.answers("model").locator("details")
    expect(thinking).to_have_text("ThinkingThe person asks about a parcel.")
    expect(thinking).not_to_have_attribute("open", "")
    expect(person.text("model")).to_have_text("Your parcel is on its way. It comes tomorrow. This is answer 1.")
    expect(person.page.locator("#model-picker input")).to_have_value("thinker-2B · loaded")


def test_inference_off(visit, inventory_url):
    person = visit(inventory_url).open()
    expect(person.page.locator(".pg-off")).to_contain_text("Running is switched off")
    expect(person.page.locator("#compare-run")).to_be_disabled()
    expect(person.page.get_by_role("button", name="How much is delivery?")).to_be_disabled()
    expect(person.page.locator("#compare-view-code")).to_be_disabled()
    person.ask("Where is it?", "compare")
    expect(person.problem("left")).to_contain_text("Running is switched off here")


# Who is calling.


def test_a_fine_tune_with_an_owner_is_there_for_its_owner_alone(visit, guarded_url, fake):
    owner = visit(guarded_url, extra_http_headers={"X-Account": OWNER}).open()
    stranger = visit(guarded_url).open()
    expect(owner.page.locator("#right-picker input")).to_have_value(re.compile("shop-json"))
    owner.pick("right", "tickets")
    expect(owner.page.locator("#right-note")).to_have_text("Fine-tune of shop-demo")
    owner.ask("Where is it?", "compare")
    owner.expect_state("right", "done")
    owner.expect_idle("compare")
    expect(owner.page.locator("#right-picker input")).to_have_value("↳ tickets · loaded")
    owner.page.get_by_role("tab", name="Single").click()
    owner.pick("model", "tickets")
    owner.ask("Where is it?")
    owner.expect_state("model", "done")
    assert [request.model for request in fake.requests].count(OWNED) == 2
    stranger.ask("Where is it?", "compare")
    stranger.expect_state("right", "done")
    stranger.expect_idle("compare")
    assert not [option for option in stranger.options("right") if "tickets" in option]
    assert OWNED not in stranger.page.request.get(f"{guarded_url}config").text()
    assert OWNED not in stranger.page.content()


@pytest.mark.parametrize(("tab", "side"), [("Compare", "right"), ("Single", "model")])
def test_who_may_see_a_model_no_longer_is_told_that_there_is_none(visit, guarded_url, fake, tab, side):
    person = visit(guarded_url, extra_http_headers={"X-Account": OWNER}).open(tab)
    person.pick(side, "tickets")
    expect(person.page.locator(f"#{side}-note")).to_have_text("Fine-tune of shop-demo")
    person.page.context.set_extra_http_headers({})
    notice = person.page.locator(f"#{tab.lower()}-notice").get_by_role("alert")
    person.page.locator(f"#{tab.lower()}-view-code").click()
    expect(notice).to_contain_text("There is no such model")
    person.page.context.set_extra_http_headers({"X-Account": OWNER})
    person.view_code(tab.lower()).get_by_role("button", name="Close").click()
    expect(notice).to_be_hidden()
    person.page.context.set_extra_http_headers({})
    person.ask("Where is it?", tab.lower())
    expect(notice).to_contain_text("There is no such model")
    assert fake.requests == []


@pytest.mark.parametrize(
    ("headers", "root_path", "address"),
    [
        ({"host": "127.0.0.1:7860"}, "", "http://127.0.0.1:7860"),
        ({"host": "10.0.0.7:7860", "x-forwarded-proto": "https"}, "", "https://10.0.0.7:7860"),
        (
            {"host": "inner:7860", "x-forwarded-host": "play.example", "x-forwarded-proto": "https"},
            "/models",
            "https://play.example/models",
        ),
    ],
)
def test_the_address_is_the_one_that_the_browser_sees(headers, root_path, address):
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "server": ("inner", 7860),
        "path": "/gradio_api/queue/join",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "app": FastAPI(root_path=root_path),
    }
    assert address_of(gr.Request(Request(scope))) == address


# The code of a request.

ODD = 'It\'s "here" & `there`, $HOME!\n</script><img src=x onerror=alert(1)> 你好 🎉 \\n'


def shown(panel: Locator) -> list[str]:
    """The code in each language, read one after the other."""
    found: list[str] = []
    for name in panel.get_by_role("radio").all():
        name.check(force=True)
        found.append(panel.locator("code").text_content() or "")
    return found


def code_of(requests: list[GenerationRequest], url: str) -> list[str]:
    return [snippet.code for snippet in snippets(requests, url.rstrip("/"), keys_on=False)]


def test_the_code_in_compare_is_what_run_sends(person, fake):
    person.open()
    person.page.get_by_label("System prompt").fill("Be brief.\nNever lie.")
    person.page.locator("#compare-prompt textarea").fill(ODD)
    boxes = [person.frame(side).bounding_box() for side in ("left", "right")]
    panel = person.view_code("compare")
    expect(panel.locator("img")).to_have_count(0)
    codes = shown(panel)
    assert boxes == [person.frame(side).bounding_box() for side in ("left", "right")]
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_be_hidden()
    person.page.locator("#compare-run").click()
    for side in ("left", "right"):
        person.expect_state(side, "done")
    unseeded = [replace(request, sampling=replace(request.sampling, seed=None)) for request in fake.requests]
    assert [request.messages[-1].content for request in unseeded] == [ODD, ODD]
    assert codes == code_of(unseeded, person.url)


def test_the_code_in_single_goes_on_with_the_conversation(person, fake):
    person.open("Single")
    person.pick("model", "shop-demo")
    person.ask("Where is it?")
    person.expect_state("model", "done")
    person.expect_idle("single")
    person.page.locator("#more button").first.click()
    person.page.get_by_label("Seed").fill("42")
    person.page.get_by_label("Stop strings").fill("END")
    person.page.locator("#single-prompt textarea").fill("And now?")
    codes = shown(person.view_code("single"))
    person.page.keyboard.press("Escape")
    person.page.locator("#single-run").click()
    person.expect_state("model", "done", 1)
    told = [message.content for message in fake.requests[-1].messages]
    assert told == ["Where is it?", "Your parcel is on its way. It comes tomorrow. This is answer 1.", "And now?"]
    assert codes == code_of(fake.requests[-1:], person.url)


def test_the_code_of_an_empty_box_asks_an_example(person, fake):
    person.open("Single")
    panel = person.view_code("single")
    expect(panel).to_contain_text("The prompt is empty: an example stands in its place.")
    expect(panel.locator("code")).to_contain_text("Where is my parcel? I ordered a lamp last week.")
    expect(panel).not_to_contain_text(KEY_VARIABLE)
    assert fake.requests == []


def test_where_keys_are_on_the_code_reads_one(person, fake, monkeypatch):
    monkeypatch.setattr(fake, "keys_on", True)
    person.open()
    panel = person.view_code("compare")
    expect(panel.locator("p")).to_contain_text(f"Put a key in the environment as {KEY_VARIABLE}.")
    assert all(KEY_VARIABLE in code for code in shown(panel))


def test_the_panel_opens_again_in_the_language_that_was_read_last(person):
    person.open()
    panel = person.view_code("compare")
    expect(panel.get_by_role("radio", name="curl")).to_be_checked()
    panel.get_by_text("Python (httpx)").click()
    expect(panel.locator("code")).to_contain_text("import httpx")
    person.page.keyboard.press("ArrowRight")
    expect(panel.locator("code")).to_contain_text("await fetch")
    person.page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(person.page.locator("#compare-view-code")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(panel.get_by_role("radio", name="JavaScript (fetch)")).to_be_focused()
    expect(panel.locator("code")).to_contain_text("await fetch")
    person.page.mouse.click(5, 5)
    expect(panel).to_be_hidden()
    person.page.get_by_role("tab", name="Single").click()
    expect(person.view_code("single").locator("code")).to_contain_text("await fetch")


def test_the_code_is_copied_to_the_character(visit, scripted_url, fake):
    person = visit(scripted_url, permissions=["clipboard-read", "clipboard-write"]).open()
    person.page.locator("#compare-prompt textarea").fill(ODD)
    panel = person.view_code("compare")
    for name in ("curl", "JavaScript (fetch)"):
        panel.get_by_role("radio", name=name).check(force=True)
        panel.get_by_role("button", name="Copy").click()
        expect(panel.get_by_role("button", name="Copied")).to_be_visible()
        assert person.page.evaluate("navigator.clipboard.readText()") == panel.locator("code").text_content()
        expect(panel.get_by_role("button", name="Copied")).to_have_count(0)


def test_the_code_is_copied_where_the_browser_has_no_clipboard(visit, scripted_url, fake):
    person = visit(scripted_url)
    person.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    person.open()
    panel = person.view_code("compare")
    panel.get_by_role("button", name="Copy").click()
    code = panel.locator("code").text_content()
    panel.get_by_role("button", name="Close").click()
    box = person.page.locator("#compare-prompt textarea")
    box.press("Control+V")
    expect(box).to_have_value(str(code))


@pytest.mark.parametrize("tab", ["compare", "single"])
def test_settings_that_cannot_be_run_have_no_code(person, tab):
    person.open(tab.title())
    person.page.locator("#more button").first.click()
    person.page.get_by_label("Seed").fill("many")
    person.page.locator(f"#{tab}-view-code").click()
    notice = person.page.locator(f"#{tab}-notice")
    expect(notice).to_contain_text("'many' is not allowed")
    expect(person.page.locator(f"#{tab}-code").get_by_role("dialog")).to_be_hidden()
    person.page.get_by_label("Seed").fill("")
    person.view_code(tab)
    expect(notice.get_by_role("alert")).to_be_hidden()


def test_the_code_on_a_phone(visit, scripted_url, fake):
    person = visit(scripted_url, viewport=PHONE, color_scheme="dark").open()
    person.page.locator("#compare-prompt textarea").fill("one long line " * 40)
    panel = person.view_code("compare")
    assert_fits(person.page)
    box = panel.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert box["y"] + box["height"] <= PHONE["height"]
    assert panel.locator("pre").evaluate("node => node.scrollWidth > 3 * node.clientWidth")
    assert panel.evaluate("node => node.scrollWidth <= node.clientWidth")


def test_the_code_gives_the_answer_that_the_page_gives(visit, demo_url, tmp_path):
    person = visit(demo_url).open("Single")
    person.pick("model", "Shop demo")
    person.page.locator("#more button").first.click()
    person.page.get_by_label("Seed").fill("7")
    person.page.locator("#single-prompt textarea").fill("How much is delivery?")
    codes = shown(person.view_code("single"))
    person.page.keyboard.press("Escape")
    person.page.locator("#single-run").click()
    person.expect_state("model", "done")
    person.frame("model").get_by_role("button", name="Raw").click()
    answer = person.text("model").text_content()
    assert answer
    for way, code in zip(WAYS, codes, strict=True):
        done = run(way, code, tmp_path)
        assert answer in done.stdout, done.stderr
