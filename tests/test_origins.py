"""What a browser sends for another site's page changes nothing here, and a name that is none of this machine's opens
nothing while no key does: REST on running servers, and the page in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from playground.accounts import Accounts
from playground.store import Store
from tests.browser import chromium
from tests.server import DEMO, LLAMA, ROOT, Server, serving
from tests.test_archive import zipped
from tests.test_library import LIBRARY, state

ELSEWHERE, NAME = "http://elsewhere.example", "play.example"
LOAD = f"{LIBRARY}/load"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(ROOT / "models.yaml", tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One in which other sites reach this machine, and a name of theirs leads here."""
    with chromium("LocalNetworkAccessChecks", flags=[f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def archive(folder: Path) -> bytes:
    files = {file.name: file.read_bytes() for file in (ROOT / "demo/adapters/shop-json").iterdir() if file.is_file()}
    return zipped(folder / "a.zip", files).read_bytes()


def ids(server: Server) -> list[str]:
    return [one["id"] for one in state(server)["models"]]


def test_another_sites_page_adds_no_model(house: Server, page: Page, tmp_path: Path) -> None:
    before = ids(house)
    page.route(f"{ELSEWHERE}/", lambda route: route.fulfill(content_type="text/html", body="<title>x</title>"))
    page.goto(f"{ELSEWHERE}/")
    with page.expect_response(lambda reply: "archives" in reply.url) as heard:
        page.evaluate(
            """([url, bytes]) => fetch(url, { method: "POST", mode: "no-cors",
                                             body: new Blob([Uint8Array.from(bytes)]) }).catch(() => null)""",
            [f"{house.url}{LIBRARY}/archives?name=planted.zip&base_model={DEMO}", list(archive(tmp_path))],
        )
    assert heard.value.status == 403
    assert ids(house) == before


def ask(page: Page, url: str) -> None:
    page.goto(url)
    box = page.locator("#compare-prompt textarea")
    box.fill("How much is delivery?")
    box.press("Enter")
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-frame .pg-answer")).to_have_attribute("data-state", "done")
    page.get_by_role("tab", name="Models").click()
    pin = page.locator("#models-tab").get_by_role("button", name=re.compile("Pin|Unpin")).first
    with page.expect_response(lambda reply: reply.url.endswith("/library/pin")) as heard:
        pin.click()
    assert heard.value.status == 200


def test_the_own_page_asks_and_changes_what_it_likes(house: Server, page: Page) -> None:
    ask(page, house.url)
    ask(page, house.url.replace("127.0.0.1", "localhost"))


def test_a_name_that_leads_here_must_be_allowed(house: Server, page: Page, tmp_path: Path) -> None:
    rebound = house.url.replace("127.0.0.1", NAME)
    reply = page.goto(rebound)
    assert reply
    assert reply.status == 403
    assert "PLAYGROUND_ALLOWED_HOSTS" in reply.text()
    with serving(ROOT / "models.yaml", tmp_path, PLAYGROUND_ALLOWED_HOSTS=f"other.example, {NAME.upper()}") as allowing:
        ask(page, allowing.url.replace("127.0.0.1", NAME))


@pytest.mark.parametrize(
    "told",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
    ],
    ids=str,
)
def test_what_another_site_sends_is_refused_by_every_route_that_changes_something(
    house: Server, told: dict[str, str]
) -> None:
    headers = {name: value.format(own=house.url) for name, value in told.items()}
    for path in (LOAD, f"{LIBRARY}/archives?name=x", "/v1/completions", "/gradio_api/queue/join", "/nowhere"):
        error = house.post(path, {"model": LLAMA}, **headers)
        assert (error.status, error.error()["code"]) == (403, "forbidden"), path
    assert house.send("DELETE", f"{LIBRARY}/adapters?model=x", None, headers).status == 403
    assert house.get("/v1/models", **headers).status == 200, "what only reads is kept from others by browsers"


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "{own}"},
        # A proxy that asks under another name.
        {"Origin": "https://play.example", "X-Forwarded-Host": "play.example"},
        {"Origin": "https://play.example", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_what_the_own_page_and_programs_send_is_taken(house: Server, told: dict[str, str]) -> None:
    headers = {name: value.format(own=house.url) for name, value in told.items()}
    assert house.post(f"{LIBRARY}/pin", {"model": DEMO, "pinned": False}, **headers).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:7860", 200),
        ("127.0.0.1:1", 200),
        ("127.8.9.10", 200),
        ("[::1]:7860", 200),
        ("evil.example", 403),
        ("localhost.evil.example:7860", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.5:7860", 403),
        ("[::2]", 403),
        ("[", 403),
    ],
)
def test_without_keys_a_server_of_this_machine_answers_to_its_names_alone(
    house: Server, host: str, status: int
) -> None:
    for path in ("/v1/models", "/"):
        assert house.get(path, Host=host).status == status


def test_with_keys_or_beyond_this_machine_any_name_will_do(tmp_path: Path) -> None:
    Accounts(Store(tmp_path / "keyed")).create("me", [])
    with serving(ROOT / "models.yaml", tmp_path / "keyed") as house:
        assert house.get("/v1/models", Host="play.example").status == 401
    with serving(ROOT / "models.yaml", tmp_path / "space", "--host", "127.0.0.1", SPACE_ID="me/space") as house:
        assert house.get("/v1/models", Host="me-space.hf.space").status == 200
    with serving(ROOT / "models.yaml", tmp_path / "open", "--host", "0.0.0.0", "--open") as house:
        local = Server(f"http://127.0.0.1:{urlsplit(house.url).port}", house.app, house.home)
        assert local.get("/v1/models", Host="192.168.1.5:7860").status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_an_archive_comes_as_what_no_form_can_send(house: Server, tmp_path: Path, kind: str) -> None:
    path = f"{LIBRARY}/archives?name=mine.zip&base_model={DEMO}"
    before = ids(house)
    error = house.send("POST", path, archive(tmp_path), {"Content-Type": kind})
    assert (error.status, error.error()["param"]) == (400, "Content-Type")
    assert "application/octet-stream" in error.error()["message"]
    assert ids(house) == before
    added = house.send("POST", path, archive(tmp_path), OCTETS).json()["data"]["id"]
    assert house.send("DELETE", f"{LIBRARY}/adapters?model={added}", None, {}).status == 200
