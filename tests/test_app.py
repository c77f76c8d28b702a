"""The program as a person starts it: a process of its own, its address asked over HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.drive import free_port

ROOT = Path(__file__).parent.parent
PATIENCE = 90


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", **extra}


@contextlib.contextmanager
def running(*args: str, **extra: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, up, and its address."""
    command = [sys.executable, "app.py", "--port", str(free_port()), *args]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "running at" in line, line + process.stdout.read()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


def get(url: str) -> tuple[int, str, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.headers.items()}


def refuse(*args: str, **extra: str) -> str:
    """What the program says when it does not start."""
    result = subprocess.run(
        [sys.executable, "app.py", "--port", str(free_port()), *args],
        cwd=ROOT,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_base("llama", root / "llama")
    file = root / "models.yaml"
    file.write_text("models:\n  - {id: tiny/llama, path: llama}\n")
    return file


def test_the_page_answers_and_the_program_ends_when_told(models: Path) -> None:
    with running("--models", str(models)) as (process, url):
        assert get(url + "healthz")[:2] == (200, '{"status":"ok"}')
        status, page, headers = get(url)
        assert status == 200
        assert "Playground" in page
        assert "default-src 'self'" in headers["content-security-policy"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_the_page_answers_before_torch_is_imported(models: Path) -> None:
    code = (
        "import sys, urllib.request, app\n"
        f"settings = app.read_settings(['--models', {str(models)!r}, '--port', '{free_port()}'], {{}})\n"
        "program = app.App(settings)\n"
        "page, url = program.launch()\n"
        "assert urllib.request.urlopen(url).status == 200\n"
        "assert urllib.request.urlopen(url + 'healthz').status == 200\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "page.close(); program.close()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_broken_models_file_is_told_whole(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:\n  - {id: a, path: nowhere}\n  - {id: b, base_model: c, adapter: ./d}\n  - {id: e, colour: red}\n"
    )
    said = refuse("--models", str(file))
    for part in ("nowhere", "base_model", "colour"):
        assert part in said


@pytest.mark.parametrize(
    ("args", "part"),
    [(("--host", "0.0.0.0"), "--open"), (("--host", "http://x"), "--host"), (("--models", "no.yaml"), "no.yaml")],
)
def test_what_cannot_be_served_is_said_in_a_line(args: tuple[str, ...], part: str) -> None:
    assert part in refuse(*args)


def test_a_taken_port_is_said(models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refuse("--models", str(models), "--port", port)
