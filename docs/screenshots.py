"""Takes the pictures of the documentation from a running page.

    python docs/screenshots.py [http://127.0.0.1:7860] [docs/images]

Knows what a person clicks, and nothing of the program behind the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DESKTOP, TALL, PHONE = (1280, 800), (1280, 1800), (390, 844)
QUESTION = "Where is my parcel? I ordered a lamp last week."
FOLLOW_UP = "How much is delivery?"
LOOKS = {
    "scores": ("Scores", ""),
    "parting": ("First split", ""),
    "prompts": ("Prompts", ""),
    "strengths": ("Strengths", "Run the strip"),
    "samples": ("Samples", "Run the samples"),
    "checkpoints": ("Checkpoints", "Run the checkpoints"),
    "adapter": ("Adapter", "Compare with its merge"),
    "proof": ("Proof", "Check now"),
}
"""The closer looks: their tabs, and the button of what takes time."""
DONE = '.pg-answer[data-state="done"]'


def visit(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Page:
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=2,
    )
    page.goto(url)
    page.locator("#left-frame .pg-frame").wait_for()
    return page


def ask(page: Page, tab: str, question: str, number: int = 0) -> None:
    box = page.locator(f"#{tab}-prompt textarea")
    box.fill(question)
    box.press("Enter")
    for side in ("left", "right") if tab == "compare" else ("model",):
        page.locator(f"#{side}-frame").locator(DONE).nth(number).wait_for(timeout=120_000)
    page.locator(f"#{tab}-run").wait_for()


def take(page: Page, path: Path, *, whole: bool = False) -> None:
    page.mouse.move(0, 0)
    page.screenshot(path=path, full_page=whole, animations="disabled")
    print(path)
    page.close()


def look_closer(page: Page, folder: Path, scheme: str) -> None:
    """One picture a look, of the fold alone."""
    page.locator("#closer .pg-fold").click()
    for name, (tab, button) in LOOKS.items():
        page.locator("#closer").get_by_role("tab", name=tab).click()
        look = page.locator(f"#look-{name} .pg-look")
        if button:
            look.get_by_role("button", name=button).click()
            look.get_by_role("button", name=button).wait_for(state="detached")
        page.locator(f'#look-{name} .pg-look[data-status="done"]').wait_for()
        if name == "scores":
            look.locator(".pg-heat span").nth(3).hover()
        top, end = (page.locator(part).bounding_box() for part in ("#closer", "#looks"))
        assert top is not None
        assert end is not None
        # Room for the alternatives of a token, which hang below it.
        height = max(end["y"] + end["height"] - top["y"], 400 if name == "scores" else 0)
        clip = {"x": top["x"] - 12, "y": top["y"] - 8, "width": top["width"] + 24, "height": height + 20}
        path = folder / f"look-{name}-{scheme}.png"
        page.screenshot(path=path, clip=clip, animations="disabled")
        print(path)
        page.mouse.move(0, 0)
    page.close()


def evaluated(page: Page) -> None:
    """The demo's spec, run to its end; later pages open what the first one ran."""
    page.get_by_role("tab", name="Evaluate").click()
    tab = page.locator("#evaluate .pg-evaluate")
    tab.locator(".pg-drop").wait_for()
    if tab.locator(".pg-earlier-one").count():
        tab.locator(".pg-earlier-one").first.click()
    else:
        tab.get_by_role("button", name="Try the demo's spec").click()
        tab.get_by_label("Max tokens").fill("160")
        tab.get_by_role("button", name="Run", exact=True).click()
    tab.locator(".pg-evaluation-head").get_by_text("Done").wait_for(timeout=300_000)
    tab.get_by_label("Which cases").select_option("improved")
    tab.locator(".pg-cases > li").first.get_by_role("button").first.click()


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            page = visit(browser, url, DESKTOP, scheme)
            ask(page, "compare", QUESTION)
            take(page, folder / f"compare-{scheme}.png", whole=True)
            page = visit(browser, url, TALL, scheme)
            ask(page, "compare", QUESTION)
            look_closer(page, folder, scheme)
            page = visit(browser, url, DESKTOP, scheme)
            page.get_by_role("tab", name="Single").click()
            for number, question in enumerate((QUESTION, FOLLOW_UP)):
                ask(page, "single", question, number)
            take(page, folder / f"single-{scheme}.png")
            page = visit(browser, url, TALL, scheme)
            evaluated(page)
            take(page, folder / f"evaluate-{scheme}.png")
            page = visit(browser, url, DESKTOP, scheme)
            page.get_by_role("tab", name="History").click()
            page.locator("#history .pg-history").wait_for()
            take(page, folder / f"history-{scheme}.png")
            page = visit(browser, url, DESKTOP, scheme)
            page.get_by_role("tab", name="Models").click()
            page.locator("#models .pg-models li").first.wait_for()
            take(page, folder / f"models-{scheme}.png")
        page = visit(browser, url, PHONE, "light")
        ask(page, "compare", QUESTION)
        take(page, folder / "phone.png", whole=True)
        browser.close()


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860",
        Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images"),
    )
