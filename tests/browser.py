"""A real browser, where the machine has one, and somebody who sits at it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
WAIT_MS = 60_000
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The lists below a window's address bar are pages themselves, which cost half of what the page does; the others are
# what Playwright switches off for tests, since of such a flag the last one alone counts.
NOT_WANTED = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "AimEnabled",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
)

expect.set_options(timeout=WAIT_MS)


@contextmanager
def chromium(*not_wanted: str, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Chromium until the block ends, without further features, with further `flags`; skips the test where there is
    none."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not there")
    with sync_playwright() as playwright:
        try:
            features = f"--disable-features={','.join((*NOT_WANTED, *not_wanted))}"
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, features, *flags])
        except Error as error:
            pytest.skip(f"no browser: {error}")
        yield browser
        browser.close()


class Person:
    """Somebody at a browser."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        # Gradio's own stream says these where its page is left while it listens.
        self._expected = {"AbortError: signal is aborted", "Connection errored out"}
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.on("request", lambda request: self._watch(request.url))

    def open(self, tab: str = "Compare") -> Person:
        self.page.goto(self.url)
        self.page.get_by_role("tab", name=tab).click()
        expect(self.frame("left" if tab == "Compare" else "model")).to_be_visible()
        return self

    def ask(self, text: str, tab: str = "single", key: str = "Enter") -> None:
        box = self.page.locator(f"#{tab}-prompt textarea")
        box.fill(text)
        box.press(key)

    def pick(self, side: str, name: str) -> None:
        picker = self.page.locator(f"#{side}-picker")
        picker.get_by_role("combobox").click()
        picker.get_by_role("option", name=re.compile(name)).click()
        expect(picker.get_by_role("combobox")).to_have_value(re.compile(name))

    def options(self, side: str) -> list[str]:
        picker = self.page.locator(f"#{side}-picker")
        picker.get_by_role("combobox").click()
        return [option.strip("✓ \n") for option in picker.get_by_role("option").all_inner_texts()]

    def view_code(self, tab: str) -> Locator:
        self.page.locator(f"#{tab}-view-code").click()
        panel = self.page.locator(f"#{tab}-code").get_by_role("dialog")
        expect(panel).to_be_visible()
        return panel

    def stop(self, tab: str) -> None:
        self.page.locator(f"#{tab}-stop").click()

    def frame(self, side: str) -> Locator:
        return self.page.locator(f"#{side}-frame .pg-frame")

    def answers(self, side: str) -> Locator:
        return self.frame(side).locator(".pg-answer")

    def text(self, side: str, index: int = -1) -> Locator:
        return self.answers(side).nth(index).locator(".pg-text")

    def problem(self, side: str) -> Locator:
        return self.frame(side).get_by_role("alert")

    def metric(self, side: str, name: str, index: int = -1) -> Locator:
        return self.frame(side).locator(f'.pg-metrics [data-name="{name}"] dd').nth(index)

    def expect_state(self, side: str, state: str, index: int = -1) -> None:
        expect(self.answers(side).nth(index)).to_have_attribute("data-state", state)

    def expect_idle(self, tab: str) -> None:
        expect(self.page.locator(f"#{tab}-run")).to_be_enabled()
        expect(self.page.locator(f"#{tab}-stop")).to_have_count(0)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._complain(message.text)

    def expects(self, words: str) -> None:
        """From now on whatever has these words is no complaint: a browser notes every refusal by itself."""
        self._expected.add(words)

    def _complain(self, words: str) -> None:
        if not any(expected in words for expected in self._expected):
            self.complaints.append(words)

    def _watch(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self._complain(f"asked {url}")
