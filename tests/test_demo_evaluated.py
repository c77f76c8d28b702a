"""The demo's own spec, evaluated by the real program, which is killed in the middle of it and started again; and by
the command, which finds the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.browser import Person
from tests.test_app import ROOT, environment, running

BASE, JSON = "playground/shop-demo", "playground/shop-json"
EVALUATIONS = "api/v1/playground/evaluations"
PATIENCE = 240.0


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"} if data else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["data"]


def until(url: str, evaluation_id: str, num_answers: int) -> dict[str, Any]:
    """The evaluation, once it has as many answers, or runs no longer."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = ask(url, f"{EVALUATIONS}/{evaluation_id}")
        if found["num_answers"] >= num_answers or found["state"] != "running":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def expect_in_the_tab(person: Person, totals: dict[str, Any]) -> None:
    """The earlier evaluation, opened, tells these totals."""
    # The program is killed while its page is open.
    person.expects("ERR_")
    person.open().page.get_by_role("tab", name="Evaluate").click()
    tab = person.page.locator("#evaluate .pg-evaluate")
    tab.locator(".pg-earlier-one").first.click()
    expect(tab.get_by_role("status").first).to_contain_text("Done")
    expect(tab.locator(".pg-total")).to_have_count(len(totals["sides"]))
    for shown, side in zip(tab.locator(".pg-total").all(), totals["sides"], strict=True):
        expect(shown).to_contain_text(f"{side['num_passed']} of {side['num_answers']} passed")
    for measure in totals["measures"]:
        expect(tab.locator(".pg-measures")).to_contain_text(measure["reading"])


def totals_by_the_command(folder: Path) -> dict[str, Any]:
    report = folder / "report.json"
    command = [sys.executable, "app.py", "evaluate", "demo/tunedtensor.json", "--models", BASE, JSON]
    command += ["--max-tokens", "160", "--min-pass-rate", "90%"]
    command += ["--out", str(report), "--home", str(folder / "another")]
    subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True)
    return json.loads(report.read_text())["totals"]


def figures(totals: dict[str, Any]) -> dict[str, Any]:
    """The totals without how long it took."""
    sides = [{name: value for name, value in side.items() if not name.endswith("_ms")} for side in totals["sides"]]
    return {**totals, "sides": sides}


def test_the_fine_tune_keeps_the_spec_and_the_base_does_not_over_a_kill(
    tmp_path: Path, visit: Callable[..., Person]
) -> None:
    spec = (ROOT / "demo" / "tunedtensor.json").read_text()
    num_wanted = 2 * len(json.loads(spec)["eval_cases"])
    with running("--home", str(tmp_path)) as (process, url):
        checked = ask(url, f"{EVALUATIONS}/check", {"spec": spec, "file_name": "tunedtensor.json"})
        assert checked["models"] == [BASE, JSON]
        body = {"spec": spec, "file_name": "tunedtensor.json", "max_tokens": 160}
        evaluation_id = ask(url, EVALUATIONS, body)["id"]
        assert until(url, evaluation_id, num_wanted // 4)["num_answers"] < num_wanted
        before = {case["number"]: case for case in ask(url, f"{EVALUATIONS}/{evaluation_id}/cases")["cases"]}
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running("--home", str(tmp_path)) as (process, url):
        found = until(url, evaluation_id, num_wanted)
        while found["state"] == "running":
            found = until(url, evaluation_id, num_wanted)
        assert (found["state"], found["num_answers"]) == ("done", num_wanted)
        totals = ask(url, f"{EVALUATIONS}/{evaluation_id}/totals")
        after = ask(url, f"{EVALUATIONS}/{evaluation_id}/cases")["cases"]
        expect_in_the_tab(visit(url), totals)
    assert figures(totals_by_the_command(tmp_path)) == figures(totals)
    base, tuned = (side["num_passed"] / side["num_answers"] for side in totals["sides"])
    assert base <= 0.2
    assert tuned >= 0.9
    for case in after:
        for old, new in zip(before[case["number"]]["answers"], case["answers"], strict=True):
            assert old in (None, new), "what was kept before the kill stays as it was"
