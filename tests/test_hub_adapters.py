"""A Hub user's adapters, and one added by its repo's id: the real client, over a small server on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import huggingface_hub.constants as constants
import pytest

from playground.catalog import LiveCatalog
from playground.errors import Forbidden, InvalidRequest, ModelLoadFailed
from playground.hub import adapters
from playground.library import Adding
from playground.types import ANYBODY, Caller
from tests.drive import PATIENCE

LOCAL, ANN = Caller(everything=True), Caller(account="ann", manager=True)
CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}


class ListingHub(ThreadingHTTPServer):
    """Lists two adapters, and serves the configuration of one; says nothing while `answers` is unset."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.config, self.asked = 200, CONFIG, []
        self.answers = Event()
        self.answers.set()


class Handler(BaseHTTPRequestHandler):
    server: ListingHub  # type: ignore[assignment]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        address = urlsplit(self.path)
        self.server.asked.append((address.path, parse_qs(address.query)))
        self.server.answers.wait(PATIENCE)
        found: Any = self.server.config
        if address.path == "/api/models":
            found = [{"id": f"ann/{name}", "downloads": 5, "lastModified": "2026-11-02T10:00:00.000Z"} for name in "xy"]
        status = self.server.status if "resolve" not in address.path or "ann/x" in address.path else 404
        body = json.dumps(found if status == 200 else {"error": "no"}).encode()
        commit = hashlib.sha1(body).hexdigest()
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "ETag": f'"{commit}"', "X-Repo-Commit": commit}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ListingHub]:
    made = ListingHub()
    Thread(target=made.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{made.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield made
    made.answers.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def adding(tmp_path: Path) -> Adding:
    (tmp_path / "models.yaml").write_text("models:\n- id: org/base\n")
    return Adding(LiveCatalog(tmp_path / "models.yaml", tmp_path / "home" / "models.yaml"), tmp_path / "home")


def test_a_users_adapters_of_a_base_are_listed(server: ListingHub, adding: Adding) -> None:
    found = adding.on_hub("ann", "org/base", ANN)
    assert [(one.id, one.num_downloads) for one in found] == [("ann/x", 5), ("ann/y", 5)]
    assert str(found[0].last_modified).startswith("2026-11-02T10:00")
    [(path, query)] = server.asked
    assert path == "/api/models"
    assert (query["author"], query["filter"]) == (["ann"], ["base_model:adapter:org/base"])
    with pytest.raises(Forbidden):
        adding.on_hub("ann", "org/base", ANYBODY)


def test_a_hub_that_refuses_is_told(server: ListingHub, adding: Adding) -> None:
    server.status = 403
    with pytest.raises(ModelLoadFailed, match="ann"):
        adding.on_hub("ann", "org/base", LOCAL)


@pytest.mark.parametrize(
    "ask", [lambda adding: adding.on_hub("ann", "org/base", LOCAL), lambda adding: adding.add("ann/x", LOCAL)]
)
def test_a_hub_that_does_not_answer_is_asked_once(
    server: ListingHub,
    adding: Adding,
    ask: Callable[[Adding], object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A second try would keep whoever looks at the list waiting for it."""
    assert adapters.ASK_TIMEOUT_S < 5
    monkeypatch.setattr(adapters, "ASK_TIMEOUT_S", 0.2)
    server.answers.clear()
    with pytest.raises(ModelLoadFailed, match="took too long to answer"):
        ask(adding)
    assert len(server.asked) == 1

    server.answers.set()
    server.status = 503
    with pytest.raises(ModelLoadFailed, match="503"):
        ask(adding)
    assert len(server.asked) == 2

    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nobody + "/{repo_id}/resolve/{revision}/{filename}")
    with pytest.raises(ModelLoadFailed, match="cannot be reached"):
        ask(adding)
    assert "Retrying" not in caplog.text


def test_an_author_whom_the_hub_does_not_know_is_told(server: ListingHub, adding: Adding) -> None:
    server.status = 404
    with pytest.raises(InvalidRequest, match="author: 'me' is not allowed: there is no user or organization") as raised:
        adding.on_hub("me", "org/base", LOCAL)
    assert raised.value.param == "author"


def test_a_repo_is_added_by_what_its_configuration_says(server: ListingHub, adding: Adding) -> None:
    [card] = adding.add("ann/x", ANN, revision="v1")
    assert (card.id, card.base_model, card.adapter, card.owner) == ("ann/x", "org/base", "ann/x", "ann")
    assert card.adapter_revision == "v1"
    assert [card.id for card in adding.add("ann/x", Caller(account="bob", manager=True))] == ["bob/ann/x"]
    assert [card.id for card in adding.add("ann/x", LOCAL, id="mine")] == ["mine"]
    with pytest.raises(InvalidRequest, match="id: 'ann/x' is not allowed"):
        adding.add("ann/x", ANN)
    assert not any("safetensors" in path for path, _ in server.asked)


def test_a_repo_that_is_no_adapter_of_a_base_here_is_refused(server: ListingHub, adding: Adding) -> None:
    server.config = {**CONFIG, "base_model_name_or_path": "org/other"}
    with pytest.raises(InvalidRequest, match="'org/other' is not allowed: it is not among the models here"):
        adding.add("ann/x", LOCAL)
    server.config = {"peft_type": "IA3"}
    with pytest.raises(InvalidRequest, match="only LORA can be run"):
        adding.add("ann/x", LOCAL, revision="v2")
    with pytest.raises(ModelLoadFailed, match="ann/nothing"):
        adding.add("ann/nothing", LOCAL)
