"""The Evaluate tab as a person uses it, in Chromium over the demo's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Request, Route, expect

from tests.browser import DESKTOP, PHONE, Person
from tests.drive import wait_for
from tests.server import DEMO, JSON, ROOT, Server, serving

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

    def choose(self, spec: str, name: str = "tunedtensor.json", encoding: str = "utf-8") -> None:
        file: FilePayload = {"name": name, "mimeType": "application/json", "buffer": spec.encode(encoding)}
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
    for one in demo_server.get(PATH).json()["data"]:
        demo_server.send("DELETE", f"{PATH}/{one['id']}", None, {})


PATH = "/api/v1/playground/evaluations"


def latest(server: Server) -> dict:
    return server.get(PATH).json()["data"][0]


def cases_of(server: Server) -> list[dict]:
    return server.get(f"{PATH}/{latest(server)['id']}/cases").json()["data"]["cases"]


def test_a_broken_spec_tells_all_its_problems(evaluating: Evaluating) -> None:
    evaluating.person.expects("400")
    evaluating.choose('{"name": "x", "colour": 1, "examples": [{"input": 2}], "base_model": ""}', "broken.json")
    problems = evaluating.tab.get_by_role("alert")
    for problem in ("colour", "system_prompt", "examples[0].input", "examples[0].output", "base_model"):
        expect(problems).to_contain_text(problem)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_refused_as_a_shell_refuses_it(evaluating: Evaluating, encoding: str) -> None:
    evaluating.choose(json.dumps({"name": "Grüße"}, ensure_ascii=False), "old.json", encoding)
    expect(evaluating.tab.get_by_role("alert")).to_have_text("old.json: cannot be read: it is not text in UTF-8")


def test_a_mark_at_the_start_of_a_file_is_none_of_its_text(evaluating: Evaluating) -> None:
    evaluating.choose(short_spec(), encoding="utf-8-sig")
    expect(evaluating.button("Run")).to_be_enabled()


def test_a_spec_is_run_and_its_figures_are_the_servers(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin(short_spec())
    evaluating.expect_status("Done")
    totals = demo_server.get(f"{PATH}/{latest(demo_server)['id']}/totals").json()["data"]
    for shown, side in zip(evaluating.tab.locator(".pg-total").all(), totals["sides"], strict=True):
        expect(shown).to_contain_text(side["model"])
        expect(shown).to_contain_text(f"{side['num_passed']} of {side['num_answers']} passed")
        expect(shown).to_contain_text(f"{100 * side['num_passed'] / side['num_answers']:.1f}%")
        expect(shown).to_contain_text(f"{side['num_completion_tokens']} out")
    for change, words in (("improved", "improved"), ("regressed", "regressed"), ("same", "the same")):
        expect(evaluating.tab.locator(".pg-counts")).to_contain_text(f"{totals['changes'][change]} {words}")
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


def test_figures_of_an_evaluation_that_is_cut_off_say_what_they_are_of(evaluating: Evaluating) -> None:
    said = "each model's share is of the cases that it has answered, all that compares them of those that both have"

    def cut_off(route: Route) -> None:
        reply = route.fetch()
        found = reply.json()
        found["data"]["sides"][1]["num_answers"] -= 1
        route.fulfill(response=reply, json=found)

    evaluating.begin(short_spec(2), max_tokens=8)
    evaluating.expect_status("Done")
    expect(evaluating.tab.locator(".pg-total")).to_have_count(2)
    expect(evaluating.tab.locator(".pg-above")).not_to_contain_text(said)
    evaluating.page.route("**/totals", cut_off)
    evaluating.button("Back").click()
    evaluating.tab.locator(".pg-earlier-one").first.click()
    expect(evaluating.tab.locator(".pg-above")).to_contain_text(said)


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
        expect(ballot).to_contain_text(f"{left - 1} to vote on")
        evaluating.page.keyboard.press("Enter")
    expect(ballot).to_contain_text("of 3 blind votes")
    evaluating.page.keyboard.press("Enter")
    expect(ballot).to_be_empty()
    expect(evaluating.tab.locator(".pg-above")).to_contain_text("of 3 blind votes")
    expect(evaluating.button("Vote blind")).to_be_hidden()
    cases = cases_of(demo_server)
    assert sorted(case["vote"] in ("left", "right") for case in cases) == [False, False, True]


def test_reports_are_downloaded_and_one_is_deleted(evaluating: Evaluating, demo_server: Server, tmp_path: Path) -> None:
    evaluating.begin(short_spec(2))
    evaluating.expect_status("Done")
    for words, form in {"HTML": "html", "Markdown": "md", "JSON": "json", "CSV": "csv"}.items():
        with evaluating.page.expect_download() as download:
            evaluating.tab.get_by_role("link", name=words, exact=True).click()
        assert download.value.suggested_filename.endswith(f".{form}")
        download.value.save_as(tmp_path / form)
        assert "Juniper Lane" in (tmp_path / form).read_text() or form == "csv"
    evaluating.button("Delete").first.click()
    evaluating.tab.locator(".pg-danger").click()
    expect(evaluating.tab.locator(".pg-drop")).to_be_visible()
    assert demo_server.get(PATH).json()["data"] == []


def test_hostile_text_stays_text(evaluating: Evaluating) -> None:
    evaluating.begin(short_spec(name=HOSTILE, eval_cases=[{"input": HOSTILE, "expected": HOSTILE}]), max_tokens=8)
    evaluating.expect_status("Done")
    expect(evaluating.tab.locator("h3")).to_contain_text(HOSTILE)
    evaluating.rows().first.get_by_role("button").first.click()
    expect(evaluating.tab.locator(".pg-case-detail")).to_contain_text(HOSTILE)
    expect(evaluating.tab.locator("img")).to_have_count(0)


def test_it_fits_a_phone_and_has_the_width_of_a_desktop(visit: Visit, demo_server: Server) -> None:
    phone = Evaluating(visit(demo_server.url + "/", viewport=PHONE))
    phone.choose(short_spec(2, name="name" * 40, description="word" * 40, constraints=["Never" * 40]))
    phone.tab.locator(".pg-constraints summary").click()
    for part in phone.tab.locator("h3, p, li").all():
        assert part.evaluate("it => it.scrollWidth <= it.clientWidth")
    phone.button("Back").click()
    phone.begin(short_spec(2, name="name" * 40))
    phone.expect_status("Done")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # The readings break their lines.
    assert phone.tab.locator(".pg-measures-scroll").evaluate("it => it.scrollWidth <= it.clientWidth")
    desktop = Evaluating(visit(demo_server.url + "/"))
    expect(desktop.page.locator("#temperature")).to_be_hidden()
    desktop.page.get_by_role("tab", name="Compare").click()
    expect(desktop.page.locator("#temperature")).to_be_visible()


def test_a_row_is_unfolded_by_keyboard_and_stays_so_while_answers_come(evaluating: Evaluating) -> None:
    evaluating.begin((ROOT / "demo" / "tunedtensor.json").read_text())
    evaluating.expect_status("left")
    row = evaluating.rows().nth(40).get_by_role("button").first
    row.focus()
    evaluating.page.keyboard.press("Enter")
    detail = evaluating.rows().nth(40).locator(".pg-case-detail")
    expect(detail).to_contain_text("Not answered yet.")
    expect(detail).not_to_contain_text("Not answered yet.", timeout=LONG_MS)
    expect(row).to_be_focused()
    expect(row).to_have_attribute("aria-expanded", "true")
    evaluating.page.keyboard.press("Enter")
    expect(detail).to_have_count(0)


def test_many_cases_are_shown_a_page_at_a_time(evaluating: Evaluating) -> None:
    cases = [{"input": f"question {i}", "assert": ["min-length:1"]} for i in range(120)]
    evaluating.begin(short_spec(eval_cases=cases), max_tokens=1)
    evaluating.expect_status("Done")
    expect(evaluating.rows()).to_have_count(100)
    evaluating.tab.get_by_label("Which cases").select_option("cut")
    expect(evaluating.tab.locator(".pg-case-tools")).to_contain_text("120 of 120")
    evaluating.button("Show more").click()
    expect(evaluating.rows()).to_have_count(120)
    expect(evaluating.button("Show more")).to_be_hidden()
    expect(evaluating.tab.locator(".pg-total").first).to_contain_text("120 cut at the limit")


def test_one_model_alone_is_neither_compared_nor_voted_on(evaluating: Evaluating) -> None:
    evaluating.choose(short_spec(2))
    evaluating.tab.get_by_label("Model to compare with", exact=True).select_option("")
    evaluating.button("Run").click()
    evaluating.expect_status("Done")
    expect(evaluating.tab.locator(".pg-total")).to_have_count(1)
    expect(evaluating.tab.locator(".pg-diff-chart")).to_have_count(0)
    expect(evaluating.button("Vote blind")).to_be_hidden()
    evaluating.rows().first.get_by_role("button").first.click()
    expect(evaluating.tab.locator(".pg-case-detail .pg-look-side")).to_have_count(1)


def test_out_of_sight_nothing_is_asked(evaluating: Evaluating, demo_server: Server) -> None:
    cases = json.loads((ROOT / "demo" / "tunedtensor.json").read_text())["eval_cases"]
    evaluating.begin(short_spec(eval_cases=cases[:40]))
    evaluating.page.get_by_role("tab", name="Compare").click()
    expect(evaluating.page.locator("#compare-prompt")).to_be_visible()
    before = latest(demo_server)["num_answers"]
    wait_for(lambda: latest(demo_server)["num_answers"] > before + 8)  # A look that was under way is over.
    evaluating.page.evaluate("0")
    asked: list[str] = []

    def hear(request: Request) -> None:
        if PATH in request.url:
            asked.append(request.url)

    evaluating.page.on("request", hear)
    wait_for(lambda: latest(demo_server)["state"] == "done")
    evaluating.page.evaluate("0")  # What the browser has to tell is told before this is answered.
    assert asked == []
    evaluating.page.get_by_role("tab", name="Evaluate").click()
    evaluating.expect_status("Done")


def test_keys_vote_only_where_the_pair_is_in_sight(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin(short_spec(2))
    evaluating.expect_status("Done")
    evaluating.button("Vote blind").click()
    ballot = evaluating.tab.locator(".pg-ballot")
    expect(ballot.get_by_role("button", name="A is better")).to_be_visible()
    evaluating.page.get_by_role("tab", name="Compare").click()
    expect(ballot).to_be_hidden()
    evaluating.page.keyboard.press("a")
    evaluating.page.get_by_role("tab", name="Evaluate").click()
    expect(ballot.get_by_role("button", name="A is better")).to_be_visible()
    assert [case["vote"] for case in cases_of(demo_server)] == [None, None]
    evaluating.page.keyboard.press("b")
    expect(ballot).to_contain_text("You chose")
    evaluating.page.keyboard.press("Escape")
    expect(ballot).to_have_count(0)
    expect(evaluating.rows()).to_have_count(2)
    expect(evaluating.tab.locator(".pg-above")).to_contain_text("of 1 blind vote")
    assert len([case for case in cases_of(demo_server) if case["vote"]]) == 1


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_the_question_before_deleting_moves_nothing(visit: Visit, demo_server: Server, viewport: dict) -> None:
    someone = Evaluating(visit(demo_server.url + "/", viewport=viewport))
    someone.begin(short_spec(1), max_tokens=8)
    someone.expect_status("Done")
    title = someone.tab.locator("h3")
    before = title.bounding_box()
    someone.button("Delete").first.click()
    expect(someone.button("Keep")).to_be_focused()
    assert title.bounding_box() == before
    asked = someone.tab.locator(".pg-asked").bounding_box()
    assert asked
    assert asked["x"] >= 0
    assert asked["x"] + asked["width"] <= viewport["width"]
    someone.page.keyboard.press("Escape")
    expect(someone.button("Keep")).to_be_hidden()


def test_one_that_is_gone_says_so_and_can_be_left(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin(short_spec(1), max_tokens=8)
    evaluating.expect_status("Done")
    evaluating.button("Back").click()
    expect(evaluating.tab.locator(".pg-earlier-one")).to_have_count(1)
    demo_server.send("DELETE", f"{PATH}/{latest(demo_server)['id']}", None, {})
    evaluating.person.expects("404")
    evaluating.tab.locator(".pg-earlier-one").click()
    expect(evaluating.tab.get_by_role("alert")).to_contain_text("there is none")
    evaluating.button("Back").click()
    expect(evaluating.tab.locator(".pg-drop")).to_be_visible()


def test_one_that_is_resumed_elsewhere_is_seen_to_go_on(evaluating: Evaluating, demo_server: Server) -> None:
    evaluating.begin((ROOT / "demo" / "tunedtensor.json").read_text())
    evaluating.expect_status("left")
    path = f"{PATH}/{latest(demo_server)['id']}"
    for verb, words in (("pause", "Paused"), ("resume", "left"), ("stop", "Stopped")):
        demo_server.send("POST", f"{path}/{verb}", None, {})
        evaluating.expect_status(words)


def test_a_lost_server_is_told_until_it_is_back(evaluating: Evaluating) -> None:
    evaluating.begin((ROOT / "demo" / "tunedtensor.json").read_text())
    evaluating.expect_status("left")
    evaluating.person.expects("ERR_FAILED")
    evaluating.page.route(f"**{PATH}/**", lambda route: route.abort())
    expect(evaluating.tab.get_by_role("alert")).to_contain_text("does not answer")
    evaluating.page.unroute(f"**{PATH}/**")
    expect(evaluating.tab.get_by_role("alert")).to_have_count(0)


def test_where_inference_is_off_nothing_is_begun_or_resumed(visit: Visit, tmp_path: Path) -> None:
    with serving(ROOT / "models.yaml", tmp_path) as server:
        body = {"spec": (ROOT / "demo" / "tunedtensor.json").read_text()}
        one = server.post(PATH, body).json()["data"]["id"]
        server.post(f"{PATH}/{one}/pause", {})
    with serving(ROOT / "models.yaml", tmp_path, PLAYGROUND_INFERENCE="off") as server:
        evaluating = Evaluating(visit(server.url + "/"))
        evaluating.tab.locator(".pg-earlier-one").click()
        evaluating.expect_status("Paused")
        expect(evaluating.button("Resume")).to_be_disabled()
        expect(evaluating.tab).to_contain_text("Running is switched off on this server.")
        evaluating.button("Back").click()
        evaluating.choose(short_spec())
        expect(evaluating.button("Run")).to_be_disabled()
        expect(evaluating.tab).to_contain_text("Running is switched off on this server.")


def test_where_none_are_listed_a_browser_remembers_what_it_began(visit: Visit, demo_server: Server) -> None:
    someone, other = (Evaluating(visit(demo_server.url + "/")) for _ in range(2))
    for one in (someone, other):
        # As a server answers that is open to all.
        one.page.route(
            f"**{PATH}", lambda route: route.fulfill(json={"data": []}) if is_list(route.request) else route.continue_()
        )
    for name in ("first", "second"):
        someone.begin(short_spec(1, name=name), max_tokens=8)
        someone.expect_status("Done")
        someone.button("Back").click()
    with other.page.expect_response(f"**{PATH}"):
        other.open()
    expect(other.tab.locator(".pg-earlier-one")).to_have_count(0)
    someone.open()
    expect(someone.tab.locator(".pg-earlier-one strong")).to_have_text(["second", "first"])
    someone.tab.locator(".pg-earlier-one").last.click()
    someone.expect_status("Done")
    someone.button("Delete").first.click()
    someone.tab.locator(".pg-danger").click()
    expect(someone.tab.locator(".pg-earlier-one strong")).to_have_text(["second"])
    assert len(someone.page.evaluate("JSON.parse(localStorage.getItem('playground-evaluations'))")) == 1


def is_list(request: Request) -> bool:
    return request.method == "GET"
