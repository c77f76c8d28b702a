"""The History tab in a real browser, over the running program and real tiny models."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from playground.accounts import Accounts
from playground.history.records import ALONE, Choice, KeptAnswer
from playground.history.runs import Kind
from playground.history.votes import Pair
from playground.store import Store
from playground.types import Caller, GenerationRequest, Message, Sampling
from tests import tiny
from tests.browser import DESKTOP, PHONE, WAIT_MS, Person
from tests.server import DEMO, JSON, LLAMA, ROOT, TUNED, Server, save_models, serving

Visit = Callable[..., Person]
EVIL = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
SEED = 2**63 - 5
SAMPLING = Sampling(max_tokens=99, temperature=0.25, seed=SEED, stop=("END", "\n\n"))


def chat(model: str = LLAMA, prompt: str = "hi", system: str = "", **options: object) -> GenerationRequest:
    first = (Message("system", system),) if system else ()
    return GenerationRequest(model, (*first, Message("user", prompt)), alone=False, **options)  # pyright: ignore


def said(text: str) -> KeptAnswer:
    return KeptAnswer("done", text, token_ids=(1, 2, 3))


class History:
    """Somebody at the History tab, and what the program keeps of theirs."""

    def __init__(self, server: Server, person: Person, owner: str = ALONE) -> None:
        self.server, self.person, self.owner, self.page = server, person, owner, person.page

    def add(self, requests: Sequence[GenerationRequest], answers: Sequence[KeptAnswer]) -> str:
        kind: Kind = "single" if len(requests) == 1 else "compare"
        run_id = self.server.app.playground.history.runs.add(self.owner, kind, requests, answers)
        assert run_id
        return run_id

    def asked(self, prompt: str, text: str = "Fine.", model: str = LLAMA) -> str:
        return self.add([chat(model, prompt)], [said(text)])

    def really(self, *requests: GenerationRequest) -> str:
        """A run that real models answered."""
        complete = self.server.app.playground.complete
        # The browser has a loop of its own in this thread.
        with ThreadPoolExecutor(1) as beside:
            answers = [beside.submit(asyncio.run, complete(one, Caller(everything=True))).result() for one in requests]
        return self.add(requests, [KeptAnswer.of(answer) for answer in answers])

    def vote(self, choice: Choice, models: tuple[str, str] = (LLAMA, TUNED)) -> None:
        requests = [chat(model) for model in models]
        run_id = self.add(requests, [said("One."), said("Two.")])
        pair = Pair(requests[0].messages, models, ("One.", "Two."))
        self.server.app.playground.history.votes.on_run(self.owner, run_id, pair, choice)

    def open(self) -> History:
        self.page.goto(self.server.url)
        self.choose("History")
        expect(self.keep_switch()).to_be_visible()
        return self

    def choose(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab).click()

    def button(self, name: str) -> Locator:
        return self.page.locator("#history").get_by_role("button", name=name, exact=True)

    def keep_switch(self) -> Locator:
        return self.page.get_by_role("switch", name="Keep my runs")

    def prompts(self) -> Locator:
        return self.page.locator(".pg-kept-prompt")

    def search(self, text: str) -> None:
        self.page.get_by_label("Search runs").fill(text)

    def unfold(self, index: int = 0) -> Locator:
        kept = self.page.locator(".pg-kept").nth(index)
        kept.locator(".pg-kept-head").press("Enter")
        expect(kept.locator(".pg-kept-body")).to_be_visible()
        return kept

    def row(self, kept: Locator, name: str) -> Locator:
        return kept.locator(".pg-rows > div", has=self.page.locator("dt", has_text=re.compile(f"^{name}$"))).locator(
            "dd"
        )


@pytest.fixture(scope="module")
def kept_server(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(models_file, tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture
def history(visit: Visit, kept_server: Server) -> History:
    runs = kept_server.app.playground.history.runs
    runs.delete_all(ALONE)
    runs.keep(ALONE, True)
    return History(kept_server, visit(kept_server.url))


def test_it_says_what_will_stand_here(history: History) -> None:
    history.open()
    expect(history.page.locator("#history")).to_contain_text("Runs of Compare and Single stand here")
    expect(history.page.locator("#history")).to_contain_text("Runs are kept on this server until you delete them.")
    expect(history.button("Delete all")).to_be_disabled()
    expect(history.page.get_by_role("region", name="Blind votes")).to_be_hidden()
    expect(history.button("Show more")).to_be_hidden()


def test_search_wants_all_words_in_any_letter_case(history: History) -> None:
    history.asked("ÜBER die Brücke nach 東京", "Straße")
    history.asked("über nothing")
    history.open()
    expect(history.prompts()).to_have_text(["über nothing", "ÜBER die Brücke nach 東京"])
    for words in ("Über brücke", "東京", "STRASSE", "über die", f"東京 {LLAMA.upper()}"):
        history.search(words)
        expect(history.prompts(), words).to_have_text(["ÜBER die Brücke nach 東京"])
    history.search("東京 nothing")
    expect(history.page.locator("#history .pg-empty")).to_have_text("No run has all of these words.")
    expect(history.button("Delete all")).to_be_enabled()
    history.search("100% & #?")
    expect(history.prompts()).to_have_count(0)
    history.search("")
    expect(history.prompts()).to_have_count(2)


def test_what_was_searched_last_is_what_is_shown(history: History) -> None:
    history.asked("slow one")
    history.asked("fast one")
    history.open()
    expect(history.prompts()).to_have_count(2)
    history.page.route(re.compile("search=slow"), lambda route: None)
    with history.page.expect_event("requestfailed", lambda request: "search=slow" in request.url):
        with history.page.expect_request(re.compile("search=slow")):
            history.search("slow")
        history.search("fast")
    expect(history.prompts()).to_have_text(["fast one"])


def test_more_than_fifty_are_shown_on_request(history: History) -> None:
    for number in range(103):
        history.asked(f"number {number}")
    history.open()
    expect(history.prompts()).to_have_count(50)
    expect(history.prompts().first).to_have_text("number 102")
    history.button("Show more").click()
    expect(history.prompts()).to_have_count(100)
    history.choose("Compare")
    history.asked("number 103")
    history.choose("History")
    expect(history.prompts().first).to_have_text("number 103")
    expect(history.prompts()).to_have_count(100)
    history.button("Show more").click()
    expect(history.prompts()).to_have_count(104)
    assert history.prompts().all_inner_texts() == [f"number {number}" for number in reversed(range(104))]
    expect(history.button("Show more")).to_be_hidden()


def test_a_run_unfolds_to_all_that_is_known_of_it(history: History) -> None:
    left = chat(DEMO, "Where is it?", "Be brief.", sampling=SAMPLING)
    right = chat(JSON, "Where is it?", "Be brief.", sampling=SAMPLING, strength=0.5)
    history.really(left, right)
    history.open()
    about = history.page.locator(".pg-kept-about")
    expect(about).to_contain_text(f"Compare · {DEMO} and {JSON} at 0.5")
    kept = history.unfold()
    for name, value in (
        ("System prompt", "Be brief."),
        ("Prompt", "Where is it?"),
        ("Temperature", "0.25"),
        ("Max tokens", "99"),
        ("Stop strings", '"END", "\\n\\n"'),
        ("Seed", str(SEED)),
    ):
        expect(history.row(kept, name)).to_have_text(value)
    expect(history.row(kept, "Top-p")).to_have_count(0)
    sides = kept.locator(".pg-kept-side")
    expect(sides.locator("h4")).to_have_text([DEMO, f"{JSON} at 0.5"])
    [run] = history.server.app.playground.history.runs.all(ALONE)
    for side, answer in zip(sides.all(), run.answers, strict=True):
        assert answer.finish
        assert answer.finish.proof
        expect(history.row(side, "Finish")).to_have_text(answer.finish.reason)
        usage = answer.finish.usage
        expect(history.row(side, "Tokens")).to_have_text(
            f"{usage.num_prompt_tokens} tokens in, {usage.num_completion_tokens} out"
        )
        expect(history.row(side, "Latency")).to_contain_text("to the first token")
        for name, digest in (("base", answer.finish.proof.base_hash), ("adapter", answer.finish.proof.adapter_hash)):
            if digest:
                expect(history.row(side, "Given by")).to_contain_text(f"{name} {digest[:8]}")
                expect(history.row(side, "Given by").locator("span")).to_have_attribute(
                    "title", re.compile(f"{name} {digest}")
                )
    expect(history.row(sides.nth(1), "Given by")).to_contain_text("beside the base · strength 0.5")
    kept.locator(".pg-kept-head").press("Enter")
    expect(kept.locator(".pg-kept-body")).to_be_hidden()


def test_answers_that_did_not_come_to_their_end_say_so(history: History) -> None:
    stopped = KeptAnswer("stopped", "Half an", thinking="Hm.", token_ids=(5,))
    history.add([chat(), chat(TUNED)], [stopped, KeptAnswer("failed", error="It ran out of memory.")])
    history.open()
    kept = history.unfold()
    left, right = kept.locator(".pg-kept-side").all()
    expect(left.locator(".pg-cut")).to_have_text("Stopped")
    expect(left.locator(".pg-thinking")).to_contain_text("Hm.")
    expect(history.row(left, "Tokens")).to_have_text("1 out")
    expect(right.locator(".pg-cut")).to_have_text("Failed")
    expect(right).to_contain_text("It ran out of memory.")
    expect(history.row(kept, "Seed")).to_have_text("–")


def test_a_run_is_run_again_and_gives_the_same(history: History) -> None:
    sampling = Sampling(max_tokens=8, seed=4)
    history.really(chat(LLAMA, sampling=sampling), chat(TUNED, sampling=sampling))
    history.open()
    kept = history.unfold()
    kept.get_by_role("button", name="Run again").click()
    [run] = history.server.app.playground.history.runs.all(ALONE)
    for side, answer in zip(kept.locator(".pg-kept-again").all(), run.answers, strict=True):
        expect(side).to_have_text(f"=The same {len(answer.token_ids)} tokens.", timeout=2 * WAIT_MS)
        expect(side.locator(".pg-kept-answer")).to_have_count(0)
    expect(kept.get_by_role("button", name="Run again")).to_be_enabled()


def test_a_changed_adapter_is_named_beside_its_new_answer(visit: Visit, tmp_path: Path) -> None:
    models, home = save_models(tmp_path), tmp_path / "home"
    sampling = Sampling(max_tokens=24, seed=4)
    with serving(models, home) as server:
        History(server, visit(server.url)).really(chat(LLAMA, sampling=sampling), chat(TUNED, sampling=sampling))
    tiny.save_adapter("llama", tmp_path / "llama", tmp_path / "tuned", seed=9)
    with serving(models, home) as server:
        history = History(server, visit(server.url)).open()
        kept = history.unfold()
        kept.get_by_role("button", name="Run again").click()
        base, tuned = kept.locator(".pg-kept-again").all()
        expect(base).to_contain_text("The same 24 tokens.", timeout=2 * WAIT_MS)
        expect(tuned).to_contain_text(
            re.compile(r"Not the same weights: the adapter \(\w{8} then, \w{8} now\) changed")
        )
        expect(tuned.locator(".pg-kept-answer .pg-text")).not_to_be_empty()
        history.page.close()


def test_a_run_again_can_be_stopped(history: History) -> None:
    history.asked("Long?")
    history.open()
    kept = history.unfold()
    history.page.route(re.compile("/again$"), lambda route: None)
    button = kept.locator(".pg-kept-run")
    before = button.bounding_box()
    with history.page.expect_event("requestfailed", lambda request: request.url.endswith("/again")):
        button.click()
        expect(button).to_have_text("Stop")
        assert button.bounding_box() == pytest.approx(before, abs=1)
        button.click()
    expect(kept.get_by_role("status")).to_have_text("Stopped.")
    history.page.unroute(re.compile("/again$"))
    expect(button).to_have_text("Run again")
    button.click()
    expect(kept.locator(".pg-verdict-false")).to_be_visible(timeout=2 * WAIT_MS)


def test_what_fails_is_told_in_its_place(history: History) -> None:
    run_id = history.asked("Gone?")
    history.open()
    for refusal in ("404", "ERR_FAILED"):
        history.person.expects(refusal)
    kept = history.unfold()
    history.server.app.playground.history.runs.delete(ALONE, run_id)
    kept.get_by_role("button", name="Run again").click()
    expect(kept.get_by_role("alert")).to_contain_text(f"there is none '{run_id}' of yours")
    history.page.route(re.compile("runs"), lambda route: route.abort())
    history.search("x")
    problem = history.page.locator(".pg-history > .pg-problem")
    expect(problem).to_contain_text("The server does not answer: is it still running?")
    history.page.unroute(re.compile("runs"))
    history.search("")
    expect(history.page.locator("#history .pg-empty")).to_contain_text("stand here")
    expect(problem).to_be_hidden()


def test_open_in_compare_and_in_single_fills_the_page(history: History) -> None:
    evil = f"{EVIL} 100%25 & more."
    history.add([chat(JSON, evil, "Brief!", sampling=SAMPLING)], [said("Yes.")])
    requests = [chat(DEMO, "Two?", sampling=SAMPLING), chat(JSON, "Two?", sampling=SAMPLING, strength=0.5)]
    history.add(requests, [said("One."), said("Two.")])
    history.open()
    history.unfold(0).get_by_role("button", name="Open in Compare").click()
    page = history.page
    expect(page.locator("#compare-prompt textarea")).to_have_value("Two?")
    expect(page.locator("#left-picker input")).to_have_value(re.compile("^shop-demo"))
    expect(page.locator("#right-picker input")).to_have_value(re.compile("shop-json"))
    expect(page.locator("#right-strength output")).to_have_text("0.50")
    expect(page.get_by_label("System prompt")).to_have_value("")
    expect(page.locator("#temperature input[type=number]")).to_have_value("0.25")
    history.choose("History")
    history.unfold(1).get_by_role("button", name="Open in Single").click()
    expect(page.locator("#single-prompt textarea")).to_have_value(evil)
    expect(page.get_by_label("System prompt")).to_have_value("Brief!")
    page.locator("#more button").first.click()
    expect(page.get_by_label("Seed")).to_have_value(str(SEED))
    expect(page.get_by_label("Stop strings")).to_have_value("END\n\\n\\n")


def test_deleting_asks_once(history: History) -> None:
    for prompt in ("one", "two", "three"):
        history.asked(prompt)
    history.open()
    kept = history.unfold(1)
    ask = kept.get_by_role("button", name="Delete", exact=True)
    ask.click()
    expect(kept.get_by_role("button", name="Keep")).to_be_focused()
    history.page.keyboard.press("Escape")
    expect(ask).to_be_focused()
    # Whoever clicks twice has not answered yet.
    ask.dblclick()
    expect(history.prompts()).to_have_count(3)
    kept.locator(".pg-danger").click()
    expect(history.prompts()).to_have_text(["three", "one"])
    bar = history.page.locator(".pg-history-bar")
    box = history.page.get_by_label("Search runs").bounding_box()
    sent: list[str] = []
    history.page.on("request", lambda request: sent.append(request.method))
    history.button("Delete all").dblclick()
    history.button("Delete all").click()
    assert sent == []
    assert history.page.get_by_label("Search runs").bounding_box() == box
    expect(history.prompts()).to_have_count(2)
    bar.locator(".pg-danger").click()
    expect(history.prompts()).to_have_count(0)
    expect(history.page.locator("#history")).to_contain_text("stand here")
    expect(history.button("Delete all")).to_be_disabled()
    assert list(history.server.app.playground.history.runs.all(ALONE)) == []


def test_switched_off_nothing_new_is_kept(history: History) -> None:
    history.asked("before")
    history.open()
    runs = history.server.app.playground.history.runs
    expect(history.keep_switch()).to_be_checked()
    history.keep_switch().click()
    expect(history.page.locator("#history")).to_contain_text("New runs are not kept.")
    assert runs.add(ALONE, "single", [chat()], [said("No.")]) is None
    history.page.reload()
    history.choose("History")
    expect(history.prompts()).to_have_text(["before"])
    expect(history.keep_switch()).not_to_be_checked()
    history.keep_switch().press("Space")
    expect(history.page.locator("#history")).to_contain_text("Runs are kept on this server")
    assert runs.is_kept(ALONE)


def test_a_switch_that_fails_goes_back(history: History) -> None:
    history.open()
    expect(history.keep_switch()).to_be_enabled()
    history.person.expects("ERR_FAILED")
    history.page.route(re.compile("playground/history$"), lambda route: route.abort())
    history.keep_switch().click()
    expect(history.page.locator(".pg-history > .pg-problem")).to_contain_text("The server does not answer")
    expect(history.keep_switch()).to_be_checked()


def test_the_list_is_fresh_whenever_the_tab_is_opened(history: History) -> None:
    history.asked("first")
    history.open()
    kept = history.unfold()
    history.choose("Single")
    history.asked("second")
    history.choose("History")
    expect(history.prompts()).to_have_text(["second", "first"])
    expect(history.page.locator(".pg-kept").nth(1).locator(".pg-kept-body")).to_be_visible()
    assert kept.count() == 1


def test_everything_is_exported_in_files_that_parse(history: History) -> None:
    history.vote("right")
    history.vote("tie")
    history.open()
    files: dict[str, str] = {}
    for words in ("Runs, JSON Lines", "Runs, CSV", "Votes, JSON Lines", "Votes, CSV", "Preference pairs, JSON Lines"):
        fold = history.page.locator(".pg-export")
        if fold.get_attribute("open") is None:
            fold.locator("summary").click()
        with history.page.expect_download() as download:
            history.page.get_by_role("link", name=words).click()
        files[download.value.suggested_filename] = download.value.path().read_text()
    lines = {name: [json.loads(line) for line in text.splitlines()] for name, text in files.items() if "json" in name}
    tables = {name: list(csv.DictReader(io.StringIO(text))) for name, text in files.items() if "csv" in name}
    assert {name: len(found) for name, found in (lines | tables).items()} == {
        "runs.jsonl": 2,
        "runs.csv": 4,
        "votes.jsonl": 2,
        "votes.csv": 2,
        "preferences.jsonl": 1,
    }
    assert lines["preferences.jsonl"][0]["chosen"] == [{"role": "assistant", "content": "Two."}]
    expect(history.page.locator(".pg-export")).to_contain_text("TRL's DPOTrainer reads the preference pairs.")
    history.page.keyboard.press("Escape")
    expect(history.page.locator(".pg-export-panel")).to_be_hidden()


def test_votes_are_counted_by_pair(history: History) -> None:
    for choice in ("right", "right", "left", "tie", "both_bad"):
        history.vote(choice)
    for _ in range(12):
        history.vote("left", (DEMO, JSON))
    history.vote("both_bad", (LLAMA, DEMO))
    history.open()
    rows = history.page.get_by_role("region", name="Blind votes").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0).locator("td")).to_contain_text(
        [JSON, DEMO, "0 to 12", "0", "0", f"0%, between 0% and 24%: {DEMO} is better"]
    )
    expect(rows.nth(1).locator("td")).to_contain_text([TUNED, LLAMA, "2 to 1", "1", "1", "not yet told apart"])
    expect(rows.nth(2).locator("td")).to_contain_text([DEMO, LLAMA, "0 to 0", "0", "1", "–"])
    expect(history.page.locator(".pg-kept-about").first).to_contain_text("Voted for neither")
    expect(history.page.locator(".pg-kept-about").nth(1)).to_contain_text(f"Voted for {DEMO}")
    scale, point = (rows.nth(1).locator(name).bounding_box() for name in (".pg-interval", ".pg-point"))
    assert scale
    assert point
    assert (point["x"] + 2 - scale["x"]) / scale["width"] == pytest.approx(0.625, abs=0.03)


def test_hostile_text_is_text(history: History) -> None:
    history.add([chat(LLAMA, EVIL, EVIL)], [KeptAnswer("failed", EVIL, thinking=EVIL, error=EVIL)])
    history.open()
    expect(history.prompts()).to_have_text(EVIL)
    kept = history.unfold()
    expect(kept.locator(".pg-text")).to_contain_text(EVIL)
    assert history.page.evaluate("window.evil") is None
    assert history.page.locator("#history img").count() == 0


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_sticks_out(visit: Visit, history: History, viewport: dict[str, int]) -> None:
    long = "w" * 900
    history.add([chat(DEMO, long, long), chat(JSON, long, long)], [said(long), said("```\n" + long + "\n```")])
    history.vote("right", ("someone/" + "m" * 80, "someone/" + "n" * 80))
    narrow = History(history.server, visit(history.server.url, viewport=viewport)).open()
    kept = narrow.unfold(1)
    kept.get_by_role("button", name="Delete", exact=True).click()
    narrow.button("Delete all").click()
    page = narrow.page
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    for part in (*page.locator("#history button:visible").all(), *kept.locator(".pg-kept-side").all()):
        box = part.bounding_box()
        assert box
        assert 0 <= box["x"] <= box["x"] + box["width"] <= viewport["width"]


def test_where_no_runs_can_be_kept_the_switch_says_why(visit: Visit, models_file: Path, tmp_path: Path) -> None:
    with serving(models_file, tmp_path, "--no-history") as server:
        history = History(server, visit(server.url)).open()
        expect(history.page.locator("#history")).to_contain_text(
            "No runs are kept: nobody signs in on this server, or it was told to keep none."
        )
        expect(history.keep_switch()).to_be_disabled()
        expect(history.keep_switch()).not_to_be_checked()
        history.page.close()


def test_where_nothing_runs_nothing_runs_again(visit: Visit, tmp_path: Path) -> None:
    with serving(ROOT / "models.yaml", tmp_path, "--inventory-only") as server:
        history = History(server, visit(server.url))
        history.asked("Old?", model=DEMO)
        kept = history.open().unfold()
        expect(kept.get_by_role("button", name="Run again")).to_be_disabled()
        expect(kept.get_by_role("status")).to_have_text("Running is switched off on this server.")
        history.page.close()


def test_each_account_sees_its_own_alone(visit: Visit, models_file: Path, tmp_path: Path) -> None:
    accounts = Accounts(Store(tmp_path))
    keys = {name: accounts.create(name, []) for name in ("ann", "bob")}
    with serving(models_file, tmp_path) as server:
        people = {name: History(server, visit(server.url), name) for name in keys}
        for name, one in people.items():
            one.asked(f"{name}'s")
            one.page.goto(server.url)
            one.page.get_by_label("API key").fill(keys[name])
            one.page.get_by_role("button", name="Sign in").click()
            one.choose("History")
            expect(one.prompts()).to_have_text([f"{name}'s"])
        people["ann"].button("Delete all").click()
        people["ann"].page.locator(".pg-history-bar .pg-danger").click()
        expect(people["ann"].prompts()).to_have_count(0)
        people["bob"].choose("Compare")
        people["bob"].choose("History")
        expect(people["bob"].prompts()).to_have_text(["bob's"])
        for one in people.values():
            one.page.close()
