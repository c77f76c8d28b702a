"""The API's own document is true: its routes, its examples, its errors, its rules; and /docs shows it by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator
from playwright.sync_api import Browser, Page, expect

from playground.api.errors import MAX_BODY_BYTES
from tests.browser import CHROMIUM, FLAGS
from tests.server import DEMO, JSON, LLAMA, Reply, Server, serving
from tests.test_api_bodies import (
    ANYTHING,
    CHAT,
    CHECK,
    COMPARE,
    EDGES,
    EVERY,
    FIDELITY,
    FIELDS,
    LOOKS,
    PATHS,
    PLAYGROUND,
    PROOF,
    SCORE,
    TEXT,
    TEXT_AGAIN,
    TOKENIZE,
    a_number,
    body,
    whole,
)

Document = dict[str, Any]
INVENTORY, MODELS, MODEL = "/api/v1/playground/models", "/v1/models", "/v1/models/{model_id}"
ADAPTER = "/api/v1/playground/models/{model_id}/adapter"
ROUTES = {("post", path) for path in (*PATHS, *LOOKS)} | {("get", ADAPTER)}
ROUTES |= {("get", path) for path in (INVENTORY, MODELS, MODEL, "/healthz", "/metrics")}
EVALUATIONS, RUNS = "/api/v1/playground/evaluations", "/api/v1/playground/runs"
ONE, RUN = f"{EVALUATIONS}/{{evaluation_id}}", f"{RUNS}/{{run_id}}"
LISTED, FOUND = {"401", "403", "500"}, {"400", "401", "403", "404", "500"}
KEPT = {
    ("get", EVALUATIONS): LISTED,
    ("post", EVALUATIONS): {"400", "401", "403", "404", "413", "429", "500", "501", "503"},
    ("post", f"{EVALUATIONS}/check"): LISTED | {"400", "413"},
    ("get", ONE): FOUND,
    ("delete", ONE): FOUND,
    ("post", f"{ONE}/pause"): FOUND,
    ("post", f"{ONE}/stop"): FOUND,
    ("post", f"{ONE}/resume"): FOUND | {"429"},
    ("get", f"{ONE}/cases"): FOUND,
    ("get", f"{ONE}/totals"): FOUND,
    ("get", f"{ONE}/report"): FOUND,
    ("get", f"{ONE}/cases/{{number}}/blind"): FOUND,
    ("post", f"{ONE}/cases/{{number}}/vote"): FOUND | {"413"},
    ("get", "/api/v1/playground/history"): LISTED,
    ("put", "/api/v1/playground/history"): LISTED | {"400", "413"},
    ("get", RUNS): LISTED | {"400"},
    ("delete", RUNS): LISTED,
    ("get", RUN): FOUND,
    ("delete", RUN): FOUND,
    ("post", f"{RUN}/again"): {"400", "401", "403", "404", "413", "429", "500", "501", "503"},
    ("get", "/api/v1/playground/votes"): LISTED,
    ("get", "/api/v1/playground/export/{what}"): LISTED | {"400"},
}
"""The routes that are no question to a model, and their errors."""
LIBRARY = "/api/v1/playground/library"
MANAGED = FOUND | {"413"}
KEPT |= {
    ("get", LIBRARY): LISTED,
    ("post", f"{LIBRARY}/load"): MANAGED | {"501", "503"},
    ("post", f"{LIBRARY}/cancel"): MANAGED,
    ("post", f"{LIBRARY}/unload"): MANAGED,
    ("post", f"{LIBRARY}/pin"): MANAGED,
    ("post", f"{LIBRARY}/adapters"): MANAGED | {"503"},
    ("delete", f"{LIBRARY}/adapters"): MANAGED | {"503"},
    ("post", f"{LIBRARY}/archives"): MANAGED | {"503"},
    ("post", f"{LIBRARY}/unwatch"): MANAGED | {"503"},
    ("get", f"{LIBRARY}/hub"): MANAGED | {"503"},
    ("get", f"{LIBRARY}/merges"): LISTED,
    ("post", f"{LIBRARY}/merges"): MANAGED | {"501", "503"},
    ("post", f"{LIBRARY}/merges/push"): LISTED | {"400", "413"},
    ("post", f"{LIBRARY}/merges/cancel"): LISTED | {"400", "413"},
}
ROUTES |= KEPT.keys()
CODES = {
    "400": "validation_error",
    "401": "invalid_api_key",
    "403": "forbidden",
    "404": "model_not_found",
    "413": "payload_too_large",
    "429": "overloaded",
    "500": "internal_error",
    "501": "playground_unavailable",
    "503": "model_load_failed",
}


@pytest.fixture(scope="module")
def document(server: Server) -> Document:
    return server.get("/openapi.json").json()


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def errors_of(document: Document, schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value by one of the document's schemas."""
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]


