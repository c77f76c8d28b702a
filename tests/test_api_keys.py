"""Keys on a running server: who may enter where, who sees what, and that a key is nowhere in clear."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import openai
import pytest
from playwright.sync_api import Browser, expect

from playground.accounts import Accounts
from playground.store import Store
from tests.server import DEMO, LLAMA, OWNED, OWNER, TUNED, Reply, Server, serving

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": LLAMA, "messages": MESSAGES, "max_tokens": 2}
TEXT = {"model": LLAMA, "prompt": "hi", "max_tokens": 2}
ASKED = {"model": LLAMA, "messages": MESSAGES}
PROOF = {"base": LLAMA, "tokenizer_hash": "x", "strength": 1.0, "first": [{"id": 1, "logprob": -1.0}]}
PROTECTED: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/api/v1/playground/models", None),
    ("POST", "/api/v1/playground/completions", CHAT),
    ("POST", "/text/completions", TEXT),
    ("POST", "/v1/completions", TEXT),
    ("GET", "/v1/models", None),
    ("GET", f"/v1/models/{LLAMA}", None),
    ("POST", "/v1/chat/completions", CHAT),
    ("POST", "/api/v1/playground/tokenize", ASKED),
    ("POST", "/api/v1/playground/score", {**ASKED, "completion_ids": [7]}),
    ("POST", "/api/v1/playground/compare", {"models": [LLAMA, TUNED], "messages": MESSAGES, "max_tokens": 2}),
    ("POST", "/api/v1/playground/fidelity", {**ASKED, "model": TUNED}),
    ("POST", "/api/v1/playground/check", {**ASKED, "proof": PROOF}),
    ("GET", f"/api/v1/playground/models/{TUNED}/adapter", None),
    ("GET", "/metrics", None),
]
# The page's own: what it is made of, and where its events go.
PAGE: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/", None),
    ("GET", "/config", None),
    ("GET", "/gradio_api/info", None),
    ("POST", "/gradio_api/queue/join", {"data": [], "fn_index": 0, "session_hash": "x"}),
    ("POST", "/gradio_api/run/predict", {"data": [], "fn_index": 0}),
    ("GET", "/gradio_api/queue/data?session_hash=x", None),
    ("POST", "/gradio_api/cancel", {"session_hash": "x", "fn_index": 0, "event_id": "x"}),
    ("POST", "/gradio_api/upload", {}),
    ("GET", "/gradio_api/file=/etc/hostname", None),
    ("GET", "/theme.css", None),
]


@dataclass(frozen=True, slots=True)
class House:
    """A server with keys: Ann belongs to two organizations, Bob to none."""

    server: Server
    accounts: Accounts
    ann: str
    bob: str

    def ask(self, route: tuple[str, str, Any], **headers: str) -> Reply:
        method, path, body = route
        data = None if body is None else json.dumps(body).encode()
        return self.server.send(method, path, data, {"Content-Type": "application/json", **headers})


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def house(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    accounts = Accounts(Store(home))
    ann, bob = accounts.create("ann", ["beta", OWNER]), accounts.create("bob", [])
    with serving(models_file, home) as server:
        yield House(server, accounts, ann, bob)


def models_of(house: House, **headers: str) -> set[str]:
    data = house.ask(PROTECTED[0], **headers).json()["data"]
    return {model["id"] for models in data.values() for model in models}


@pytest.mark.parametrize("route", PROTECTED + PAGE, ids=lambda route: f"{route[0]} {route[1]}")
def test_nobody_enters_without_a_good_key(house: House, route: tuple[str, str, Any]) -> None:
    gone = house.accounts.create("gone", [])
    house.accounts.revoke(gone.split("_")[1])
    good_id = house.ann.split("_")[1]
    wrong = [
        {},
        bearer(gone),
        bearer("tt_wrong"),
        bearer(f"tt_{good_id}_{'A' * 43}"),
        bearer(house.ann[:-1]),
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {house.ann}"},
        {"Authorization": "Bearer \u00e9"},
        {"Cookie": f"playground={house.ann}"},
    ]
    bodies = set()
    for headers in wrong:
        refused = house.ask(route, **headers)
        assert refused.status == 401, headers
        assert refused.error()["code"] == "invalid_api_key"
        assert refused.headers["www-authenticate"] == "Bearer"
        bodies.add(refused.body)
    assert len(bodies) == 1, "missing, wrong and revoked must look alike"


@pytest.mark.parametrize("route", PROTECTED, ids=lambda route: f"{route[0]} {route[1]}")
def test_a_good_key_opens_sent_either_way(house: House, route: tuple[str, str, Any]) -> None:
    for headers in (bearer(house.ann), {"Authorization": house.ann}, {"Authorization": f"bearer  {house.bob} "}):
        assert house.ask(route, **headers).status == 200


@pytest.mark.parametrize("route", PROTECTED, ids=lambda route: f"{route[0]} {route[1]}")
def test_another_organization_is_forbidden(house: House, route: tuple[str, str, Any]) -> None:
    refused = house.ask(route, **bearer(house.bob), X_Org_Id=OWNER)
    assert refused.status == 403
    assert (refused.error()["code"], refused.error()["param"]) == ("forbidden", "X-Org-Id")
    assert OWNER in refused.error()["message"]
    # One that is nobody's is refused in the same words.
    unknown = house.ask(route, **bearer(house.bob), X_Org_Id="acmf")
    assert unknown.body.replace(b"acmf", OWNER.encode()) == refused.body


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/docs-assets/swagger-ui.css", "/sign-in"])
def test_what_says_nothing_needs_no_key(house: House, path: str) -> None:
    assert house.server.get(path).status == 200


def test_an_owned_fine_tune_is_for_its_owner_alone(house: House) -> None:
    everybody = {LLAMA, TUNED, DEMO}
    assert OWNED not in models_of(house, **bearer(house.bob))
    assert OWNED not in models_of(house, **bearer(house.ann)), "the default organization is the first"
    assert OWNED not in models_of(house, **bearer(house.ann), X_Org_Id="beta")
    assert OWNED in models_of(house, **bearer(house.ann), X_Org_Id=OWNER)
    assert everybody <= models_of(house, **bearer(house.bob))
    asked = {**CHAT, "model": OWNED}
    mine = house.ask(("POST", "/v1/chat/completions", asked), **bearer(house.ann), X_Org_Id=OWNER)
    assert mine.status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *((m, p, {**b}) for m, p, b in PROTECTED if b),
        ("GET", "/v1/models/{}", None),
        ("GET", "/api/v1/playground/models/{}/adapter", None),
    ],
)
def test_another_account_s_fine_tune_looks_like_none(house: House, method: str, path: str, body: Any) -> None:
    def about(model: str) -> Reply:
        named = {"models": [LLAMA, model]} if "models" in (body or {}) else {"model": model}
        return house.ask((method, path.format(model), body and {**body, **named}), **bearer(house.bob))

    nothing = OWNED.replace("owned", "ownee")
    theirs, none = about(OWNED), about(nothing)
    assert theirs.status == none.status == 404
    assert theirs.error()["code"] == "model_not_found"
    assert theirs.body.replace(OWNED.encode(), b"?") == none.body.replace(nothing.encode(), b"?")
    assert OWNED.encode() not in about("tiny/owne").body, "no hint may name it either"


def test_metrics_name_no_model_and_no_account(house: House) -> None:
    house.ask(("POST", "/v1/completions", {**TEXT, "model": OWNED}), **bearer(house.ann), X_Org_Id=OWNER)
    text = house.ask(PROTECTED[-1], **bearer(house.bob)).body.decode()
    assert "playground_answers_total" in text
    assert not re.search(r"tiny|acme|ann\b|tt_", text)


def test_a_revoked_key_is_of_no_more_use_at_once(house: House) -> None:
    key = house.accounts.create("leaver", [])
    cookie = signed_in(house, key).headers["set-cookie"].split(";")[0]
    assert house.ask(PROTECTED[0], **bearer(key)).status == house.ask(PROTECTED[0], Cookie=cookie).status == 200
    house.accounts.revoke(key.split("_")[1])
    assert house.ask(PROTECTED[0], **bearer(key)).status == house.ask(PROTECTED[0], Cookie=cookie).status == 401


# The page's sign-in


def signed_in(house: House, key: str) -> Reply:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return house.server.send("POST", "/sign-in", urlencode({"key": key}).encode(), form)


def test_a_browser_is_sent_to_the_form_and_enters_with_a_key(house: House) -> None:
    turned_away = house.server.get("/", Accept="text/html,*/*")
    assert (turned_away.status, turned_away.headers["location"]) == (303, "/sign-in")
    entered = signed_in(house, f" {house.ann}\n")
    assert (entered.status, entered.headers["location"]) == (303, "./")
    said = entered.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "samesite=lax" in said.lower()
    assert house.ann not in said
    cookie = said.split(";")[0]
    page = house.server.get("/", Cookie=cookie)
    assert page.status == 200
    assert b"Playground" in page.body
    assert OWNED.encode() not in page.body
    left = house.server.send("POST", "/sign-out", b"", {"Cookie": cookie})
    assert "playground-" in left.headers["set-cookie"]
    assert "Max-Age=0" in left.headers["set-cookie"]


def test_only_the_pages_own_button_signs_out(house: House) -> None:
    cookie = signed_in(house, house.ann).headers["set-cookie"].split(";")[0]
    elsewhere = {"Cookie": cookie, "Origin": "https://evil.example"}
    for refused in (
        house.server.get("/sign-out", Cookie=cookie),
        house.server.send("POST", "/sign-out", b"", elsewhere),
    ):
        assert refused.status == 403
        assert "set-cookie" not in refused.headers
    assert house.ask(PROTECTED[0], Cookie=cookie).status == 200


def test_a_database_that_fails_is_told_on_the_form(models_file: Path, tmp_path: Path) -> None:
    key = Accounts(Store(tmp_path)).create("ann", [])
    with serving(models_file, tmp_path) as server:
        for file in tmp_path.glob("*.db*"):
            file.write_bytes(b"no database")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        failed = server.send("POST", "/sign-in", urlencode({"key": key}).encode(), form)
    assert failed.status == 500
    assert b'role="alert"' in failed.body
    assert b"database" in failed.body


@pytest.mark.parametrize("key", ["", "tt_wrong", "<script>alert(1)</script>", "x" * 10_000])
def test_a_bad_key_is_told_on_the_form(house: House, key: str) -> None:
    refused = signed_in(house, key)
    assert refused.status == 401
    assert b'role="alert"' in refused.body
    assert b"<script>alert" not in refused.body
    assert "set-cookie" not in refused.headers


def test_a_cookie_that_somebody_made_or_changed_is_none(house: House) -> None:
    name, _, value = signed_in(house, house.ann).headers["set-cookie"].split(";")[0].partition("=")
    for forged in (value[:-2], value.replace(value[3], "A" if value[3] != "A" else "B", 1), "x", ""):
        assert house.ask(PROTECTED[0], Cookie=f"{name}={forged}").status == 401


def test_another_site_cannot_use_somebody_s_cookie(house: House) -> None:
    cookie = signed_in(house, house.ann).headers["set-cookie"].split(";")[0]
    ours = house.server.url
    assert house.ask(PROTECTED[1], Cookie=cookie, Origin=ours).status == 200
    for other in ("https://evil.example", "null", ours.replace("http://", "http://evil.")):
        assert house.ask(PROTECTED[1], Cookie=cookie, Origin=other).status == 401
        assert house.ask(PAGE[3], Cookie=cookie, Origin=other).status == 401


def test_another_site_cannot_sign_somebody_in(house: House) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example"}
    refused = house.server.send("POST", "/sign-in", urlencode({"key": house.ann}).encode(), form)
    assert refused.status == 403
    assert "set-cookie" not in refused.headers


def test_behind_https_the_cookie_is_for_https_alone(house: House) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "https"}
    reply = house.server.send("POST", "/sign-in", urlencode({"key": house.ann}).encode(), form)
    said = reply.headers["set-cookie"].lower()
    assert "secure" in said
    assert "samesite=none" in said


@pytest.mark.parametrize("body", [b"key=" + b"x" * 9_000_000, b"\xff\xfe", b"key=a&" * 100])
def test_a_sign_in_that_is_no_form_hurts_nobody(house: House, body: bytes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert house.server.send("POST", "/sign-in", body, form).status in (400, 401, 413)
    json_body = house.server.post("/sign-in", {"key": house.ann})
    assert json_body.status in (400, 401)


# Where a key may be


def test_the_key_is_nowhere_in_clear(
    models_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    key = Accounts(Store(home)).create("ann", [OWNER])
    secret = key.rpartition("_")[2]
    with caplog.at_level(logging.DEBUG), serving(models_file, home) as server:
        for headers in (bearer(key), {"Authorization": key}, bearer(f"{key}x")):
            server.send("POST", "/v1/completions", json.dumps(TEXT).encode(), headers)
            server.post("/v1/completions", {**TEXT, "model": key}, **headers)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        server.send("POST", "/sign-in", urlencode({"key": key}).encode(), form)
        server.get("/metrics", **bearer(key))
    out, err = capfd.readouterr()
    kept = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert b"ann" in kept
    for place in (kept.decode("latin-1"), caplog.text, out, err):
        assert secret not in place


def test_a_stock_client_is_told_with_its_own_error(house: House) -> None:
    good = openai.OpenAI(base_url=f"{house.server.url}/v1", api_key=house.ann, max_retries=0)
    assert good.models.list().data
    bad = openai.OpenAI(base_url=f"{house.server.url}/v1", api_key="tt_no", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="API key"):
        bad.models.list()
    away = openai.OpenAI(
        base_url=f"{house.server.url}/v1", api_key=house.bob, default_headers={"X-Org-Id": OWNER}, max_retries=0
    )
    with pytest.raises(openai.PermissionDeniedError):
        away.models.list()


def test_without_keys_the_person_at_the_machine_sees_everything(server: Server) -> None:
    data = server.get("/api/v1/playground/models").json()["data"]
    assert OWNED in {model["id"] for model in data["fine_tuned_models"]}
    assert server.get("/sign-in").status == 404
    # Clients send keys and organizations whether a server has them or not.
    assert server.get("/v1/models", **bearer("none"), X_Org_Id="anything").status == 200


def test_open_to_all_shows_nobody_s_fine_tunes(models_file: Path, tmp_path: Path) -> None:
    with serving(models_file, tmp_path / "home", "--host", "0.0.0.0", "--open") as server:
        port = server.url.rpartition(":")[2]
        local = Server(f"http://127.0.0.1:{port}", server.app, server.home)
        data = local.get("/api/v1/playground/models").json()["data"]
        assert OWNED not in {model["id"] for model in data["fine_tuned_models"]}
        assert local.post("/v1/completions", {**TEXT, "model": OWNED}).status == 404
        assert local.post("/v1/completions", TEXT).status == 200


def test_revoking_the_last_key_opens_nothing(models_file: Path, tmp_path: Path) -> None:
    accounts = Accounts(Store(tmp_path))
    accounts.revoke(accounts.create("ann", []).split("_")[1])
    with serving(models_file, tmp_path) as server:
        assert server.get("/v1/models").status == 401


def test_a_person_signs_in_and_out_in_a_browser(house: House, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(house.server.url)
    page.get_by_label("API key").fill(house.ann)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#compare-prompt textarea").fill("hi")
    page.locator("#compare-run").click()
    for side in ("left", "right"):
        expect(page.locator(f'#{side}-frame .pg-answer[data-state="done"]')).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(house.server.url)
    expect(page.get_by_label("API key")).to_be_visible()
    page.close()
