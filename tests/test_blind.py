"""Blind votes in Compare, and what is kept of the page's runs, over a scripted service and in Chromium."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, expect
from starlette.middleware import Middleware

from playground.errors import InternalError
from playground.history.runs import Run
from playground.types import Caller, GenerationRequest, Message
from playground.ui import blind
from playground.ui.keeping import keep
from playground.ui.streaming import LiveAnswer
from tests.browser import PHONE, Person
from tests.drive import PATIENCE, wait_for
from tests.fakes import BASE, JSON, FakePlayground
from tests.test_page import Door, launched

Visit = Callable[..., Person]
ANN = "ann"
NAMES = ("shop-demo", "shop-json")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> FakePlayground:
    return FakePlayground(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def url(service: FakePlayground) -> Iterator[str]:
    yield from launched(service, Middleware(Door))


@pytest.fixture(autouse=True)
def fresh(service: FakePlayground) -> Iterator[None]:
    service.reset()
    yield
    service.reset()
    service.history.runs.delete_all(ANN)
    service.history.runs.keep(ANN, True)


def come(visit: Visit, url: str, tab: str = "Compare", **options: object) -> Person:
    return visit(url, extra_http_headers={"x-account": ANN}, **options).open(tab)


def runs(service: FakePlayground) -> list[Run]:
    return service.history.runs.search(ANN)


def bar(person: Person) -> Locator:
    return person.page.locator("#blind .pg-blind")


def ask_blind(person: Person, text: str = "Where is my parcel?") -> None:
    bar(person).get_by_label("Blind").check()
    person.ask(text, "compare")
    expect(bar(person)).to_have_attribute("data-state", "vote")


def drawn(monkeypatch: pytest.MonkeyPatch, flipped: int) -> None:
    monkeypatch.setattr(blind.secrets, "randbelow", lambda _: flipped)


def seen(person: Person) -> str:
    """All text of the tab that can be seen."""
    return person.page.get_by_role("tabpanel").filter(visible=True).first.inner_text()


@pytest.mark.parametrize("flipped", [0, 1])
def test_models_are_named_after_the_vote_and_not_before(
    visit: Visit, url: str, service: FakePlayground, monkeypatch: pytest.MonkeyPatch, flipped: int
) -> None:
    drawn(monkeypatch, flipped)
    person = come(visit, url)
    ask_blind(person)
    for side, letter in (("left", "A"), ("right", "B")):
        expect(person.frame(side).locator(".pg-model")).to_have_text(f"Answer {letter}")
        expect(person.metric(side, "Ran as")).to_have_text("–")
        expect(person.page.locator(f"#{side}-picker")).to_be_hidden()
    expect(person.page.locator("#difference")).not_to_contain_text("differ")
    assert not [name for name in NAMES if name in seen(person)]
    person.page.keyboard.press("a")
    expect(bar(person)).to_have_attribute("data-state", "revealed")
    expect(bar(person)).to_contain_text("You found A better.")
    names = NAMES[::-1] if flipped else NAMES
    for side, name in zip(("left", "right"), names, strict=True):
        expect(person.frame(side).locator(".pg-model")).to_have_text(name)
        expect(person.page.locator(f"#{side}-picker").get_by_role("combobox")).to_have_value(re.compile(name))
        expect(person.metric(side, "Finish")).to_have_text("stop")
    [run] = runs(service)
    assert run.vote == "left"
    assert run.models == ((JSON, BASE) if flipped else (BASE, JSON))
    (vote,) = service.history.votes.all(ANN)
    assert vote.pair.models == run.models
    assert vote.pair.texts == tuple(answer.text for answer in run.answers)


@pytest.mark.parametrize(
    ("key", "button", "choice"),
    [("b", "B is better", "right"), ("t", "Tie", "tie"), ("n", "Neither is good", "both_bad"), ("", "Just show", None)],
)
def test_each_way_to_vote(
    visit: Visit, url: str, service: FakePlayground, key: str, button: str, choice: str | None
) -> None:
    person = come(visit, url)
    click = bar(person).get_by_role("button", name=button).click
    for press in (click, lambda: person.page.keyboard.press(key)) if key else (click,):
        ask_blind(person)
        press()
        expect(bar(person)).to_have_attribute("data-state", "revealed")
        assert runs(service)[0].vote == choice


def test_a_key_that_is_written_is_no_vote(visit: Visit, url: str, service: FakePlayground) -> None:
    person = come(visit, url)
    ask_blind(person)
    box = person.page.locator("#compare-prompt textarea")
    box.click()
    box.press_sequentially("at no")
    expect(bar(person)).to_have_attribute("data-state", "vote")
    assert list(service.history.votes.all(ANN)) == []


def test_a_run_that_is_stopped_is_shown_without_a_vote(visit: Visit, url: str, service: FakePlayground) -> None:
    person = come(visit, url)
    bar(person).get_by_label("Blind").check()
    gate = service.gate("middle")
    person.ask("gate-middle please", "compare")
    assert gate.reached.wait(PATIENCE)
    expect(person.frame("left").locator(".pg-model")).to_have_text("Answer A")
    person.stop("compare")
    expect(bar(person)).to_contain_text("nothing to vote on")
    expect(person.frame("left").locator(".pg-model")).to_contain_text("shop-")
    wait_for(lambda: runs(service))
    assert [answer.state for answer in runs(service)[0].answers] == ["stopped", "stopped"]


def test_an_open_run_after_a_blind_one_names_its_models(visit: Visit, url: str, service: FakePlayground) -> None:
    person = come(visit, url)
    ask_blind(person)
    bar(person).get_by_label("Blind").uncheck()
    person.ask("another one", "compare")
    expect(bar(person)).to_have_attribute("data-state", "off")
    expect(person.frame("left").locator(".pg-model")).to_have_text("shop-demo")
    expect(person.page.locator("#left-picker")).to_be_visible()


def test_the_bar_fits_a_phone(visit: Visit, url: str) -> None:
    person = come(visit, url, viewport=PHONE)
    ask_blind(person)
    width = person.page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]


def test_runs_of_both_tabs_are_kept(visit: Visit, url: str, service: FakePlayground) -> None:
    person = come(visit, url)
    person.ask("compared question", "compare")
    wait_for(lambda: len(runs(service)) == 1)
    person.page.get_by_role("tab", name="Single").click()
    person.ask("single question")
    wait_for(lambda: len(runs(service)) == 2)
    single, compare = runs(service)
    assert (single.kind, single.prompt, len(single.answers)) == ("single", "single question", 1)
    assert (compare.kind, compare.prompt, compare.models) == ("compare", "compared question", (BASE, JSON))
    assert [answer.state for answer in compare.answers] == ["done", "done"]
    assert all(answer.finish is not None and answer.text for answer in compare.answers)


def test_a_run_is_kept_though_nobody_waits_for_that(service: FakePlayground) -> None:
    answer = LiveAnswer("shop-demo", "stopped", text="Your parcel")

    async def leave() -> None:
        keep(service, Caller(ANN), "single", [GenerationRequest(BASE, (Message("user", "hi"),))], [answer])  # type: ignore[arg-type]

    # In a thread of its own: the browser's loop runs in this one.
    thread = threading.Thread(target=asyncio.run, args=(leave(),))
    thread.start()
    thread.join()
    wait_for(lambda: runs(service))
    assert [(kept.state, kept.text) for kept in runs(service)[0].answers] == [("stopped", "Your parcel")]


def test_nothing_is_kept_where_it_is_switched_off_or_nobody_signs_in(
    visit: Visit, url: str, service: FakePlayground
) -> None:
    service.history.runs.keep(ANN, False)
    person = come(visit, url)
    ask_blind(person)
    person.page.keyboard.press("b")
    expect(bar(person)).to_contain_text("not kept")
    nobody = visit(url).open()
    nobody.ask("hello", "compare")
    nobody.expect_state("left", "done")
    nobody.expect_idle("compare")
    assert runs(service) == service.history.runs.search("@anybody") == []


def test_a_run_that_cannot_be_kept_says_so_and_stays_on_the_page(
    visit: Visit, url: str, service: FakePlayground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InternalError("the database could not be used: database or disk is full")

    monkeypatch.setattr(service.history.runs, "add", full)
    person = come(visit, url)
    person.ask("Where is my parcel?", "compare")
    expect(person.page.locator("#compare-notice")).to_contain_text("database or disk is full")
    expect(person.text("left")).to_contain_text("Your parcel")
