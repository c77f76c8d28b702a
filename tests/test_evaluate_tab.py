"""The Evaluate tab as a person uses it, in Chromium over the demo's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser import PHONE, Person
from tests.server import DEMO, JSON, ROOT, Server

Visit = Callable[..., Person]
LONG_MS = 120_000
HOSTILE = '<img src="https://evil.example/x.png" onerror="alert(1)"> {{7*7}}'


def short_spec(num_cases: int = 6, **changes: object) -> str:
    whole = json.loads((ROOT / "demo" / "tunedtensor.json").read_text())
    return json.dumps({**whole, "eval_cases": whole["eval_cases"][::22][:num_cases], **changes})


class Evaluating:
    """Somebody in the tab."""

    def __init__(self, person: Person) -> None:
        self.person, self.page = person, person.page
        self.open()

    def open(self) -> None:
        self.page.goto(self.person.url)
        self.page.get_by_role("tab", name="Evaluate").click()
        expect(self.tab.locator(".pg-drop")).to_be_visible()

    @property
    def tab(self) -> Locator:
        return self.page.locator("#evaluate .pg-evaluate")

    def choose(self, spec: str, name: str = "tunedtensor.json") -> None:
        file: FilePayload = {"name": name, "mimeType": "application/json", "buffer": spec.encode()}
        self.tab.locator(".pg-drop input").set_input_files(file)

    def button(self, name: str) -> Locator:
        return self.tab.get_by_role("button", name=name, exact=True)

    def begin(self, spec: str, max_tokens: int = 160) -> None:
        self.choose(spec)
        self.tab.get_by_label("Max tokens").fill(str(max_tokens))
        self.button("Run").click()
        expect(self.tab.locator(".pg-evaluation-head")).to_be_visible()

    def expect_status(self, text: str) -> None:
        expect(self.tab.get_by_role("status").first).to_contain_text(text, timeout=LONG_MS)

    def rows(self) -> Locator:
        return self.tab.locator(".pg-cases > li")


@pytest.fixture
def evaluating(visit: Visit, demo_server: Server) -> Evaluating:
    return Evaluating(visit(demo_server.url + "/"))


@pytest.fixture(autouse=True)
def none_left(demo_server: Server) -> Iterator[None]:
    yield
    path = "/api/v1/playground/evaluations"
    for one in demo_server.get(path).json()["data"]:
        demo_server.send("DELETE", f"{path}/{one['id']}", None, {})


def latest(server: Server) -> dict:
    return server.get("/api/v1/playground/evaluations").json()["data"][0]


def test_a_broken_spec_tells_all_its_problems(evaluating: Evaluating) -> None:
    evaluating.person.complaints.clear()
    evaluating.choose('{"name": "x", "colour": 1, "examples": [{"input": 2}], "base_model": ""}', "broken.json")
    problems = evaluating.tab.get_by_role("alert")
    for problem in ("colour", "system_prompt", "examples[0].input", "examples[0].output", "base_model"):
        expect(problems).to_contain_text(problem)
    # The browser itself notes the refusal.
    evaluating.person.complaints[:] = [one for one in evaluating.person.complaints if "400" not in one]


def test_a_spec_is_run_and_its_figures_are_the_servers(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin(short_spec())
    evaluating.expect_status("Done")
    totals = demo_server.get(f"/api/v1/playground/evaluations/{latest(demo_server)['id']}/totals").json()["data"]
    for shown, side in zip(evaluating.tab.locator(".pg-total").all(), totals["sides"], strict=True):
        expect(shown).to_contain_text(side["model"])
        expect(shown).to_contain_text(f"{side['num_passed']} of {side['num_answers']} passed")
    expect(evaluating.tab.locator(".pg-measures")).to_contain_text(totals["measures"][0]["reading"])
    expect(evaluating.tab.locator(".pg-diff-chart")).to_have_count(len(totals["measures"]))
    expect(evaluating.rows()).to_have_count(6)
    evaluating.open()
    evaluating.tab.locator(".pg-earlier-one").first.click()
    evaluating.expect_status("Done")
    expect(evaluating.rows()).to_have_count(6)


def test_cases_are_filtered_searched_and_opened(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin(short_spec())
    evaluating.expect_status("Done")
    evaluating.tab.get_by_label("Which cases").select_option("regressed")
    expect(evaluating.rows()).to_have_count(0)
    evaluating.tab.get_by_label("Which cases").select_option("failed")
    expect(evaluating.rows()).to_have_count(6)
    question = json.loads(short_spec())["eval_cases"][3]["input"]
    evaluating.tab.get_by_label("Search the cases").fill(question[3:20].upper())
    expect(evaluating.rows()).to_have_count(1)
    evaluating.rows().first.get_by_role("button").first.click()
    detail = evaluating.tab.locator(".pg-case-detail")
    expect(detail).to_contain_text("the answer is not one JSON value")
    detail.get_by_role("button", name="Open in Compare").click()
    expect(evaluating.page.locator("#compare-prompt textarea")).to_have_value(question)
    expect(evaluating.page.locator("#system-prompt textarea")).to_have_value(
        "You are Juno, the friendly assistant of Juniper Lane."
    )


def test_one_is_paused_goes_on_and_is_stopped(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin((ROOT / "demo" / "tunedtensor.json").read_text())
    evaluating.expect_status("left")
    evaluating.button("Pause").click()
    evaluating.expect_status("Paused")
    assert latest(demo_server)["state"] == "paused"
    evaluating.button("Resume").click()
    evaluating.expect_status("left")
    # A page that is opened in the middle of it finds it running.
    evaluating.open()
    evaluating.tab.locator(".pg-earlier-one").first.click()
    evaluating.expect_status("left")
    evaluating.button("Stop").click()
    evaluating.expect_status("Stopped")
    assert latest(demo_server)["num_answers"] > 0


def names_in_sight(page: Page) -> list[str]:
    text = page.locator("#evaluate").inner_text()
    return [name for name in (DEMO, JSON, "shop-demo", "shop-json") if name in text]


def test_cases_are_voted_on_blind_by_keyboard(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin(short_spec(3))
    evaluating.expect_status("Done")
    evaluating.button("Vote blind").click()
    ballot = evaluating.tab.locator(".pg-blind-cases")
    for key, left in (("a", 3), ("t", 2), ("n", 1)):
        expect(ballot).to_contain_text(f"{left} to vote on")
        expect(ballot.get_by_role("button", name="A is better")).to_be_visible()
        assert names_in_sight(evaluating.page) == []
        evaluating.page.keyboard.press(key)
        expect(ballot).to_contain_text(DEMO)
        expect(ballot).to_contain_text(JSON)
        evaluating.page.keyboard.press("Enter")
    expect(evaluating.tab.locator(".pg-findings")).to_contain_text("Blind votes:")
    expect(evaluating.button("Vote blind")).to_be_hidden()
    cases = demo_server.get(f"/api/v1/playground/evaluations/{latest(demo_server)['id']}/cases").json()["data"]["cases"]
    assert sorted(case["vote"] in ("left", "right") for case in cases) == [False, False, True]


def test_reports_are_downloaded_and_one_is_deleted(evaluating: Evaluating, demo_server: Server, tmp_path: Path) -> None:
    evaluating.begin(short_spec(2))
    evaluating.expect_status("Done")
    for form in ("HTML", "MD", "JSON", "CSV"):
        with evaluating.page.expect_download() as download:
            evaluating.tab.get_by_role("link", name=form, exact=True).click()
        assert download.value.suggested_filename.endswith(f".{form.lower()}")
    evaluating.button("Delete").first.click()
    evaluating.tab.locator(".pg-danger").click()
    expect(evaluating.tab.locator(".pg-drop")).to_be_visible()
    assert demo_server.get("/api/v1/playground/evaluations").json()["data"] == []


def test_hostile_text_stays_text(evaluating: Evaluating) -> None:
    evaluating.begin(short_spec(name=HOSTILE, eval_cases=[{"input": HOSTILE, "expected": HOSTILE}]), max_tokens=8)
    evaluating.expect_status("Done")
    expect(evaluating.tab.locator("h3")).to_contain_text(HOSTILE)
    evaluating.rows().first.get_by_role("button").first.click()
    expect(evaluating.tab.locator(".pg-case-detail")).to_contain_text(HOSTILE)
    expect(evaluating.tab.locator("img")).to_have_count(0)


def test_it_fits_a_phone_and_has_the_width_of_a_desktop(visit: Visit, demo_server: Server) -> None:
    phone = Evaluating(visit(demo_server.url + "/", viewport=PHONE))
    phone.begin(short_spec(2))
    phone.expect_status("Done")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    desktop = Evaluating(visit(demo_server.url + "/"))
    expect(desktop.page.locator("#temperature")).to_be_hidden()
    desktop.page.get_by_role("tab", name="Compare").click()
    expect(desktop.page.locator("#temperature")).to_be_visible()
