"""The whole program with models that another server answers for: page, API and Compare beside local ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from playground.service import CLOSED
from tests.browser import Person
from tests.drive import free_port
from tests.server import DEMO, JSON, ROOT, Server, serving

Visit = Callable[..., Person]
FAR, FAR_JSON, GONE = "far/demo", "far/json", "far/gone"
ASKED = [{"role": "user", "content": "How much is delivery?"}]


@pytest.fixture(scope="module")
def program(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program with the demo here, and the demo at another program."""
    folder = tmp_path_factory.mktemp("far")
    (folder / "models.yaml").write_text(f"""
models:
  - {{id: {DEMO}, path: {ROOT}/demo/base, context_length: 512, dtype: float32}}
  - {{id: {JSON}, base_model: {DEMO}, adapter: {ROOT}/demo/adapters/shop-json}}
  - {{id: {FAR}, name: Far demo, endpoint: "{server.url}/v1", served_model_name: {DEMO}, context_length: 512}}
  - {{id: {FAR_JSON}, base_model: {FAR}, served_model_name: {JSON}}}
  - {{id: {GONE}, endpoint: "http://127.0.0.1:{free_port()}/v1"}}
""")
    with serving(folder / "models.yaml", folder / "home") as running:
        yield running


def data(reply) -> dict:
    assert reply.status == 200, reply.body
    return reply.json()["data"]


# --- the API ---


def test_the_list_says_what_cannot_be_had(program):
    listed = data(program.get("/api/v1/playground/models"))
    closed = {model["id"]: model.get("closed") for models in listed.values() for model in models}
    assert {id for id, why in closed.items() if why} == {FAR, FAR_JSON, GONE}
    assert {why for why in closed.values() if why} == {CLOSED}


@pytest.mark.parametrize(("there", "here"), [(FAR, DEMO), (FAR_JSON, JSON)])
def test_an_answer_comes_from_there(program, there, here):
    answers = [
        data(program.post("/api/v1/playground/completions", {"model": model, "messages": ASKED, "temperature": 0}))
        for model in (there, here)
    ]
    assert answers[0]["content"] == answers[1]["content"]
    assert answers[0]["usage"] == answers[1]["usage"]
    assert (answers[0]["view"], answers[0]["exact_seed"], "proof" in answers[0]) == ("remote", False, False)


def test_several_answers_and_their_scores(program):
    body = {"messages": ASKED, "temperature": 1, "seed": 3, "n": 3, "logprobs": True, "top_logprobs": 2}
    there, here = (program.post("/v1/chat/completions", {"model": model, **body}).json() for model in (FAR, DEMO))
    assert _rounded(there["choices"]) == _rounded(here["choices"])
    assert there["usage"] == here["usage"]


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


def test_a_prompt_is_scored_through_two_servers(program):
    body = {"prompt": "Your parcel is on its way.", "max_tokens": 0, "echo": True, "logprobs": 1}
    there, here = (program.post("/v1/completions", {"model": model, **body}).json() for model in (FAR, DEMO))
    assert _rounded(there["choices"]) == _rounded(here["choices"])


def test_a_comparison_says_what_it_could_not_find(program):
    body = {"models": [DEMO, FAR], "messages": ASKED, "temperature": 0, "parting": True, "scores": True}
    found = data(program.post("/api/v1/playground/compare", body))
    assert found["answers"][0]["content"] == found["answers"][1]["content"]
    assert found["difference"]["kind"] == "same"
    assert (found["same_prompt"], found["changes_nothing"]) == (None, False)
    assert (found["parting"], found["scores"]) == (None, None)
    for problem in (found["parting_problem"], found["scores_problem"]):
        assert "does not show the prompt" in problem
    assert (found["answers"][0]["token_ids"] != [], found["answers"][1]["token_ids"]) == (True, [])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "tokenize", {"model": FAR, "messages": ASKED}),
        ("POST", "score", {"model": FAR, "messages": ASKED, "completion": "5 €"}),
        ("POST", "score", {"model": FAR, "messages": ASKED, "completion_ids": [7]}),
        ("POST", "fidelity", {"model": FAR_JSON, "messages": ASKED}),
        ("GET", f"models/{FAR_JSON}/adapter", None),
        ("POST", "completions", {"model": FAR_JSON, "messages": ASKED, "strength": 0.5}),
    ],
)
def test_what_is_inside_is_refused_with_a_sentence(program, method, path, body):
    address = f"/api/v1/playground/{path}"
    reply = program.get(address) if method == "GET" else program.post(address, body)
    assert reply.status == 400, reply.body
    message = reply.error()["message"]
    assert "does not show" in message or "another server answers" in message


