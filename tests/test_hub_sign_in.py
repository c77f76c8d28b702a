"""Sign-in at the Hub on a Space: there and back over real HTTP, who one is then, and what is refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from itsdangerous import TimestampSigner
from playwright.sync_api import Browser, expect

from playground.accounts import Accounts
from playground.errors import ConfigurationError
from playground.settings import read_settings
from playground.store import Store
from tests.browser import chromium
from tests.drive import free_port
from tests.provider import HOST, SECRET, Provider, providing
from tests.server import LLAMA, OWNED, OWNER, TUNED, Reply, Server, serving
from tests.test_framing import HUB, framed

MODELS, LIBRARY = "/api/v1/playground/models", "/api/v1/playground/library"
TRY_AGAIN = "must be begun anew"


@dataclass
class Visitor:
    """A browser with its cookies, one step at a time."""

    space: Server
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Reply:
        return self._take(self.space.get(path, **self._cookie(), **headers))

    def post(self, path: str, body: object = None, **headers: str) -> Reply:
        return self._take(self.space.post(path, body or {}, **self._cookie(), **headers))

    def begin(self) -> str:
        """Goes to the provider; the address, below the program's own, that it sends back to."""
        begun = self.get("/login/huggingface")
        assert begun.status == 303, begun.body
        url, _, query = begun.headers["location"].partition("/oauth")
        return Server(url, *[None] * 2).get(f"/oauth{query}").headers["location"].removeprefix(self.space.url)  # type: ignore[arg-type]

    def sign_in(self) -> Reply:
        return self.get(self.begin())

    def sees(self) -> set[str]:
        data = self.get(MODELS).json()["data"]
        return {model["id"] for models in data.values() for model in models}

    def manages(self) -> bool:
        shown = self.get(LIBRARY).json()["data"]["may_manage"]
        statuses = {
            self.post(f"{LIBRARY}/pin", {"model": LLAMA, "pinned": False}).status,
            self.post(f"{LIBRARY}/load", {"model": LLAMA}).status,
            self.post(f"{LIBRARY}/cancel", {"model": LLAMA}).status,
        }
        assert statuses == ({200} if shown else {403})
        return shown

    def _cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _take(self, reply: Reply) -> Reply:
        for name, value in re.findall(r"(playground-[\w-]+)=([^;]*);", reply.headers.get("set-cookie", "")):
            self.cookies[name] = value
        self.cookies = {name: value for name, value in self.cookies.items() if value not in ("", '""')}
        return reply


@pytest.fixture(scope="module")
def hub() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def provider(hub: Provider) -> Provider:
    """As it was, whatever a test before told it to do."""
    hub.user, hub.denies = "ada", None
    hub.says.clear()
    return hub


@contextmanager
def space_of(hub: Provider, models: Path, home: Path, **more: str) -> Iterator[Server]:
    with serving(
        models, home, "--host", "127.0.0.1", **hub.variables(), PLAYGROUND_MANAGERS="grace, eve", **more
    ) as it:
        hub.back_to = it.url
        yield it


