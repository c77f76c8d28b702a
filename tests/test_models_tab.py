"""The Models tab as a person uses it, in Chromium over real tiny models."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests import tiny
from tests.browser import PHONE, Person
from tests.drive import wait_for
from tests.server import LLAMA, TUNED, Server, save_models, serving
from tests.test_archive import SOUND, zipped

LIBRARY = "/api/v1/playground/library"
Visit = Callable[..., Person]


class Models:
    """Somebody in the tab."""

    def __init__(self, person: Person, server: Server) -> None:
        self.person, self.page, self.server = person, person.page, server
        self.page.goto(person.url)
        self.page.get_by_role("tab", name="Models").click()
        expect(self.row(LLAMA)).to_be_visible()

    @property
    def tab(self) -> Locator:
        return self.page.locator("#models .pg-library")

    def row(self, id: str) -> Locator:
        return self.tab.locator(".pg-models > li").filter(has=self.page.get_by_text(id, exact=True))

    def where(self) -> list[tuple[float, float]]:
        """Top and height of every row, from the list's own top."""
        told = "rows => rows.map(row => [row.offsetTop - rows[0].offsetTop, row.offsetHeight])"
        return self.tab.locator(".pg-models > li").evaluate_all(told)

    def do(self, id: str, words: str) -> None:
        self.row(id).get_by_role("button", name=words, exact=True).click()

    def expect_state(self, id: str, words: str) -> None:
        expect(self.row(id).locator(".pg-listed-state")).to_have_text(words)

    def open_adding(self) -> Locator:
        self.tab.get_by_text("Add a fine-tune").click()
        return self.tab.locator(".pg-add-panel")

    def add(self, place: Path, id: str) -> Locator:
        """Adds a folder under a name; gives the panel, which tells what came of it."""
        panel = self.open_adding()
        panel.get_by_label("Where it is").fill(str(place))
        panel.get_by_label("Called").fill(id)
        panel.get_by_role("button", name="Add", exact=True).click()
        return panel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    save_models(made)
    return made


@pytest.fixture
def models(visit: Visit, folder: Path, tmp_path: Path) -> Iterator[Models]:
    with serving(folder / "models.yaml", tmp_path / "home") as server:
        person = visit(server.url + "/")
        yield Models(person, server)
        person.page.goto("about:blank")


def test_a_model_is_loaded_pinned_and_unloaded(models: Models) -> None:
    models.expect_state(TUNED, "On disk")
    expect(models.row(TUNED).locator(".pg-listed-takes")).to_contain_text("about")
    models.do(TUNED, "Load")
    models.expect_state(TUNED, "Ready")
    models.expect_state(LLAMA, "Ready")
    expect(models.tab.get_by_role("meter")).not_to_have_attribute("aria-valuenow", "0")
    expect(models.row(TUNED).locator(".pg-listed-use")).to_have_text("used just now")
    models.do(TUNED, "Pin")
    models.expect_state(TUNED, "Ready · pinned")
    models.do(TUNED, "Unpin")
    models.do(LLAMA, "Unload")
    models.expect_state(TUNED, "On disk")
    expect(models.tab.get_by_role("meter")).to_have_attribute("aria-valuenow", "0")


def test_who_uses_a_model_is_told_and_it_is_not_taken_from_them(models: Models) -> None:
    models.do(LLAMA, "Load")
    models.expect_state(LLAMA, "Ready")
    card = models.server.app.playground.status(LLAMA, models.server.app.playground.default_caller).card
    lease = models.server.app.registry.lease(card, lambda _: None, lambda _: None, "ann")
    expect(models.row(LLAMA).locator(".pg-listed-use")).to_have_text("1 answer for ann")
    models.person.expects("400")
    models.do(LLAMA, "Unload")
    expect(models.tab.get_by_role("alert")).to_contain_text("it is in use")
    lease.release()
    models.do(LLAMA, "Unload")
    models.expect_state(LLAMA, "On disk")
    expect(models.tab.get_by_role("alert")).to_be_hidden()


