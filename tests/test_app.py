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

from app import App
from playground.accounts import Accounts
from playground.errors import InvalidKey
from playground.settings import read_settings
from playground.store import FILE_NAME, Store
from playground.types import ANYBODY, Caller
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
        "from playground.settings import read_settings\n"
        f"settings = read_settings(['--models', {str(models)!r}, '--port', '{free_port()}'], {{}})\n"
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
    [(("--host", "http://x"), "--host"), (("--models", "no.yaml"), "no.yaml")],
)
def test_what_cannot_be_served_is_said_in_a_line(args: tuple[str, ...], part: str) -> None:
    assert part in refuse(*args)


def test_an_address_beyond_this_machine_wants_keys_or_a_word(models: Path, tmp_path: Path) -> None:
    beyond = ("--models", str(models), "--host", "0.0.0.0", "--home", str(tmp_path / "home"))
    said = refuse(*beyond)
    assert said.count("\n") == 1
    for part in ("0.0.0.0", str(tmp_path / "home"), "python app.py keys create NAME", "--open"):
        assert part in said
    assert not (tmp_path / "home").exists()
    # A database alone is no key.
    accounts = Accounts(Store(tmp_path / "home"))
    assert refuse(*beyond) == said
    accounts.revoke(accounts.create("me", [])[3:11])
    with running(*beyond) as (_, url):
        assert get(url + "healthz")[0] == 200


@pytest.mark.parametrize(("args", "environ"), [(("--open",), {}), ((), {"SPACE_ID": "me/space"})])
def test_an_address_beyond_this_machine_may_be_opened(models: Path, args: tuple[str, ...], environ: dict) -> None:
    with running("--models", str(models), "--host", "0.0.0.0", *args, **environ) as (_, url):
        assert get(url + "healthz")[0] == 200


@pytest.mark.parametrize(
    ("args", "environ", "caller"),
    [
        ((), {}, Caller(everything=True)),
        (("--host", "::1"), {}, Caller(everything=True)),
        ((), {"SPACE_ID": "me/space"}, ANYBODY),
        (("--host", "0.0.0.0"), {"SPACE_ID": "me/space"}, ANYBODY),
        (("--host", "0.0.0.0", "--open"), {}, ANYBODY),
        (("--host", "192.168.0.7", "--open"), {}, ANYBODY),
    ],
)
def test_who_everybody_is(
    models: Path, tmp_path: Path, args: tuple[str, ...], environ: dict[str, str], caller: Caller
) -> None:
    settings = read_settings(["--models", str(models), "--home", str(tmp_path / "home"), *args], environ)
    without_keys = App(settings)
    assert without_keys.accounts is None
    assert without_keys.playground.caller(None) == caller
    without_keys.close()

    key = Accounts(Store(tmp_path / "home")).create("me", ["acme"])
    with_keys = App(settings)
    assert with_keys.accounts is not None
    assert with_keys.playground.caller(with_keys.playground.sign_in(key)) == Caller("me", "acme", manager=True)
    with pytest.raises(InvalidKey):
        with_keys.playground.caller(None)


def test_a_database_that_cannot_be_read_opens_no_door(models: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"garbage" * 1000)
    said = refuse("--models", str(models), "--home", str(tmp_path))
    assert str(tmp_path / FILE_NAME) in said


def test_a_taken_port_is_said(models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refuse("--models", str(models), "--port", port)
