"""Reports in every format: read back whole, and harmless whatever a model was made to say."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from playground.evaluator import Evaluator
from playground.reports import Report, written
from tests import evaluating
from tests.browser import PHONE
from tests.evaluating import BASE, LOCAL, TUNE, ScriptedService, evaluator

HOSTILE = (
    '<script>alert(1)</script> <img src="https://evil.example/x.png"> ![x](https://evil.example/y.png)\r\n'
    "| a | b |\n\n# head\n`code` _em_ [l](javascript:alert(1)) https://evil.example www.evil.example "
    "&amp; {{ 7*7 }} \u2028 \0"
)
INPUTS = ("=1+1", "plain", HOSTILE, "Grüße, 世界 😀 \"quoted\", 'and'")


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Report]:
    made: Evaluator = evaluator(tmp_path, ScriptedService())
    monkeypatch.setattr(evaluating, "text_of", lambda model, prompt: f"{prompt} {model}")
    cases = [{"input": text, "assert": [f"contains:{TUNE}"]} for text in INPUTS]
    spec = {"name": HOSTILE, "description": HOSTILE, "system_prompt": HOSTILE, "base_model": BASE, "eval_cases": cases}
    text = json.dumps({**spec, "constraints": ['Never say "cheap".', HOSTILE]})
    evaluation_id = made.start("spec.json", text, (BASE, TUNE), LOCAL)
    made.wait(evaluation_id)
    made.vote(LOCAL, evaluation_id, 1, "right")
    yield made.report(LOCAL, evaluation_id)
    made.close()


def test_json_has_all_of_it(report: Report) -> None:
    record = json.loads(written(report, "json"))
    assert [case["input"] for case in record["cases"]] == list(INPUTS)
    assert [side["num_passed"] for side in record["totals"]["sides"]] == [0, 4]
    assert record["totals"]["changes"] == {"improved": 4, "regressed": 0, "same": 0}
    assert record["cases"][1]["vote"] == "right"
    assert [one["enforced"] for one in record["constraints"]] == [True, False]
    for case, asked in zip(record["cases"], INPUTS, strict=True):
        assert [answer["content"] for answer in case["answers"]] == [f"{asked} {BASE}", f"{asked} {TUNE}"]


def test_csv_comes_back_and_starts_no_formula(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(written(report, "csv"), newline="")))
    assert [row["input"] for row in rows] == ["'=1+1", *INPUTS[1:]]
    assert [row["left_passed"] for row in rows] == ["False"] * 4
    assert rows[3]["right_content"] == f"{INPUTS[3]} {TUNE}"
    assert (rows[1]["change"], rows[1]["vote"]) == ("improved", "right")


def test_markdown_is_text_alone(report: Report) -> None:
    text = written(report, "md")
    for mark in ("<", "![", "](", "`", "http://", "https://", "www.", "javascript:alert("):
        assert mark not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {6}, "no text makes a cell of its own"
    assert "## 4 improved" in text


def test_markdown_of_one_model_tells_what_it_failed(tmp_path: Path) -> None:
    made = evaluator(tmp_path, ScriptedService())
    cases = [{"input": text, "assert": [rule]} for text, rule in (("a", "contains:nowhere"), ("b", "min-length:1"))]
    spec = {"name": "s", "system_prompt": "", "base_model": BASE, "eval_cases": cases}
    evaluation_id = made.start("spec.json", json.dumps(spec), (TUNE,), LOCAL)
    made.wait(evaluation_id)
    text = written(made.report(LOCAL, evaluation_id), "md")
    made.close()
    assert "## 1 failed" in text
    assert [line.split(" | ")[1] for line in text.partition("## 1 failed")[2].splitlines()[4:]] == ["a"]


def test_html_is_one_page_that_runs_and_asks_for_nothing(report: Report, browser: Browser, tmp_path: Path) -> None:
    text = written(report, "html")
    assert not re.search(r"<(script|img|link|iframe|form)\b", text)
    page_file = tmp_path / "report.html"
    page_file.write_text(text, "utf-8")
    page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto(page_file.as_uri())
    assert asked == [page_file.as_uri()]
    expect(page.locator("details")).to_have_count(4)
    page.locator("details").nth(3).locator("summary").click()
    expect(page.locator("details").nth(3).locator("pre").nth(1)).to_have_text(f"{INPUTS[3]} {TUNE}")
    page.get_by_text("Regressed", exact=True).click()
    expect(page.locator("details").first).to_be_hidden()
    page.get_by_text("Improved", exact=True).click()
    expect(page.locator("details").first).to_be_visible()
    page.context.close()


def test_html_fits_a_phone_and_no_text_turns_another_round(browser: Browser, tmp_path: Path) -> None:
    made = evaluator(tmp_path, ScriptedService())
    turned = "\u202e" + "gnol" * 50
    cases = [{"input": turned, "expected": turned, "assert": ["max-length:1"]}]
    spec = {"name": turned, "description": turned, "system_prompt": turned, "base_model": BASE, "eval_cases": cases}
    text = json.dumps({**spec, "constraints": [turned]})
    evaluation_id = made.start(f"{turned}.json", text, (BASE, TUNE), LOCAL)
    made.wait(evaluation_id)
    page_file = tmp_path / "report.html"
    page_file.write_text(written(made.report(LOCAL, evaluation_id), "html"), "utf-8")
    made.close()
    page = browser.new_context(viewport=ViewportSize(width=PHONE["width"], height=PHONE["height"])).new_page()
    page.goto(page_file.as_uri())
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    table = page.locator(".wide").first
    assert table.evaluate("it => it.scrollWidth > it.clientWidth && getComputedStyle(it).overflowX") == "auto"
    assert page.title() == f"\u2068{turned}\u2069"
    isolated = "it => ['isolate', 'plaintext'].includes(getComputedStyle(it).unicodeBidi)"
    around = page.locator(f"xpath=//body//*[contains(text(), '{turned}')]")
    assert around.count() >= 7
    for place in around.all():
        assert place.evaluate(isolated), place.evaluate("it => it.outerHTML")
    page.context.close()


def test_an_evaluation_that_is_not_done_is_written_too(tmp_path: Path) -> None:
    made = evaluator(tmp_path, ScriptedService())
    evaluation_id = made.start("spec.json", evaluating.spec(3), (BASE,), LOCAL)
    made.wait(evaluation_id)
    with made._evaluations._store.writing() as connection:
        connection.execute("DELETE FROM evaluation_answers WHERE case_number = 1")
        connection.execute("UPDATE evaluations SET state = 'paused'")
    report = made.report(LOCAL, evaluation_id)
    assert all("question 1" in written(report, form) for form in ("json", "csv", "html"))
    assert all("paused" in written(report, form) for form in ("json", "md", "html"))
    made.close()