def json_of(operation: dict[str, Any], status: str) -> dict[str, Any]:
    return operation["responses"][status]["content"]["application/json"]


def asked_of(document: Document, path: str) -> dict[str, Any]:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]


def referred(document: Document, schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The schemas that one refers to, and those that these refer to, by name."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [schema]
    while waiting:
        for name in re.findall(r"#/components/schemas/(\w+)", json.dumps(waiting.pop())):
            if name not in found:
                found[name] = document["components"]["schemas"][name]
                waiting.append(found[name])
    return found


# Routes and what is said of them.


def test_every_route_is_there_and_none_of_the_page(document: Document):
    assert {(method, path) for method, path, _ in operations(document)} == ROUTES
    assert "gradio" not in json.dumps(document).lower()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(operation["description"] and operation["tags"] for _, _, operation in operations(document))


def test_the_two_routes_of_text_completions_are_one(document: Document):
    one, other = ({**document["paths"][path]["post"], "operationId": ""} for path in (TEXT, TEXT_AGAIN))
    assert one == other


def test_every_error_is_documented_with_the_one_body_and_an_example(document: Document):
    for method, path, operation in operations(document):
        documented = {status for status in operation["responses"] if status != "200"}
        if (method, path) in KEPT:
            expected = KEPT[method, path]
        else:
            expected = set(CODES) if method == "post" or path == ADAPTER else LISTED
            expected = set() if path == "/healthz" else expected | ({"404"} if path == MODEL else set())
        assert documented == expected
        for status in documented:
            assert json_of(operation, status)["schema"] == {"$ref": "#/components/schemas/ErrorReply"}
            example = json_of(operation, status)["example"]
            of_a_record = status == "404" and "_id}" in path and path not in (MODEL, ADAPTER) and "again" not in path
            assert example["error"]["code"] == ("not_found" if of_a_record else CODES[status])
            assert errors_of(document, json_of(operation, status)["schema"], example) == []
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_errors_are_what_the_examples_say(document: Document, server: Server):
    operation = document["paths"][CHAT]["post"]
    real = {
        "400": server.post(CHAT, body(CHAT, temperature=3)),
        "404": server.post(CHAT, body(CHAT, model="me/nothing")),
        "413": server.post(CHAT, b" " * (MAX_BODY_BYTES + 1)),
    }
    for status, reply in real.items():
        assert (str(reply.status), reply.json()) == (status, json_of(operation, status)["example"])


def test_real_errors_have_the_documented_body(document: Document, server: Server):
    schema = json_of(document["paths"][CHAT]["post"], "400")["schema"]
    replies: dict[int, list[Reply]] = {
        400: [server.post(path, b"{") for path in EVERY] + [server.get(ADAPTER.replace("{model_id}", LLAMA))],
        404: [
            server.get(f"{MODELS}/me/nothing"),
            server.get(f"{MODELS}/"),
            server.get("/v1/nothing"),
            server.post("/v1/embeddings", {}),
            server.get("/docs/nothing"),
            *(server.post(path, body(path, model="me/nothing")) for path in EVERY if path != COMPARE),
            server.post(COMPARE, body(COMPARE, models=["me/nothing", LLAMA])),
            server.get(ADAPTER.replace("{model_id}", "me/nothing")),
        ],
        405: [server.get(CHAT), server.post(MODELS, {}), server.send("DELETE", INVENTORY, None, {})],
        413: [server.post(path, b" " * (MAX_BODY_BYTES + 1)) for path in EVERY],
    }
    for status, those in replies.items():
        for reply in those:
            assert reply.status == status
            assert reply.headers["content-type"] == "application/json"
            assert errors_of(document, schema, reply.json()) == []
    assert replies[405][0].headers["allow"] == "POST"


# Examples.


@pytest.mark.parametrize("path", PATHS)
def test_what_is_asked_in_examples_is_answered_as_documented(document: Document, server: Server, path: str):
    asked, operation = asked_of(document, path), document["paths"][path]["post"]
    streams = 0
    for example in asked["examples"].values():
        assert example["summary"]
        assert errors_of(document, asked["schema"], example["value"]) == []
        reply = server.post(path, example["value"])
        assert reply.status == 200, reply.body
        if example["value"].get("stream"):
            streams += 1
            assert reply.headers["content-type"].startswith("text/event-stream")
            assert reply.body.endswith(b"data: [DONE]\n\n")
        else:
            assert reply.headers["content-type"] == "application/json"
            assert errors_of(document, json_of(operation, "200")["schema"], reply.json()) == []
    assert 0 < streams < len(asked["examples"])


def keys(value: Any) -> Any:
    """The names that an answer has, at every depth; of a list its first entry's."""
    if isinstance(value, dict):
        return {name: keys(item) for name, item in value.items()}
    return [keys(item) for item in value[:1]] if isinstance(value, list) else None


@pytest.mark.parametrize("path", PATHS)
def test_answers_in_examples_are_like_real_ones(document: Document, server: Server, path: str):
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    example = content["application/json"]["example"]
    assert errors_of(document, content["application/json"]["schema"], example) == []
    assert keys(server.post(path, body(path, model=DEMO)).json()) == keys(example)
    shown, real = (
        [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event not in ("", "data: [DONE]")]
        for text in (
            content["text/event-stream"]["example"],
            server.post(path, body(path, model=DEMO, stream=True, temperature=0)).body.decode(),
        )
    )
    assert (keys(shown[0]), keys(shown[-1])) == (keys(real[0]), keys(real[-1]))


@pytest.mark.parametrize("path", LOOKS)
def test_what_is_asked_in_examples_of_looks_is_answered_as_documented(document: Document, server: Server, path: str):
    asked, operation = asked_of(document, path), document["paths"][path]["post"]
    documented = json_of(operation, "200")
    assert errors_of(document, documented["schema"], documented["example"]) == []
    for example in asked["examples"].values():
        assert errors_of(document, asked["schema"], example["value"]) == []
        reply = server.post(path, example["value"])
        assert reply.status == 200, reply.body
        assert errors_of(document, documented["schema"], reply.json()) == []


@pytest.mark.parametrize("path", LOOKS)
def test_what_looks_tell_in_examples_is_like_what_they_tell(document: Document, server: Server, path: str):
    example = json_of(document["paths"][path]["post"], "200")["example"]
    named = {COMPARE: {"models": [DEMO, JSON], "temperature": 0}, FIDELITY: {"model": JSON}}.get(path, {"model": DEMO})
    proof = {"proof": {**PROOF, "base": DEMO}} if path == CHECK else {}
    assert keys(server.post(path, body(path, **named, **proof)).json()) == keys(example)


def test_the_adapter_is_as_documented(document: Document, server: Server):
    documented = json_of(document["paths"][ADAPTER]["get"], "200")
    reply = server.get("/api/v1/playground/models/playground/shop-json/adapter")
    assert reply.status == 200
    for value in (documented["example"], reply.json()):
        assert errors_of(document, documented["schema"], value) == []
    assert keys(documented["example"]) == keys(reply.json())


def test_what_is_read_is_as_documented(document: Document, server: Server):
    for path, address in (
        (INVENTORY, INVENTORY),
        (MODELS, MODELS),
        (MODEL, f"{MODELS}/{DEMO}"),
        ("/healthz", "/healthz"),
    ):
        reply, documented = server.get(address), json_of(document["paths"][path]["get"], "200")
        assert reply.status == 200
        assert errors_of(document, documented["schema"], reply.json()) == []
        assert errors_of(document, documented["schema"], documented.get("example", reply.json())) == []
    [media_type] = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert server.get("/metrics").headers["content-type"].startswith(media_type)


# Rules.

BODIES = {
    PLAYGROUND: {"CompletionBody", "TurnBody"},
    TEXT: {"TextBody", "StreamOptions"},
    TEXT_AGAIN: {"TextBody", "StreamOptions"},
    CHAT: {"ChatBody", "ChatMessage", "TextPart", "StreamOptions", "PlainText"},
    TOKENIZE: {"AskedBody", "TurnBody"},
    SCORE: {"ScoreBody", "TurnBody"},
    COMPARE: {"CompareBody", "TurnBody"},
    FIDELITY: {"AskedBody", "TurnBody"},
    CHECK: {"CheckBody", "TurnBody", "ProofBody", "FirstToken"},
}


@pytest.mark.parametrize("path", EVERY)
def test_bodies_are_closed_and_null_is_for_what_may_be_left_out(document: Document, path: str):
    bodies = referred(document, asked_of(document, path)["schema"])
    assert bodies.keys() == BODIES[path]
    for one in bodies.values():
        assert one["additionalProperties"] is False
        for name, field in one["properties"].items():
            assert (errors_of(document, field, None) == []) == (name not in one.get("required", ())), name


@pytest.mark.parametrize("path", EVERY)
def test_the_document_refuses_and_allows_what_the_server_does(document: Document, path: str):
    """As far as JSON Schema can say it: to it 1.0 is a whole number, and it knows no model's context."""
    schema = asked_of(document, path)["schema"]
    for name, (belongs, others) in FIELDS[path].items():
        numbers = others if belongs in (a_number, whole) else ()
        finite = [value for value in numbers if abs(value) < float("inf")]
        for value in (*(value for value in ANYTHING if not belongs(value) and value != 1.0), *finite):
            assert errors_of(document, schema, body(path, **{name: value})), (name, value)
    for changes in EDGES[path]:
        assert errors_of(document, schema, body(path, **changes)) == []


# The page that shows it.


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    """A page of a browser to which every name is this machine: where a page has a name other than this machine's own,
    it may do more, such as ask another host for a badge."""
    flags = (*FLAGS, "--host-resolver-rules=MAP * 127.0.0.1")
    elsewhere = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    yield elsewhere.new_page()
    elsewhere.close()


@pytest.fixture
def address(models_file: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server that is reached by a name."""
    with serving(models_file, tmp_path, PLAYGROUND_ALLOWED_HOSTS="playground.test") as server:
        yield f"http://playground.test:{urlsplit(server.url).port}"


def test_docs_open_in_a_browser_by_themselves(address: str, visitor: Page):
    complaints: list[str] = []
    visitor.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    visitor.on("pageerror", lambda error: complaints.append(str(error)))
    visitor.on("request", lambda sent: None if sent.url.startswith((address, "data:")) else complaints.append(sent.url))
    visitor.on("requestfailed", lambda sent: complaints.append(sent.url))
    visitor.goto(f"{address}/docs")
    expect(visitor.locator(".opblock")).to_have_count(len(ROUTES))
    for method, path in ROUTES:
        expect(visitor.locator(f'.opblock-{method} [data-path="{path}"]')).to_be_visible()
    visitor.locator(f'[data-path="{TEXT}"]').click()
    visitor.get_by_role("button", name="Try it out").click()
    visitor.locator(".opblock-body textarea").first.fill(json.dumps({"model": LLAMA, "prompt": "hi", "max_tokens": 1}))
    visitor.get_by_role("button", name="Execute").click()
    expect(visitor.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert complaints == []
