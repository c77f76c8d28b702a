"""Merges over REST and in the page: saved behind whoever asked, pushed, given up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from transformers import AutoModelForCausalLM

from playground import hub
from playground.errors import SaveFailed
from playground.local import saving
from playground.types import LoadWatch, Progress
from tests.browser import Person
from tests.drive import wait_for
from tests.server import LLAMA, TUNED, Server, save_models, serving
from tests.test_models_tab import Models

MERGES = "/api/v1/playground/library/merges"
Visit = Callable[..., Person]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("merges")
    save_models(made)
    return made


@pytest.fixture
def house(folder: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(folder / "models.yaml", tmp_path / "home") as running:
        yield running


def works(server: Server) -> list[dict[str, Any]]:
    return server.get(MERGES).json()["data"]


def saved(server: Server, place: Path) -> dict[str, Any]:
    assert server.post(MERGES, {"model": TUNED, "folder": str(place)}).status == 200
    wait_for(lambda: works(server)[0]["state"] != "running")
    return works(server)[0]


def test_a_merge_is_saved_and_is_a_model(house: Server, tmp_path: Path) -> None:
    done = saved(house, tmp_path / "merged")
    assert (done["state"], done["source"], done["target"]) == ("done", TUNED, str(tmp_path / "merged"))
    assert done["num_bytes"] > 0
    assert done["fidelity"]
    assert max(figure["max_difference"] for figure in done["fidelity"]) < 0.2
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert model(torch.tensor([[5, 6, 7]])).logits.isfinite().all()


@pytest.mark.parametrize(
    ("body", "status", "param", "told"),
    [
        ({"model": LLAMA, "folder": "{new}"}, 400, "model", "only a fine-tuned model has an adapter"),
        ({"model": TUNED, "folder": "relative"}, 400, "folder", "it must be a whole path"),
        ({"model": "no/such", "folder": "{new}"}, 404, "model", "There is no model"),
        ({"model": TUNED, "folder": "{old}"}, 400, "folder", "it exists, and nothing is written over"),
        ({"model": TUNED, "folder": "{new}/below"}, 400, "folder", "must be a folder that can be written to"),
        ({"model": TUNED, "folder": "/"}, 400, "folder", "it exists"),
        ({"model": TUNED}, 400, "folder", "folder"),
        ({"model": TUNED, "folder": "{new}\0"}, 400, "folder", "it must be a path"),
        ({"model": TUNED, "folder": "~nobody-of-this-name/x"}, 400, "folder", "no such person"),
    ],
)
def test_what_cannot_be_saved_is_refused_at_once(
    house: Server, tmp_path: Path, body: dict[str, str], status: int, param: str, told: str
) -> None:
    (tmp_path / "old").mkdir()
    places = {"new": str(tmp_path / "new"), "old": str(tmp_path / "old")}
    reply = house.post(MERGES, {name: value.format(**places) for name, value in body.items()})
    assert reply.status == status, reply.body
    assert reply.error()["param"] == param
    assert told in reply.error()["message"]
    assert works(house) == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"folder": "relative"}, "folder", "it must be a whole path"),
        ({"folder": "{none}"}, "folder", "only a merge that was saved here"),
        ({"repo": "noslash"}, "repo", "'noslash' is not allowed: it must be owner/name"),
        ({"repo": "me/.."}, "repo", "'me/..' is not allowed"),
        ({"token": "hf_two words"}, "token", "it must be one word"),
    ],
)
def test_what_cannot_be_pushed_is_refused_at_once(
    house: Server, tmp_path: Path, body: dict[str, str], param: str, told: str
) -> None:
    sound = {"folder": str(merge_in(tmp_path / "merged")), "repo": "me/merged", "token": "hf_secret"}
    asked = sound | {name: value.format(none=tmp_path) for name, value in body.items()}
    reply = house.post(f"{MERGES}/push", asked)
    assert reply.status == 400, reply.body
    assert reply.error()["param"] == param
    assert told in reply.error()["message"]
    assert "two words" not in reply.error()["message"]
    assert works(house) == []


def merge_in(place: Path) -> Path:
    """A folder that says of itself that it holds a saved merge."""
    place.mkdir()
    (place / "README.md").write_text(hub.written({"tags": [hub.MARK]}, "# A merge\n"))
    return place


def test_a_push_goes_with_the_persons_token_which_is_told_to_nobody(
    house: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[Any, ...]] = []
    free = threading.Event()

    def push(folder: Path, repo: str, token: str, watch: LoadWatch, **options: Any) -> str:
        while not free.wait(0.01):
            watch.report(Progress("uploading", 0.5, ""))
        pushed.append((folder, repo, token, options["private"]))
        if repo == "me/full":
            raise SaveFailed("me/full exists already")
        return f"https://hub.example/{repo}"

    monkeypatch.setattr(hub, "push", push)
    body = {"folder": str(merge_in(tmp_path / "merged")), "repo": "me/merged", "token": "hf_secret"}
    assert house.post(f"{MERGES}/push", body).status == 200
    wait_for(lambda: works(house)[0]["progress"]["fraction"] == 0.5)
    assert house.post(f"{MERGES}/push", body).error()["param"] == "target"
    free.set()
    wait_for(lambda: works(house)[0]["state"] == "done")
    assert works(house)[0]["address"] == "https://hub.example/me/merged"
    assert house.post(f"{MERGES}/push", {**body, "repo": "me/full", "private": False}).status == 200
    wait_for(lambda: works(house)[0]["state"] != "running")
    assert (works(house)[0]["state"], works(house)[0]["error"]) == ("failed", "me/full exists already")
    assert [one[1:] for one in pushed] == [("me/merged", "hf_secret", True), ("me/full", "hf_secret", False)]
    assert "hf_secret" not in json.dumps(works(house))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert house.post(f"{MERGES}/push", {**body, "folder": "~/merged", "repo": "me/home"}).status == 200
    wait_for(lambda: works(house)[0]["state"] == "done")
    assert pushed[-1][0] == tmp_path / "merged"
    for wrong in ("merged", "~nobody-of-this-name/x", "\0"):
        assert house.post(f"{MERGES}/push", {**body, "folder": wrong}).error()["param"] == "folder"
    free.clear()
    house.post(f"{MERGES}/push", {**body, "repo": "me/other"})
    work_id = works(house)[0]["id"]
    assert house.post(f"{MERGES}/cancel", {"id": work_id}).status == 200
    wait_for(lambda: works(house)[0]["state"] == "cancelled")
    assert house.post(f"{MERGES}/cancel", {"id": "nothing"}).error()["param"] == "id"
    free.set()


def test_only_whoever_sits_there_writes_to_the_disk(folder: Path, tmp_path: Path) -> None:
    with serving(folder / "models.yaml", tmp_path / "home", "--open", SPACE_ID="me/space") as house:
        assert works(house) == []
        assert house.post(MERGES, {"model": TUNED, "folder": str(tmp_path / "x")}).status == 403
        body = {"folder": str(tmp_path), "repo": "me/merged", "token": "hf_secret"}
        assert house.post(f"{MERGES}/push", body).status == 403


def test_a_merge_is_saved_in_the_page(visit: Visit, house: Server, tmp_path: Path) -> None:
    models = Models(visit(house.url + "/"), house)
    expect(models.row(LLAMA).get_by_role("button", name="Save merged")).to_have_count(0)
    models.do(TUNED, "Save merged")
    panel = models.tab.locator(".pg-merges .pg-add-panel")
    models.person.expects("400")
    panel.get_by_label("Folder").fill("merged")
    panel.get_by_role("button", name="Save").click()
    expect(panel.get_by_role("alert")).to_contain_text("it must be a whole path")
    panel.get_by_label("Folder").fill(str(tmp_path / "merged"))
    panel.get_by_role("button", name="Save").click()
    work = models.tab.locator(".pg-works li").first
    expect(work).to_contain_text(f"Saved in {tmp_path / 'merged'}")
    expect(work).to_contain_text("logits differ by at most")
    work.get_by_role("button", name="Push to the Hub").click()
    expect(panel.get_by_label("Token, kept nowhere")).to_have_attribute("type", "password")
    panel.get_by_label("Repo").fill("noslash")
    panel.get_by_label("Token, kept nowhere").fill("hf_secret")
    panel.get_by_role("button", name="Push", exact=True).click()
    expect(panel.get_by_role("alert")).to_contain_text("it must be owner/name")
    expect(panel.get_by_label("Repo")).to_have_value("noslash")
    expect(panel.get_by_label("Token, kept nowhere")).to_have_value("hf_secret")
    boxes = panel.bounding_box(), models.tab.locator(".pg-works").bounding_box()
    assert boxes[0]
    assert boxes[1]
    assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"] + 8
    models.page.goto("about:blank")


def test_a_merge_that_fails_names_its_model_and_is_put_away(
    visit: Visit, house: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SaveFailed("its disk has 0.00 GB free")

    monkeypatch.setattr(saving, "save", full)
    models = Models(visit(house.url + "/"), house)
    models.do(TUNED, "Save merged")
    panel = models.tab.locator(".pg-merges .pg-add-panel")
    place = str(tmp_path / "merged")
    panel.get_by_label("Folder").fill(place)
    panel.get_by_role("button", name="Save").click()
    work = models.tab.locator(".pg-works li")
    expect(work).to_contain_text(f"{TUNED} was not saved in {place}: its disk has 0.00 GB free")
    work.get_by_role("button", name="Try again").click()
    expect(panel.get_by_label("Folder")).to_have_value(place)
    work.get_by_role("button", name="Dismiss").click()
    expect(work).to_have_count(0)
    monkeypatch.undo()
    panel.get_by_role("button", name="Save").click()
    expect(work).to_have_count(1)
    expect(work).to_contain_text("Saved in")
    models.page.goto("about:blank")