def test_a_server_that_is_gone(program):
    reply = program.post("/v1/chat/completions", {"model": GONE, "messages": ASKED})
    assert reply.status == 503
    assert "cannot be reached" in reply.error()["message"]
    listed = data(program.get("/api/v1/playground/models"))["base_models"]
    (gone,) = [model for model in listed if model["id"] == GONE]
    assert gone["status"] == "failed"
    assert "cannot be reached" in gone["reason"]


def test_base_and_fine_tune_share_a_connection_that_takes_no_memory(program):
    for model in (FAR, FAR_JSON):
        data(program.post("/api/v1/playground/completions", {"model": model, "messages": ASKED, "max_tokens": 1}))
    endpoint = program.app.playground.status(FAR_JSON).card.endpoint
    (slot,) = [slot for slot in program.app.registry._slots.values() if slot.base.endpoint == endpoint]
    assert {FAR, FAR_JSON} <= slot.prepared.keys()
    assert slot.memory_bytes() == 0


# --- the page ---


def test_here_and_there_side_by_side(visit: Visit, program: Server) -> None:
    person = visit(program.url).open()
    assert "Far demo · remote" in " ".join(person.options("right"))
    person.page.keyboard.press("Escape")
    person.pick("left", "shop-demo")
    person.pick("right", "Far demo")
    person.page.locator("#temperature input[type=number]").fill("0")
    person.page.locator("#temperature input[type=number]").press("Tab")
    person.ask("How much is delivery?", "compare")
    for side in ("left", "right"):
        person.expect_state(side, "done")
    person.expect_idle("compare")

    expect(person.text("right")).to_have_text(person.text("left").inner_text())
    expect(person.metric("right", "Ran as")).to_have_text("remote")
    expect(person.metric("left", "Ran as")).to_have_text("base")
    expect(person.metric("right", "Answer")).to_have_text(person.metric("left", "Answer").inner_text())
    expect(person.metric("right", "Prompt")).to_have_text(person.metric("left", "Prompt").inner_text())

    person.page.locator("#closer .pg-fold").click()
    for title in ("Scores", "First split", "Prompts", "Proof"):
        person.page.locator("#closer").get_by_role("tab", name=title).click()
        look = person.page.locator("#looks .pg-look:visible")
        expect(look).to_have_attribute("data-status", "idle")
        expect(look).to_contain_text("Far demo: Another server answers for this model")


def test_a_strength_is_there_and_cannot_be_moved(visit: Visit, program: Server) -> None:
    person = visit(program.url).open()
    slider = person.page.locator("#right-strength input")
    person.pick("right", "json · remote")
    expect(slider).to_be_visible()
    expect(slider).to_be_disabled()
    expect(person.page.locator("#right-strength .pg-strength")).to_have_attribute("title", CLOSED)
    person.pick("right", "shop-json ·")
    expect(slider).to_be_enabled()

    person = visit(program.url)
    person.page.goto(f"{program.url}/#compare?v=1&left={DEMO}&right={FAR_JSON}&right_strength=0.5")
    slider = person.page.locator("#right-strength input")
    expect(slider).to_be_disabled()
    expect(person.page.locator("#right-strength output")).to_have_text("1.00")
