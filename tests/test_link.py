"""Links with a request in the address's fragment: written by Python and by the page, opened in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import gradio as gr
import pytest
from playwright.sync_api import Locator, Page, expect
from starlette.middleware import Middleware

from playground.accounts import Accounts
from playground.errors import InvalidRequest
from playground.store import Store
from playground.types import GenerationRequest, Message, Sampling
from playground.ui.controls import controls, read
from playground.ui.link import fragment
from tests.browser import DESKTOP, PHONE, Person
from tests.fakes import BASE, JSON, OWNED, OWNER, REMOTE, VOICE, FakePlayground
from tests.server import ROOT, serving
from tests.test_page import Door, launched

Visit = Callable[..., Person]
ODD = 'It\'s "here" & `there`+1*~? (so!) #x=%41 <img src=x onerror=alert(1)></script> {{value}} 你好 \\n\n\tlast.'
SAMPLING = Sampling(
    max_tokens=321,
    temperature=0.25,
    top_p=0.91,
    top_k=7,
    seed=-42,
    stop=("END", "\n\n", "a&b=c."),
    frequency_penalty=-0.5,
    presence_penalty=1.5,
)


def chat(model: str = JSON, prompt: str = "Where is it?", system: str = "", **options: Any) -> GenerationRequest:
    first = (Message("system", system),) if system else ()
    return GenerationRequest(model, (*first, Message("user", prompt)), **options)


def pair(left: str = BASE, right: str = JSON, **options: Any) -> list[GenerationRequest]:
    return [chat(left, alone=False, **options), chat(right, alone=False, **options)]


# Written in Python.


def test_a_fragment_is_readable_and_leaves_out_what_is_at_its_default() -> None:
    assert fragment("compare", pair()) == (
        "#compare?v=1&left=playground/shop-demo&right=playground/shop-json&prompt=Where%20is%20it%3F"
    )
    left, right = pair(prompt="Say so.")
    assert fragment("compare", [left, replace(right, strength=0.5)]).endswith(
        "&right=playground/shop-json&right_strength=0.5&prompt=Say%20so%2E"
    )
    asked = chat(system="Be brief.", sampling=SAMPLING, thinking=True)
    assert fragment("single", [asked]) == (
        "#single?v=1&model=playground/shop-json&prompt=Where%20is%20it%3F&system=Be%20brief."
        "&temperature=0.25&max_tokens=321&top_p=0.91&top_k=7&frequency_penalty=-0.5&presence_penalty=1.5"
        "&thinking=1&seed=-42&stop=END&stop=%0A%0A&stop=a%26b%3Dc%2E"
    )


def test_of_a_conversation_the_last_question_is_kept() -> None:
    turns = (Message("user", "First?"), Message("assistant", "Yes."), Message("user", "Second?"))
    assert fragment("single", [GenerationRequest(BASE, turns)]) == (
        "#single?v=1&model=playground/shop-demo&prompt=Second%3F"
    )


@pytest.mark.parametrize(
    ("tab", "requests", "rule"),
    [
        ("chat", [chat()], "tab: 'chat' is not allowed: it must be one of compare, single"),
        ("compare", [chat()], "requests: 1 is not allowed: compare asks 2"),
        ("single", pair(), "requests: 2 is not allowed: single asks 1"),
        ("compare", [chat(), chat(prompt="Else?")], "both sides must ask the same"),
        ("compare", [chat(), chat(sampling=SAMPLING)], "both sides must ask the same"),
        ("compare", [chat(), chat(system="No.")], "both sides must ask the same"),
        ("single", [GenerationRequest(BASE, prompt="raw")], "there must be a question of the user's"),
        ("single", [chat(strength=0.5)], "strength: 0.5 is not allowed"),
    ],
)
def test_what_a_tab_has_no_place_for_is_refused(tab: str, requests: Sequence[GenerationRequest], rule: str) -> None:
    with pytest.raises(InvalidRequest, match=None) as caught:
        fragment(tab, requests)
    assert rule in str(caught.value)


def test_the_page_starts_at_the_defaults_of_a_request() -> None:
    with gr.Blocks(analytics_enabled=False):
        settings = controls()
    values = {part: getattr(part, "value", None) for part in settings.inputs}
    assert read(settings, values).sampling == Sampling()


# Opened in a browser.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> FakePlayground:
    return FakePlayground(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def url(service: FakePlayground) -> Iterator[str]:
    yield from launched(service)


@pytest.fixture(scope="module")
def guarded_url(service: FakePlayground) -> Iterator[str]:
    yield from launched(service, Middleware(Door))


@pytest.fixture
def fake(service: FakePlayground) -> Iterator[FakePlayground]:
    service.reset()
    yield service
    service.reset()


class Sent:
    """Everything that a page sends: addresses, bodies, frames of web sockets."""

    def __init__(self, page: Page) -> None:
        self.texts: list[str] = []
        page.on("request", lambda request: self.texts.extend([request.url, request.post_data or ""]))
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: self.texts.append(str(frame))))

    def holding(self, *secrets: str) -> list[str]:
        return [text for text in self.texts if any(secret in unquote_plus(text) for secret in secrets)]


def opened(person: Person, hash: str) -> Person:
    """A fresh page, opened by the link."""
    person.page.goto(person.url + hash)
    expect(person.page.locator(".pg-frame:visible").first).to_be_visible()
    return person


def prompt(person: Person, tab: str) -> Locator:
    return person.page.locator(f"#{tab}-prompt textarea")


def ran(person: Person, fake: FakePlayground, tab: str) -> list[GenerationRequest]:
    """What Run asks now, left before right."""
    fake.requests.clear()
    person.page.locator(f"#{tab}-run").click()
    sides = ("left", "right") if tab == "compare" else ("model",)
    for side in sides:
        person.expect_state(side, "done")
    person.expect_idle(tab)
    assert len(fake.requests) == len(sides)
    return list(fake.requests)


def test_a_link_of_python_fills_compare_and_no_server_hears_of_it(visit: Visit, url: str, fake: FakePlayground) -> None:
    prompted, system = "onerror=alert(1)", "Be very brief, please."
    left, right = pair(VOICE, JSON, prompt=ODD, system=system, sampling=SAMPLING)
    asked = [replace(left, strength=0.35), replace(right, strength=1.25)]
    person = visit(url)
    sent = Sent(person.page)
    opened(person, fragment("compare", asked))
    expect(prompt(person, "compare")).to_have_value(ODD)
    expect(person.page.locator("#left-strength output")).to_have_text("0.35")
    expect(person.page.get_by_label("System prompt")).to_have_value(system)
    expect(person.page.locator("#temperature input[type=number]")).to_have_value("0.25")
    expect(person.page.locator("#left-note")).to_contain_text("Fine-tune of shop-demo")
    # Whatever the filled-in values set off has been sent when an answer to something later has come.
    person.page.get_by_role("tab", name="Single").click()
    expect(person.frame("model")).to_be_visible()
    person.page.get_by_role("tab", name="Compare").click()
    expect(person.page.locator("#left-strength output")).to_have_text("0.35")
    assert fake.requests == []
    assert any(VOICE in text for text in sent.texts)
    assert not sent.holding(prompted, system)
    assert ran(person, fake, "compare") == asked
    assert all(sent.holding(secret) for secret in (prompted, system))


def test_a_link_of_python_fills_single_that_was_never_opened(visit: Visit, url: str, fake: FakePlayground) -> None:
    asked = chat(REMOTE, ODD, "None of that.", sampling=SAMPLING, thinking=True)
    person = opened(visit(url), fragment("single", [asked]))
    expect(person.page.get_by_role("tab", name="Single")).to_have_attribute("aria-selected", "true")
    expect(prompt(person, "single")).to_have_value(ODD)
    expect(person.page.locator("#model-picker input")).to_have_value("thinker-2B · 4.6 GB to download")
    person.page.locator("#more button").first.click()
    expect(person.page.get_by_label("Seed")).to_have_value("-42")
    expect(person.page.get_by_label("Stop strings")).to_have_value("END\n\\n\\n\na&b=c.")
    expect(person.page.get_by_label("Thinking")).to_be_checked()
    assert fake.requests == []
    assert ran(person, fake, "single") == [asked]


def test_a_link_pasted_into_an_open_page_fills_it_whole(visit: Visit, url: str, fake: FakePlayground) -> None:
    person = opened(visit(url), fragment("single", [chat(VOICE, "One?", "Aye.", sampling=SAMPLING)]))
    expect(prompt(person, "single")).to_have_value("One?")
    person.page.evaluate("window.stays = true")
    asked = pair(JSON, VOICE, prompt="Two?")
    person.page.goto(url + fragment("compare", asked))
    expect(prompt(person, "compare")).to_have_value("Two?")
    expect(person.page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(person.page.get_by_label("System prompt")).to_have_value("")
    expect(person.page.locator("#left-note")).to_contain_text("Fine-tune of shop-demo")
    told = ran(person, fake, "compare")
    assert person.page.evaluate("window.stays")
    assert [replace(request, sampling=replace(request.sampling, seed=None)) for request in told] == asked


def test_the_page_opens_a_request_by_itself(visit: Visit, url: str, fake: FakePlayground) -> None:
    person = visit(url).open()
    asked = chat(VOICE, "Again?", sampling=SAMPLING)
    for _ in range(2):
        person.page.evaluate("hash => playground.openRequest(hash)", fragment("single", [asked]))
        expect(prompt(person, "single")).to_have_value("Again?")
        prompt(person, "single").fill("Something else")
    person.page.evaluate("playground.openRequest('#/elsewhere')")
    person.page.evaluate("hash => playground.openRequest(hash)", fragment("compare", pair(prompt="And now?")))
    expect(prompt(person, "compare")).to_have_value("And now?")
    assert person.page.evaluate("location.hash") == ""
    assert fake.requests == []


def test_what_was_copied_opens_the_same_request(visit: Visit, url: str, fake: FakePlayground) -> None:
    person = visit(url, permissions=["clipboard-read", "clipboard-write"])
    sides = pair(JSON, VOICE, prompt=ODD, system="Be brief.", sampling=SAMPLING)
    asked = {
        "compare": [replace(sides[0], strength=0.5), sides[1]],
        "single": [chat(REMOTE, ODD, sampling=SAMPLING, thinking=True)],
    }
    for tab, requests in asked.items():
        hash = fragment(tab, requests)
        person.page.goto(f"{url}?__theme=light{hash}")
        expect(prompt(person, tab)).to_have_value(ODD)
        button = person.page.locator(f"#{tab}-copy-link")
        expect(button).to_have_text("Copy link")
        code = person.page.locator(f"#{tab}-view-code").bounding_box()
        button.click()
        expect(button).to_have_text("Copied")
        assert person.page.locator(f"#{tab}-view-code").bounding_box() == code
        assert person.page.evaluate("navigator.clipboard.readText()") == url + hash
        expect(button).to_have_text("Copy link")
    assert fake.requests == []


def test_an_untouched_page_copies_its_models_alone_where_there_is_no_clipboard(
    visit: Visit, url: str, fake: FakePlayground
) -> None:
    person = visit(url)
    person.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    person.open()
    person.page.locator("#compare-copy-link").click()
    expect(person.page.locator("#compare-copy-link")).to_have_text("Copied")
    prompt(person, "compare").press("Control+V")
    expect(prompt(person, "compare")).to_have_value(
        f"{url}#compare?v=1&left=playground/shop-demo&right=playground/shop-json"
    )


def test_a_link_holds_a_long_prompt(visit: Visit, url: str, fake: FakePlayground) -> None:
    long = "Ünïcode & words 你 " * 1250
    asked = chat(prompt=long.strip())
    person = opened(visit(url), fragment("single", [asked]))
    expect(prompt(person, "single")).to_have_value(long.strip())
    [told] = ran(person, fake, "single")
    assert len(long) > 20_000
    assert told.messages == asked.messages


def test_numbers_are_held_to_what_the_sliders_allow(visit: Visit, url: str, fake: FakePlayground) -> None:
    person = opened(
        visit(url),
        f"#compare?left={JSON}&left_strength=99&right={BASE}&right_strength=0.5&prompt=Hi&temperature=-3&max_tokens=70.4"
        "&top_p=0&top_k=1e9&seed=1.5&frequency_penalty=many&presence_penalty=Infinity&thinking=maybe&stop=&unknown=1",
    )
    notice = person.page.locator("#compare-notice").get_by_role("alert")
    for told in (
        "left_strength “99” is 1.5 here",
        "right_strength “0.5” is 1 here",
        "temperature “-3” is 0 here",
        "max_tokens “70.4” is 70 here",
        "top_p “0” is 0.01 here",
        "top_k “1e9” is 200 here",
        "frequency_penalty “many” is 0 here",
        "presence_penalty “Infinity” is 0 here",
        "seed “1.5” is none here",
        "thinking “maybe” is off here",
        "unknown “1” means nothing here",
    ):
        expect(notice).to_contain_text(told)
    expect(prompt(person, "compare")).to_have_value("Hi")
    left, right = ran(person, fake, "compare")
    assert left.sampling == Sampling(temperature=0, max_tokens=70, top_p=0.01, top_k=200, seed=left.sampling.seed)
    assert (left.strength, right.strength, left.thinking) == (1.5, 1, False)


def test_what_the_page_can_take_as_it_stands_is_taken_without_a_word(
    visit: Visit, url: str, fake: FakePlayground
) -> None:
    asked = [f"v=1&left={JSON}&left_strength=1.5&right={BASE}&right_strength=1&prompt=Hi&system=", "max_tokens=1"]
    person = opened(visit(url), "#compare?" + "&".join([*asked, "temperature=2.0&seed=-7&thinking=0&stop=&top_k="]))
    expect(prompt(person, "compare")).to_have_value("Hi")
    expect(person.page.locator("#compare-notice").get_by_role("alert")).to_be_hidden()
    left, _ = ran(person, fake, "compare")
    assert left.sampling == Sampling(temperature=2, max_tokens=1, seed=-7)


def test_a_model_that_is_not_there_is_named_and_the_picker_stays(visit: Visit, url: str, fake: FakePlayground) -> None:
    person = opened(visit(url), f"#compare?v=1&left=no/<b>such</b>&left_strength=0.5&right={VOICE}&prompt=Hi")
    notice = person.page.locator("#compare-notice").get_by_role("alert")
    expect(notice).to_contain_text("No such model: no/<b>such</b>")
    expect(person.page.locator("#left-picker input")).to_have_value("shop-demo · on disk · 4 MB")
    expect(person.page.locator("#right-picker input")).to_have_value("↳ shop-pirate · on disk · 470 kB")
    expect(prompt(person, "compare")).to_have_value("Hi")
    left, _ = ran(person, fake, "compare")
    assert (left.model, left.strength) == (BASE, 1)
    expect(notice).to_be_hidden()
    person.page.evaluate("playground.openRequest('#single?model=gone&prompt=Hi')")
    expect(person.page.locator("#single-notice").get_by_role("alert")).to_contain_text("No such model: gone")
    person.page.evaluate("playground.openRequest('#single?prompt=Ho')")
    expect(prompt(person, "single")).to_have_value("Ho")
    expect(person.page.locator("#single-notice").get_by_role("alert")).to_be_hidden()


def test_a_link_of_another_version_says_so(visit: Visit, url: str, fake: FakePlayground) -> None:
    person = opened(visit(url), "#compare?v=2&prompt=Hi")
    notice = person.page.locator("#compare-notice").get_by_role("alert")
    expect(notice).to_contain_text("It is of version 2, and this page reads version 1.")
    expect(prompt(person, "compare")).to_have_value("")


@pytest.mark.parametrize(
    "hash",
    [
        "#compare",
        "#/compare?prompt=Hi",
        "#Single?prompt=Hi",
        "#__proto__?prompt=Hi",
        "#constructor?v=1",
        "#%E0%A4%A",
        "#<script>alert(1)</script>",
    ],
)
def test_a_foreign_fragment_does_nothing(visit: Visit, url: str, fake: FakePlayground, hash: str) -> None:
    person = opened(visit(url), hash)
    asked = pair(prompt="Still here?")
    person.page.evaluate("hash => { location.hash = hash }", hash + "&more")
    expect(prompt(person, "compare")).to_have_value("")
    person.page.evaluate("hash => playground.openRequest(hash)", fragment("compare", asked))
    expect(prompt(person, "compare")).to_have_value("Still here?")


@pytest.mark.parametrize("tab", ["compare", "single"])
def test_hostile_values_are_text(visit: Visit, url: str, fake: FakePlayground, tab: str) -> None:
    evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
    side = "left" if tab == "compare" else "model"
    person = opened(
        visit(url),
        f"#{tab}?{side}=__proto__&prompt={evil}&system={evil}&seed={evil}&stop={evil}&v=1&__proto__=x&constructor=y"
        "&__proto__[polluted]=1&%E0%A4%A=%E0%A4%A&temperature=__proto__&toString=1&known=2&__type__=update&&&==",
    )
    expect(prompt(person, tab)).to_have_value(evil)
    expect(person.page.get_by_label("System prompt")).to_have_value(evil)
    expect(person.page.locator(f"#{tab}-notice")).to_contain_text("No such model: __proto__")
    assert person.page.evaluate("[window.evil, {}.polluted, Object.keys(Object.prototype).length]") == [None, None, 0]
    assert person.page.locator("img[src=x]").count() == 0


def test_a_model_with_an_owner_is_found_by_its_owner_alone(
    visit: Visit, guarded_url: str, fake: FakePlayground
) -> None:
    hash = fragment("single", [chat(OWNED)])
    owner = opened(visit(guarded_url, extra_http_headers={"X-Account": OWNER}), hash)
    expect(owner.page.locator("#model-picker input")).to_have_value("↳ tickets · on disk · 470 kB")
    expect(owner.page.locator("#single-notice").get_by_role("alert")).to_be_hidden()
    stranger = opened(visit(guarded_url), hash)
    expect(stranger.page.locator("#single-notice")).to_contain_text(f"No such model: {OWNED}")
    expect(stranger.page.locator("#model-picker input")).to_have_value("↳ shop-json · on disk · 470 kB")


def test_a_link_outlives_the_sign_in(visit: Visit, tmp_path: Path) -> None:
    key = Accounts(Store(tmp_path)).create("ann", [])
    with serving(ROOT / "models.yaml", tmp_path) as server:
        person = visit(server.url)
        person.page.goto(f"{server.url}/{fragment('single', [chat(prompt='After the door')])}")
        person.page.locator("#key").fill(key)
        person.page.get_by_role("button", name="Sign in").click()
        expect(prompt(person, "single")).to_have_value("After the door")
        person.page.close()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_crowded(visit: Visit, url: str, fake: FakePlayground, viewport: dict[str, int]) -> None:
    person = visit(url, viewport=viewport).open()
    for tab in ("Compare", "Single"):
        person.page.get_by_role("tab", name=tab).click()
        tools = [person.page.locator(f"#{tab.lower()}-{name}") for name in ("copy-link", "view-code")]
        boxes = [part.bounding_box() for part in (person.page.get_by_role("tab", name="Single"), *tools)]
        edges = [(box["x"], box["x"] + box["width"]) for box in boxes if box]
        assert len(edges) == 3
        assert edges[0][1] <= edges[1][0]
        assert edges[1][1] + 8 <= edges[2][0]
        assert edges[2][1] <= viewport["width"]
