"""Who may show the page in a frame: on a Space the Hub, elsewhere and otherwise nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.browser import chromium
from tests.server import ROOT, serving

SPACE = {"SYSTEM": "spaces", "SPACE_ID": "me/playground"}
HUB, OTHERS = "https://huggingface.co/spaces/me/playground", "https://elsewhere.example/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One in which a public site may reach this machine: the Hub is reached from here by no other way."""
    with chromium("LocalNetworkAccessChecks") as running:
        yield running


def framed(page: Page, site: str, url: str) -> FrameLocator:
    """The page at `url` as a site shows it."""
    shown = f'<iframe src="{url}" width=1200 height=700></iframe>'
    page.route(site, lambda route: route.fulfill(content_type="text/html", body=shown))
    with page.expect_event("framenavigated", lambda frame: frame.parent_frame is not None):
        page.goto(site)
    return page.frame_locator("iframe")


def test_the_hub_shows_a_space_in_its_frame_and_it_answers_there(tmp_path: Path, browser: Browser) -> None:
    with serving(ROOT / "models.yaml", tmp_path, "--host", "127.0.0.1", **SPACE) as server:
        page = browser.new_page()
        shown = framed(page, HUB, server.url)
        box = shown.locator("#compare-prompt textarea")
        box.fill("How much is delivery?")
        box.press("Enter")
        for side in ("left", "right"):
            expect(shown.locator(f"#{side}-frame .pg-answer")).to_have_attribute("data-state", "done")
        page.close()


@pytest.mark.parametrize(("site", "environ"), [(OTHERS, SPACE), (HUB, {})])
def test_nobody_else_shows_it(
    models_file: Path, tmp_path: Path, browser: Browser, site: str, environ: dict[str, str]
) -> None:
    with serving(models_file, tmp_path, "--host", "127.0.0.1", **environ) as server:
        page = browser.new_page()
        framed(page, site, server.url)
        assert page.frames[1].url.startswith("chrome-error:")
        page.close()