def test_a_load_that_takes_long_is_seen_and_cancelled(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = models.server.app.engines.local()

    def endless(base: object, watch: object, has_room: object) -> object:
        from playground.types import Progress

        while True:
            watch.report(Progress("loading", 0.42, "weights"))  # type: ignore[attr-defined]

    monkeypatch.setattr(loader, "load", endless)
    models.do(LLAMA, "Load")
    models.expect_state(LLAMA, "Loading 42%")
    models.do(LLAMA, "Cancel")
    models.expect_state(LLAMA, "On disk")


def test_a_load_that_fails_says_why(models: Models, folder: Path) -> None:
    weights = folder / "thinker" / "model.safetensors"
    hidden = weights.rename(weights.with_suffix(".away"))
    try:
        models.do("tiny/thinker", "Load")
        models.expect_state("tiny/thinker", "Cannot be run")
        expect(models.row("tiny/thinker")).to_contain_text("model.safetensors is missing")
    finally:
        hidden.rename(weights)
    models.do("tiny/thinker", "Load")
    models.expect_state("tiny/thinker", "Ready")


def test_a_question_stands_while_its_model_loads(models: Models, folder: Path, tmp_path: Path) -> None:
    place = tiny.save_adapter("llama", folder / "llama", tmp_path / "support", seed=7)
    models.add(place, "me/asked")
    models.expect_state("me/asked", "On disk")
    models.do("me/asked", "Remove")
    models.server.post(f"{LIBRARY}/load", {"model": "me/asked"})
    models.expect_state("me/asked", "Ready")
    models.do("me/asked", "Keep")
    expect(models.row("me/asked").get_by_role("button", name="Unload")).to_be_visible()
    models.do("me/asked", "Remove")
    models.row("me/asked").locator(".pg-danger").click()
    expect(models.row("me/asked")).to_have_count(0)


def test_a_folder_is_added_compared_with_and_removed(models: Models, folder: Path, tmp_path: Path) -> None:
    place = tiny.save_adapter("llama", folder / "llama", tmp_path / "support", seed=7)
    panel = models.add(place, "me/support")
    expect(panel.get_by_role("status")).to_have_text("me/support is added.")
    models.expect_state("me/support", "On disk")
    models.page.get_by_role("tab", name="Compare").click()
    models.page.locator("#right-picker input").click()
    models.page.get_by_role("option", name="support").click()
    models.person.ask("hi", tab="compare")
    expect(models.person.frame("right").locator('.pg-answer[data-state="done"]')).to_be_visible()
    models.page.get_by_role("tab", name="Models").click()
    models.do("me/support", "Remove")
    expect(models.row("me/support")).to_contain_text("Its files stay on the disk.")
    models.do("me/support", "Keep")
    models.do("me/support", "Remove")
    models.do("me/support", "Remove")
    expect(models.row("me/support")).to_have_count(0)
    assert place.exists()


def test_an_archive_is_sent_and_a_bad_one_refused(models: Models, folder: Path, tmp_path: Path) -> None:
    panel = models.open_adding()
    models.person.expects("400")
    file = panel.locator("input[type=file]")
    file.set_input_files(zipped(tmp_path / "bad.zip", SOUND | {"weights.bin": b"\x80"}))
    expect(panel.get_by_role("status")).to_contain_text("'weights.bin' is not allowed: pickles can run code")
    files = {one.name: one.read_bytes() for one in (folder / "tuned").iterdir() if one.is_file()}
    file.set_input_files(zipped(tmp_path / "mine.zip", files))
    expect(panel.get_by_role("status")).to_have_text("uploads/mine is added.")
    models.do("uploads/mine", "Load")
    models.expect_state("uploads/mine", "Ready")
    place = models.server.home / "adapters" / "mine"
    assert place.exists()
    models.do("uploads/mine", "Remove")
    expect(models.row("uploads/mine")).to_contain_text("Its uploaded files are deleted.")
    models.do("uploads/mine", "Delete")
    expect(models.row("uploads/mine")).to_have_count(0)
    assert not place.exists()


def test_what_a_model_takes_and_where_it_runs_stands_under_heads(models: Models) -> None:
    heads = models.tab.get_by_role("columnheader")
    expect(heads).to_have_text(["Model", "State", "On disk", "In memory", "Runs in", "Use", ""])
    row = models.row(LLAMA)
    expect(row.locator(".pg-listed-disk")).to_have_text(re.compile(r"^\d+(\.\d)? [kM]B$"))
    expect(row.locator(".pg-listed-takes")).to_have_text(re.compile(r"^about \d"))
    expect(row.locator(".pg-listed-runs")).to_have_text("float32")
    models.do(LLAMA, "Load")
    expect(row.locator(".pg-listed-runs")).to_have_text("float32 · cpu")
    expect(row.locator(".pg-listed-takes")).to_have_text(re.compile(r"^\d"))
    for column in range(7):
        lefts = [one.bounding_box() for one in (heads.nth(column), row.locator("> *").nth(column))]
        assert lefts[0]
        assert lefts[1]
        assert lefts[0]["x"] == pytest.approx(lefts[1]["x"], abs=1)


@pytest.mark.parametrize("width", [1280, 1000, 390])
def test_rows_stay_where_they_are_whatever_is_done(models: Models, folder: Path, tmp_path: Path, width: int) -> None:
    models.page.set_viewport_size({"width": width, "height": 900})
    place = tiny.save_adapter("llama", folder / "llama", tmp_path / "support", seed=7)
    models.server.post(f"{LIBRARY}/adapters", {"source": str(place), "id": "me/support"})
    expect(models.row("me/support")).to_be_visible()
    where = models.where()
    models.do("me/support", "Load")
    models.expect_state("me/support", "Ready")
    assert models.where() == where
    models.do("me/support", "Pin")
    models.expect_state("me/support", "Ready · pinned")
    assert models.where() == where
    models.do("me/support", "Remove")
    question = models.row("me/support").locator(".pg-asked")
    expect(question).to_be_visible()
    assert models.where() == where
    box = question.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    for button in ("Remove", "Keep"):
        expect(models.row("me/support").get_by_role("button", name=button, exact=True)).to_be_in_viewport(ratio=1)
    sideways = "[...document.querySelectorAll('html, body, .gradio-container, #models, #models *')].filter("
    sideways += "one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline').length"
    assert models.page.evaluate(sideways) == 0


def test_on_a_phone_a_fine_tune_is_set_in_with_all_that_is_its_own(models: Models) -> None:
    models.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    row = models.row(TUNED)
    lefts = [row.locator(part).bounding_box() for part in (".pg-listed-name", ".pg-listed-state", "button >> nth=0")]
    assert len({round(box["x"]) for box in lefts if box}) == 1
    expect(row.locator(".pg-listed-disk")).to_be_visible()
    for part, label in (
        (".pg-listed-disk", "On disk"),
        (".pg-listed-takes", "In memory"),
        (".pg-listed-runs", "Runs in"),
    ):
        said = row.locator(part).evaluate("node => getComputedStyle(node, '::before').content")
        assert said == f'"{label}"'


def test_what_another_server_answers_is_not_offered_to_this_memory(
    visit: Visit, models: Models, tmp_path: Path
) -> None:
    file = tmp_path / "models.yaml"
    entry = f"{{id: a/far, endpoint: '{models.server.url}/v1', served_model_name: {LLAMA}}}"
    file.write_text(f"models:\n  - {entry}\n")
    with serving(file, tmp_path / "far") as server:
        person = visit(server.url + "/")
        person.page.goto(person.url)
        person.page.get_by_role("tab", name="Models").click()
        row = person.page.locator(".pg-models > li")
        expect(row.locator(".pg-listed-state")).to_have_text("Answered elsewhere")
        expect(row.locator(".pg-listed-disk")).to_have_text("none here")
        card = server.app.playground.status("a/far", server.app.playground.default_caller).card
        lease = server.app.registry.lease(card, lambda _: None, lambda _: None)
        wait_for(lambda: server.app.registry.usage(card).users)
        expect(row.locator(".pg-listed-use")).to_have_text("1 answer")
        expect(row.get_by_role("button")).to_have_count(0)
        lease.release()
        person.page.goto("about:blank")


def test_a_broken_list_of_what_was_added_is_told(models: Models) -> None:
    (models.server.home / "models.yaml").write_text("models: {")
    told = models.tab.get_by_role("alert").filter(has_text="What was added needs mending")
    expect(told).to_contain_text("models.yaml, line 1")
    (models.server.home / "models.yaml").unlink()
    expect(told).to_have_count(0)


def test_a_watched_folder_shows_checkpoints_as_they_come(models: Models, folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    tiny.save_adapter("llama", folder / "llama", runs / "a" / "checkpoint-5", seed=7)
    panel = models.open_adding()
    panel.get_by_label("Where it is").fill(str(runs))
    panel.get_by_label("Where it is").press("Enter")
    expect(models.row("runs/a/checkpoint-5")).to_be_visible()
    shutil.copytree(runs / "a" / "checkpoint-5", runs / "a" / "checkpoint-10")
    expect(models.row("runs/a/checkpoint-10")).to_be_visible()
    panel.get_by_role("button", name="Stop watching").click()
    expect(models.row("runs/a/checkpoint-10")).to_have_count(0)


def test_what_has_the_focus_keeps_it_while_the_list_is_drawn_anew(models: Models) -> None:
    models.row(LLAMA).get_by_role("button", name="Load").press("Enter")
    models.expect_state(LLAMA, "Ready")
    expect(models.row(LLAMA).get_by_role("button", name="Unload")).to_be_focused()


def test_it_fits_a_phone_and_asks_nothing_out_of_sight(visit: Visit, folder: Path, tmp_path: Path) -> None:
    with serving(folder / "models.yaml", tmp_path / "home") as server:
        person = visit(server.url + "/", viewport=PHONE, color_scheme="dark")
        phone = Models(person, server)
        phone.open_adding()
        assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for name in ("Compare", "Single", "Evaluate", "History", "Models"):
            expect(phone.page.get_by_role("tab", name=name)).to_be_visible()
        phone.page.get_by_role("tab", name="Compare").click()
        asked: list[str] = []
        phone.page.on("request", lambda request: asked.append(request.url) if "library" in request.url else None)
        phone.person.ask("hi", tab="compare")
        expect(phone.person.frame("right").locator('.pg-answer[data-state="done"]')).to_be_visible()
        assert asked == []
        phone.page.get_by_role("tab", name="Models").click()
        wait_for(lambda: phone.page.wait_for_timeout(50) or asked)
        person.page.goto("about:blank")


def test_who_may_only_look_is_offered_nothing(visit: Visit, folder: Path, tmp_path: Path) -> None:
    with serving(folder / "models.yaml", tmp_path / "home", "--open", SPACE_ID="me/space") as server:
        looking = Models(visit(server.url + "/"), server)
        expect(looking.tab.get_by_role("button")).to_have_count(0)
        expect(looking.tab.get_by_text("Add a fine-tune")).to_be_hidden()
        looking.page.goto("about:blank")
