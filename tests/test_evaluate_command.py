"""`app.py evaluate`: what it prints, writes and ends with; over a scripted service, and the real demo."""

from __future__ import annotations

import argparse
import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground import commands, evaluate_command
from playground.errors import ConfigurationError, InvalidRequest, ModelLoadFailed, ModelNotFound, Overloaded
from playground.evaluator import Evaluator
from playground.settings import build_parser
from tests.drive import wait_for
from tests.evaluating import BASE, LOCAL, TUNE, ScriptedService, evaluator, spec
from tests.test_app import ROOT, environment

DEMO = ROOT / "demo" / "tunedtensor.json"


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
def running(tmp_path: Path, service: ScriptedService) -> Iterator[Evaluator]:
    made = evaluator(tmp_path / "home", service)
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(spec(6))
    return path


def parsed(*argv: object) -> argparse.Namespace:
    parser = build_parser()
    commands.add_to(parser)
    return parser.parse_args(["evaluate", *map(str, argv)])


def run(running: Evaluator, *argv: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return evaluate_command.run(parsed(*argv), running, out, err), out.getvalue(), err.getvalue()


def test_it_says_what_passed_and_what_changed(running: Evaluator, file: Path) -> None:
    status, out, _ = run(running, file)
    assert status == 0
    assert f"2 of 6 (33.3%)  {BASE}" in out
    assert f"6 of 6 (100.0%)  {TUNE}" in out
    assert "4 improved, 0 regressed, 2 same" in out


@pytest.mark.parametrize(
    ("flags", "status", "told"),
    [
        (["--min-pass-rate", "1"], 0, ""),
        (["--min-pass-rate", "100%", "--max-regressions", "0"], 0, ""),
        (["--models", TUNE, BASE, "--min-pass-rate", "0.5"], 1, f"{BASE} passes 33.3%, and 50.0% are asked"),
        (["--models", TUNE, BASE, "--max-regressions", "3"], 1, "4 cases regressed, and 3 are allowed"),
        (["--models", TUNE, BASE, "--max-regressions", "4"], 0, ""),
        (["--models", BASE, "--min-pass-rate", "34%"], 1, f"{BASE} passes 33.3%"),
    ],
)
def test_bounds_that_are_not_kept_are_the_exit_status(
    running: Evaluator, file: Path, flags: list[str], status: int, told: str
) -> None:
    found, _, err = run(running, file, *flags)
    assert found == status
    assert told in err


def test_reports_are_written_in_every_format(running: Evaluator, file: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"report.{form}" for form in ("json", "md", "csv", "html")]
    run(running, file, *(word for out in outs for word in ("--out", out)))
    record = json.loads(outs[0].read_text())
    assert [side["num_passed"] for side in record["totals"]["sides"]] == [2, 6]
    assert len(list(csv.DictReader(outs[2].open(newline="")))) == 6
    assert all("question 5" in out.read_text() for out in outs)


@pytest.mark.parametrize("name", ["report.pdf", "report", "nowhere/report.json"])
def test_a_report_that_cannot_be_written_is_told_before_anything_runs(
    running: Evaluator, service: ScriptedService, file: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigurationError, match="--out"):
        run(running, file, "--out", tmp_path / name)
    assert service.asked == []


def test_what_cannot_be_run_is_an_error(running: Evaluator, file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": "x", "examples": [{"input": 1}], "colour": "red"}')
    with pytest.raises(InvalidRequest) as raised:
        run(running, broken)
    for problem in ("colour", "system_prompt", "base_model", "examples[0].output"):
        assert problem in raised.value.message
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run(running, tmp_path / "nothing.json")
    with pytest.raises(ModelNotFound):
        run(running, file, "--models", "no/such")


def test_a_bound_that_nothing_could_break_is_refused(running: Evaluator, file: Path) -> None:
    with pytest.raises(ConfigurationError, match="--max-regressions: 0 is not allowed: one model alone"):
        run(running, file, "--models", BASE, "--max-regressions", "0")
    assert running.list(LOCAL) == []
    with pytest.raises(InvalidRequest, match="max_tokens: 0 is not allowed"):
        run(running, file, "--max-tokens", "0")


def test_what_is_resumed_takes_no_other_settings(running: Evaluator, file: Path) -> None:
    run(running, file, "--models", BASE)
    [done] = running.list(LOCAL)
    with pytest.raises(ConfigurationError, match=r"--models: .*\n--max-tokens: 7 is not allowed"):
        run(running, "--resume", done.id, "--models", TUNE, "--max-tokens", "7")
    with pytest.raises(ConfigurationError, match="one model alone"):
        run(running, "--resume", done.id, "--max-regressions", "0")


def test_a_spec_whose_name_is_no_text_is_run(running: Evaluator, file: Path) -> None:
    odd = file.with_name("od\udcff.json")
    file.rename(odd)
    assert run(running, odd)[0] == 0
    assert running.list(LOCAL)[0].file_name == "od?.json"


def test_the_spec_itself_is_no_place_for_a_report(running: Evaluator, file: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(file)
    for name in (file, tmp_path / "link.json"):
        with pytest.raises(ConfigurationError, match="it is the spec itself"):
            run(running, file, "--out", name)
    with pytest.raises(ConfigurationError, match="no/such"):
        run(running, file, "--out", tmp_path / "left.md", "--out", "/no/such/place.md")
    assert not (tmp_path / "left.md").exists()


@pytest.mark.parametrize(
    "flags", [["--min-pass-rate", "2"], ["--min-pass-rate", "x%"], ["--max-regressions", "-1"], ["--max-tokens", "a"]]
)
def test_flags_say_what_they_take(file: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(file, *flags)
    assert "it must be" in capsys.readouterr().err


def test_one_that_fails_says_why_and_how_to_go_on(running: Evaluator, service: ScriptedService, file: Path) -> None:
    service.errors["question 4"] = ModelLoadFailed("out of memory")
    status, out, err = run(running, file, "--min-pass-rate", "0")
    assert status == 2
    assert "out of memory" in err
    service.errors.clear()
    evaluation_id = running.list(LOCAL)[0].id
    assert evaluation_id in err
    status, out, _ = run(running, "--resume", evaluation_id)
    assert (status, "6 of 6" in out) == (0, True)


def test_an_interrupt_pauses_it(running: Evaluator, service: ScriptedService, file: Path) -> None:
    service.errors["question 5"] = Overloaded("wait")
    real = running.wait

    def interrupted(evaluation_id: str, seconds: float | None = None) -> bool:
        wait_for(lambda: running.evaluation(LOCAL, evaluation_id).num_answers == 10)
        raise KeyboardInterrupt

    running.wait = interrupted  # type: ignore[method-assign]
    status, _, err = run(running, file)
    running.wait = real  # type: ignore[method-assign]
    [paused] = running.list(LOCAL)
    assert (status, paused.state) == (130, "paused")
    assert f"--resume {paused.id}" in err


def test_an_interrupt_before_anything_runs_leaves_no_stack_trace(tmp_path: Path) -> None:
    """In the middle of migrations and imports, and one after the other."""
    command = [sys.executable, "app.py", "evaluate", str(DEMO), "--home", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "playground.db").exists())
    for _ in range(3):
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == 130


def test_the_real_program_on_the_demo(tmp_path: Path) -> None:
    whole = json.loads(DEMO.read_text())
    short = tmp_path / "short.json"
    short.write_text(json.dumps({**whole, "eval_cases": whole["eval_cases"][::22]}))
    report = tmp_path / "report.json"
    command = [sys.executable, "app.py", "evaluate", str(short), "--home", str(tmp_path / "home")]
    command += ["--max-tokens", "160", "--out", str(report), "--min-pass-rate", "60%", "--max-regressions", "0"]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads(report.read_text())
    assert record["models"] == ["playground/shop-demo", "playground/shop-json"]
    assert record["totals"]["sides"][0]["num_passed"] == 0
    again = subprocess.run(
        [sys.executable, "app.py", "evaluate", "--resume", record["id"], "--home", str(tmp_path / "home")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.stdout == result.stdout, "one that is done says the same again"


def test_the_real_program_is_interrupted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "app.py", "evaluate", str(DEMO), "--home", str(home), "--max-tokens", "160"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # It tells how far it is every few seconds; with an answer, the model is loaded and more are on their way.
    assert any(not line.startswith("0 of") for line in iter(process.stderr.readline, "") if "answers" in line)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