@pytest.fixture(scope="module")
def space(hub: Provider, models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with space_of(hub, models_file, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def visitor(space: Server, provider: Provider) -> Visitor:
    return Visitor(space)


def told(reply: Reply) -> str:
    """What a page of refusal says."""
    found = re.search(r'<p role="alert">(.*?)</p>', reply.body.decode(), re.DOTALL)
    assert found, reply.body
    return found[1]


def test_who_signs_in_sees_their_own_and_signs_out_again(visitor: Visitor, provider: Provider) -> None:
    provider.user = OWNER
    assert OWNED not in visitor.sees()
    entered = visitor.sign_in()
    assert (entered.status, entered.headers["location"]) == (303, "/")
    assert {OWNED, TUNED} <= visitor.sees()
    asked = {"model": OWNED, "prompt": "hi", "max_tokens": 1}
    assert visitor.post("/v1/completions", asked).status == 200
    assert Visitor(visitor.space).post("/v1/completions", asked).status == 404
    assert [name.rsplit("-", 1)[0] for name in visitor.cookies] == ["playground-hub"], "the way's cookie is gone"
    left = visitor.post("/sign-out")
    assert (left.status, left.headers["location"], visitor.cookies) == (303, "/", {})
    assert OWNED not in visitor.sees()


@pytest.mark.parametrize(("user", "manages"), [("me", True), ("grace", True), ("eve", True), ("ada", False)])
def test_the_space_s_owner_and_whom_it_names_manage_and_nobody_else(
    visitor: Visitor, provider: Provider, user: str, manages: bool
) -> None:
    provider.user = user
    assert not visitor.manages()
    visitor.sign_in()
    assert visitor.manages() == manages


def test_the_cookies_are_out_of_scripts_reach_and_reach_into_the_hub_s_frame(visitor: Visitor) -> None:
    for headers, same_site in (({}, "lax"), ({"X_Forwarded_Proto": "https"}, "none; secure")):
        back = visitor.begin()
        begun, entered = visitor.get("/login/huggingface", **headers), visitor.get(back, **headers)
        assert entered.status == 400, "one begun since then counts"
        entered = visitor.get(visitor.begin(), **headers)
        for said, seconds in ((begun, 600), (entered, 7 * 24 * 3600)):
            cookie = said.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert f"max-age={seconds};" in cookie
            assert f"samesite={same_site}" in cookie
            assert said.headers["cache-control"] == "no-store"
        left = visitor.post("/sign-out", **headers).headers["set-cookie"].lower()
        assert f"samesite={same_site}" in left, "a frame's browser drops no cookie that is described otherwise"


# Refused on the way


def test_a_state_that_is_not_this_browser_s_is_refused(visitor: Visitor, space: Server, provider: Provider) -> None:
    back = visitor.begin()
    code = re.search(r"code=[^&]+", back)
    assert code
    kept, asked = dict(visitor.cookies), len(provider.asked)
    strange = Visitor(space)
    others = strange.begin()
    for path in (
        f"/login/callback?{code[0]}",
        back.replace("state=", "state=x"),
        f"{back.split('?')[0]}?state=&{code[0]}",
        others,
        back.replace("state=", "state=%C3%A9"),
    ):
        visitor.cookies = dict(kept)
        refused = visitor.get(path)
        assert (refused.status, TRY_AGAIN in told(refused)) == (400, True), path
        assert visitor.cookies == {}, "and what was begun is over"
    assert TRY_AGAIN in told(Visitor(space).get(back))
    assert not any(path == "/oauth/token" for path in provider.asked[asked:])


def test_a_way_back_is_good_once(visitor: Visitor) -> None:
    back = visitor.begin()
    way = dict(visitor.cookies)
    assert visitor.get(back).status == 303
    assert visitor.get(back).status == 400
    # Somebody who kept the cookie as well has a code that is used up.
    again = Visitor(visitor.space, way).get(back)
    assert (again.status, "refused with 400 (invalid_grant)" in told(again)) == (502, True)


def test_a_way_back_is_good_for_ten_minutes(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    now = TimestampSigner.get_timestamp
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: now(self) - 601)
    back = visitor.begin()
    monkeypatch.undo()
    assert TRY_AGAIN in told(visitor.get(back))


def test_the_proof_key_is_this_browser_s(visitor: Visitor, space: Server, provider: Provider) -> None:
    """A code that was taken from somebody is of no use to whoever took it."""
    code = re.search(r"code=([^&]+)", Visitor(space).begin())
    assert code
    refused = visitor.get(re.sub(r"code=[^&]+", f"code={code[1]}", visitor.begin()))
    assert "invalid_grant" in told(refused)
    assert visitor.cookies == {}


def test_what_the_hub_says_instead_is_told_in_words(visitor: Visitor, provider: Provider) -> None:
    provider.denies = {"error": "access_denied", "error_description": "The user <b>said no</b>" + "x" * 500}
    refused = visitor.sign_in()
    assert (refused.status, visitor.cookies) == (403, {})
    assert "access_denied: The user &lt;b&gt;said no&lt;/b&gt;" in told(refused)
    assert len(told(refused)) < 250
    assert b'href="/login/huggingface"' in refused.body
    provider.denies = {"nothing": ""}
    assert "no reason given" in told(visitor.sign_in())
    # Without this browser's state nobody can put words there.
    assert "gold" not in visitor.get("/login/callback?error=gold").body.decode()


@pytest.mark.parametrize(
    ("path", "says", "words"),
    [
        ("/oauth/token", (400, {"error": "invalid_grant", "error_description": "secret-echo"}), "400 (invalid_grant)."),
        ("/oauth/token", (500, "secret-echo"), "refused with 500."),
        ("/oauth/token", (400, {"error": "secret-echo <b>"}), "refused with 400."),
        ("/oauth/token", (200, {"token": "secret-echo"}), "answered something else than was asked."),
        ("/oauth/token", (200, "secret-echo"), "answered something else than was asked."),
        ("/oauth/userinfo", (403, {"error": "insufficient_scope"}), "403 (insufficient_scope)."),
        ("/oauth/userinfo", (200, {"sub": "1"}), "answered something else than was asked."),
        *(
            ("/oauth/userinfo", (200, {"preferred_username": name}), "answered something else than was asked.")
            for name in ("", "@alone", "ada\n", "a b", None, ["me"])
        ),
    ],
)
def test_an_exchange_that_fails_is_told_and_signs_nobody_in(
    visitor: Visitor, provider: Provider, path: str, says: tuple[int, object], words: str
) -> None:
    provider.says[path] = says
    refused = visitor.sign_in()
    assert (refused.status, visitor.cookies) == (502, {})
    assert told(refused).endswith(words)
    assert "secret-echo" not in refused.body.decode()


def test_a_hub_that_is_away_or_strange_is_told_at_the_first_step(visitor: Visitor, provider: Provider) -> None:
    meta = "/.well-known/openid-configuration"
    names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
    addresses = dict.fromkeys(names, f"{provider.url}/x")
    for says in ((404, {}), (200, {}), *((200, {**addresses, name: "ftp://far.example/x"}) for name in names)):
        provider.says[meta] = says
        refused = visitor.get("/login/huggingface")
        assert (refused.status, visitor.cookies) == (502, {})
        assert provider.url in told(refused)


def test_a_hub_that_cannot_be_reached_is_told(models_file: Path, tmp_path: Path) -> None:
    away = Provider(url=f"http://127.0.0.1:{free_port()}")
    with space_of(away, models_file, tmp_path) as space:
        assert told(space.get("/login/huggingface")) == f"{away.url} cannot be reached."


def test_nobody_is_led_elsewhere(visitor: Visitor) -> None:
    evil = "next=//evil.example&_target_url=https://evil.example&return_to=https://evil.example"
    visitor.get(f"/login/huggingface?{evil}")
    back = visitor.begin()
    assert visitor.get(f"{back}&{evil}").headers["location"] == "/"


def test_only_links_begin_and_only_the_page_s_own_button_ends(visitor: Visitor) -> None:
    visitor.sign_in()
    session = dict(visitor.cookies)
    for refused in (
        visitor.post("/login/huggingface"),
        visitor.post("/login/callback"),
        visitor.get("/sign-out"),
        visitor.post("/sign-out", Origin="https://evil.example"),
    ):
        assert refused.status in (403, 405)
        assert told(refused)
    assert visitor.cookies == session


# Afterwards


def test_a_session_that_somebody_made_or_changed_is_anybody(visitor: Visitor, provider: Provider) -> None:
    provider.user = OWNER
    back = visitor.begin()
    ((_, way),) = visitor.cookies.items()
    visitor.get(back)
    ((name, value),) = visitor.cookies.items()
    forged = [value[:-2], value.replace(value[3], "A" if value[3] != "A" else "B", 1), "x", "", f'"{OWNER}"', way]
    for one in forged:
        assert OWNED not in Visitor(visitor.space, {name: one}).sees(), one
    assert Visitor(visitor.space, {name: way}).get("/").status == 200
    assert OWNED in Visitor(visitor.space, {name: value}).sees()


def test_a_session_ends_after_a_week(visitor: Visitor, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.user = OWNER
    now = TimestampSigner.get_timestamp
    seen = []
    for seconds in (7 * 24 * 3600 - 60, 7 * 24 * 3600 + 60):
        with monkeypatch.context() as then:
            then.setattr(TimestampSigner, "get_timestamp", lambda self, ago=seconds: now(self) - ago)
            visitor.sign_in()
        seen.append(OWNED in visitor.sees())
    assert seen == [True, False]


def test_another_site_cannot_use_somebody_s_session(visitor: Visitor, provider: Provider) -> None:
    provider.user = OWNER
    visitor.sign_in()
    asked = {"model": OWNED, "prompt": "hi", "max_tokens": 1}
    assert visitor.post("/v1/completions", asked, Origin=visitor.space.url).status == 200
    for other in ("https://evil.example", "null", "https://huggingface.co"):
        assert visitor.post("/v1/completions", asked, Origin=other).status == 403
        assert OWNED.encode() not in visitor.get(MODELS, Origin=other).body


def test_a_visitor_has_a_history_and_strangers_none(visitor: Visitor, provider: Provider) -> None:
    assert not visitor.get("/api/v1/playground/history").json()["data"]["kept"]
    visitor.sign_in()
    assert visitor.get("/api/v1/playground/history").json()["data"]["kept"]


def test_strangers_are_not_told_who_runs_what(visitor: Visitor, provider: Provider) -> None:
    visitor.sign_in()
    loop = visitor.space.loop(LLAMA)
    assert loop
    slots = visitor.space.app.registry
    card = visitor.space.app.playground.status(LLAMA).card
    lease = slots.lease(card, lambda _: None, lambda _: None, "ada")
    try:
        users = [
            next(one for one in who.get(LIBRARY).json()["data"]["models"] if one["id"] == LLAMA)["users"]
            for who in (visitor, Visitor(visitor.space))
        ]
    finally:
        lease.release()
    assert users == [["ada"], [""]]


def test_no_secret_is_in_a_log_or_an_answer(
    visitor: Visitor, provider: Provider, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    provider.gave.clear()
    with caplog.at_level(logging.DEBUG):
        replies = [visitor.get("/login/huggingface"), visitor.sign_in()]
        values = list(visitor.cookies.values())
        provider.says["/oauth/userinfo"] = (500, "")
        replies.append(visitor.sign_in())
        for says in ((400, {"error": SECRET}), (200, {"access_token": 1, "note": SECRET})):
            provider.says["/oauth/token"] = says
            replies.append(visitor.sign_in())
    out, err = capfd.readouterr()
    assert len(provider.gave) >= 5
    bodies = "".join(reply.body.decode() + str(reply.headers) for reply in replies)
    home = b"".join(file.read_bytes() for file in visitor.space.home.rglob("*") if file.is_file())
    for secret in (SECRET, *provider.gave):
        for place in (caplog.text, out, err, bodies, home.decode("latin-1")):
            assert secret not in place
    assert all(value not in place for value in values for place in (caplog.text, out, err))
    assert SECRET not in repr(visitor.space.app.settings)


# Where it is offered


def test_keys_in_force_switch_it_off(provider: Provider, models_file: Path, tmp_path: Path, space: Server) -> None:
    visitor = Visitor(space)
    provider.back_to = space.url
    visitor.sign_in()
    Accounts(Store(tmp_path)).create("ada", [OWNER])
    with serving(models_file, tmp_path, "--host", "127.0.0.1", **provider.variables()) as keyed:
        for path in ("/login/huggingface", "/login/callback?code=x&state=x", MODELS):
            assert Visitor(keyed, visitor.cookies).get(path).status == 401
        form = keyed.get("/sign-in")
        assert form.status == 200
        assert b"Hugging Face" not in form.body


@pytest.mark.parametrize(
    "gone", ["OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL", "SPACE_HOST", "SPACE_ID"]
)
def test_it_takes_all_that_a_space_says(gone: str) -> None:
    given = {**Provider(url="https://hub.example").variables()}
    offered = read_settings([], given).oauth
    assert offered is not None
    assert (offered.redirect_url, offered.provider_url) == (f"https://{HOST}/login/callback", "https://hub.example")
    assert read_settings([], {**given, "SPACE_HOST": f"{HOST},own.example"}).oauth == offered
    assert read_settings([], {**given, gone: ""}).oauth is None


def test_where_it_is_not_offered_nothing_is_there(server: Server) -> None:
    for path in ("/login/huggingface", "/login/callback", "/sign-out"):
        assert server.get(path).status in (404, 405)


@pytest.mark.parametrize(
    "url", ["http://hub.example", "hub.example", "https://", "file:///etc", "http://127.0.0.1.example"]
)
def test_a_provider_that_anybody_could_stand_before_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"OPENID_PROVIDER_URL.*https"):
        read_settings([], Provider(url=url).variables())


def test_managers_are_the_author_and_those_named() -> None:
    given = Provider(url="https://hub.example").variables()
    assert read_settings([], given).managers == {"me"}
    assert read_settings([], {**given, "PLAYGROUND_MANAGERS": "ada , grace"}).managers == {"me", "ada", "grace"}
    assert read_settings([], {}).managers == frozenset()
    for wrong in ("ada,,grace", "ada;grace", "@ada", ","):
        with pytest.raises(ConfigurationError, match=r"PLAYGROUND_MANAGERS.*commas"):
            read_settings([], {"PLAYGROUND_MANAGERS": wrong})


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One in which a public site may reach this machine, as the Hub must."""
    with chromium("LocalNetworkAccessChecks") as running:
        yield running


def test_a_person_signs_in_and_out_in_a_browser(space: Server, provider: Provider, browser: Browser) -> None:
    provider.user, provider.back_to = OWNER, space.url
    page = browser.new_page()
    page.goto(space.url)
    page.get_by_role("link", name="Sign in with Hugging Face").click()
    expect(page.locator(".pg-account")).to_contain_text(OWNER)
    page.get_by_role("tab", name="Single").click()
    page.locator("#model-picker").get_by_role("combobox").click()
    expect(page.get_by_role("option", name=re.compile("owned"))).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in with Hugging Face")).to_be_visible()
    page.get_by_role("tab", name="Single").click()
    page.locator("#model-picker").get_by_role("combobox").click()
    expect(page.get_by_role("option", name=re.compile("tuned"))).to_be_visible()
    expect(page.get_by_role("option", name=re.compile("owned"))).to_have_count(0)
    page.close()


def test_in_the_hub_s_frame_the_way_leads_beside_it(space: Server, provider: Provider, browser: Browser) -> None:
    provider.back_to = space.url
    context = browser.new_context()
    page = context.new_page()
    way_in = framed(page, HUB, space.url).get_by_role("link", name="Sign in with Hugging Face")
    with context.expect_page() as opened:
        way_in.click()
    expect(opened.value.locator(".pg-account")).to_contain_text("ada")
    expect(way_in).to_be_visible()
    context.close()
