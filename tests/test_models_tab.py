"""The Models tab as a person uses it, in Chromium over real tiny models."""

from __future__ import annotations

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

    def do(self, id: str, words: str) -> None:
        self.row(id).get_by_role("button", name=words, exact=True).click()

    def expect_state(self, id: str, words: str) -> None:
        expect(self.row(id).locator(".pg-listed-state")).to_have_text(words)

    def open_adding(self) -> Locator:
        self.tab.get_by_text("Add a fine-tune").click()
        return self.tab.locator(".pg-add-panel")


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


def test_a_folder_is_added_compared_with_and_removed(models: Models, folder: Path, tmp_path: Path) -> None:
    place = tiny.save_adapter("llama", folder / "llama", tmp_path / "support", seed=7)
    panel = models.open_adding()
    panel.get_by_label("Where it is").fill(str(place))
    panel.get_by_label("Called").fill("me/support")
    panel.get_by_role("button", name="Add", exact=True).click()
    expect(panel.get_by_role("status")).to_have_text("me/support is added.")
    models.expect_state("me/support", "On disk")
    models.page.get_by_role("tab", name="Compare").click()
    models.page.locator("#right-picker input").click()
    models.page.get_by_role("option", name="support").click()
    models.person.ask("hi", tab="compare")
    expect(models.person.frame("right").locator('.pg-answer[data-state="done"]')).to_be_visible()
    models.page.get_by_role("tab", name="Models").click()
    models.do("me/support", "Remove")
    models.do("me/support", "Keep")
    models.do("me/support", "Remove")
    models.do("me/support", "Delete")
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
