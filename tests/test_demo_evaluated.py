"""The demo's own spec, evaluated by the real program, which is killed in the middle of it and started again."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.test_app import ROOT, running

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


def test_the_fine_tune_keeps_the_spec_and_the_base_does_not_over_a_kill(tmp_path: Path) -> None:
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
    base, tuned = (side["num_passed"] / side["num_answers"] for side in totals["sides"])
    assert base <= 0.2
    assert tuned >= 0.9
    for case in after:
        for old, new in zip(before[case["number"]]["answers"], case["answers"], strict=True):
            assert old in (None, new), "what was kept before the kill stays as it was"
