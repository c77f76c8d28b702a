"""A Hugging Face Space: its settings, its card, and the program started as a Space starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from playwright.sync_api import expect

from playground import space
from playground.settings import read_settings
from tests.drive import free_port
from tests.server import PATIENCE, ROOT

SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "me/playground",
    "SPACE_HOST": "me-playground.hf.space",
    "SPACE_AUTHOR_NAME": "me",
}
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
DEMO = {
    "model": "playground/shop-json",
    "messages": [{"role": "user", "content": "Where is my lamp?"}],
    "max_tokens": 40,
}


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Space's storage, made where `/data` would be."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(space, "STORAGE", folder)
    return folder


def card() -> dict:
    return yaml.safe_load((ROOT / "README.md").read_text().split("---\n")[1])


def test_the_card_is_what_a_space_reads() -> None:
    entries = card()
    assert (entries["sdk"], entries["app_file"]) == ("gradio", "app.py")
    assert entries["sdk_version"] == version("gradio")
    assert (ROOT / entries["app_file"]).is_file()
    assert sys.version_info[:2] >= tuple(map(int, entries["python_version"].split("."))) >= (3, 11)
    assert {entries["colorFrom"], entries["colorTo"]} <= COLORS
    assert len(entries["short_description"]) <= 60
    assert entries["license"] == "apache-2.0"
    assert (ROOT / "LICENSE").is_file()


def test_its_requirements_agree_with_what_a_space_installs_beside_them() -> None:
    """A Space installs gradio[oauth,mcp] at the card's version in the same go, and ZeroGPU takes plain torch alone."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    ours = {one.name.lower(): one.specifier for one in map(Requirement, (line for line in lines if line[0] != "#"))}
    assert card()["sdk_version"] in ours["gradio"]
    assert "+" not in str(ours["torch"])
    extras = [one for one in map(Requirement, requires("gradio") or ()) if one.marker and "extra" in str(one.marker)]
    shared = [one for one in extras if one.name in ours and one.marker and one.marker.evaluate({"extra": "mcp"})]
    assert [one.name for one in shared] == ["pydantic"]
    most = next(one.version for one in shared[0].specifier if one.operator == "<=")
    assert most in ours["pydantic"]


def test_elsewhere_nothing_is_a_space(storage: Path) -> None:
    assert space.variables({}) == {}
    settings = read_settings([], {})
    assert (settings.host, settings.on_space, settings.forgets) == ("127.0.0.1", False, False)
    assert not settings.home.is_relative_to(storage)
    assert not space.has_zero_gpu({"SPACES_ZERO_GPU": "true"})


def test_a_space_with_storage_keeps_everything_there(storage: Path) -> None:
    settings = read_settings([], SPACE)
    assert (settings.host, settings.port, settings.on_space) == ("0.0.0.0", 7860, True)
    assert settings.home == storage / "playground"
    assert not settings.forgets
    assert space.variables(SPACE) == {"HF_HOME": str(storage / "huggingface")}
    assert space.variables({**SPACE, "HF_HOME": "/elsewhere"}) == {}


def test_a_space_without_storage_says_that_it_forgets(storage: Path, tmp_path: Path) -> None:
    storage.rmdir()
    settings = read_settings([], SPACE)
    assert settings.forgets
    assert not settings.home.is_relative_to(storage)
    assert space.variables(SPACE) == {}
    assert not read_settings([], {**SPACE, "PLAYGROUND_HOME": str(tmp_path)}).forgets


def test_a_space_may_be_told_otherwise(storage: Path) -> None:
    told = {**SPACE, "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": "9000"}
    settings = read_settings([], told)
    assert (settings.host, settings.port) == ("127.0.0.1", 9000)


# The program, as a Space starts it


@contextmanager
def as_a_space_starts_it(
    checkout: Path, folder: Path, start: str = "app.py", **extra: str
) -> Iterator[tuple[str, str]]:
    """The program out of a checkout that it cannot write to, by a Space's variables alone; its address and what it
    said."""
    port = free_port()
    names = ("PLAYGROUND_HOME", "HF_HOME", "PLAYGROUND_MODELS")
    environ = {name: value for name, value in os.environ.items() if name not in names}
    here = {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
    }
    command = [sys.executable, *(("-c", start) if start != "app.py" else (start,))]
    # Permissions do not bind a root: without these capabilities they do.
    if os.geteuid() == 0:
        command = [
            "setpriv",
            "--bounding-set",
            "-dac_override,-dac_read_search,-fowner,-chown",
            "--inh-caps",
            "-all",
            *command,
        ]
    process = subprocess.Popen(
        command,
        cwd=checkout,
        env={**environ, **SPACE, **here, **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        while "running at" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield f"http://127.0.0.1:{port}/", said
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a checkout holds, with every permission to write taken away."""
    folder = tmp_path_factory.mktemp("checkout") / "app"
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/images/", ".venv")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for place in [folder, *folder.rglob("*")]:
        place.chmod(0o555 if place.is_dir() else 0o444)
    return folder


def all_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def warnings_in(said: str) -> list[str]:
    """Gradio says things of its own on a Space."""
    return [line for line in said.splitlines() if line.startswith(("WARNING", "ERROR"))]


def asked(url: str, body: object | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=PATIENCE
    ) as answer:
        return answer.read().decode()


def test_page_demo_and_rest_answer_out_of_a_checkout_that_cannot_be_written_to(
    checkout: Path, tmp_path: Path, visit
) -> None:
    before = all_of(checkout)
    with as_a_space_starts_it(checkout, tmp_path) as (url, said):
        (warning,) = warnings_in(said)
        assert "no persistent storage" in warning
        assert str(tmp_path / "playground") in warning
        person = visit(url).open()
        person.ask("How much is delivery?", "compare")
        for side in ("left", "right"):
            person.expect_state(side, "done")
            expect(person.text(side)).to_have_text(re.compile(r"\w+"))
        person.page.close()
        reply = json.loads(asked(f"{url}api/v1/playground/completions", DEMO))
        assert reply["data"]["content"]
    assert all_of(checkout) == before
    assert (tmp_path / "playground").is_dir()


def test_with_storage_everything_lies_there_and_nothing_is_said(checkout: Path, tmp_path: Path) -> None:
    data, rest = tmp_path / "data", tmp_path / "rest"
    data.mkdir()
    rest.mkdir()
    start = (
        "import pathlib, runpy, playground.space as space\n"
        f"space.STORAGE = pathlib.Path({str(data)!r})\n"
        "runpy.run_path('app.py', run_name='__main__')\n"
    )
    with as_a_space_starts_it(checkout, rest, start) as (url, said):
        assert warnings_in(said) == []
        assert json.loads(asked(f"{url}api/v1/playground/completions", DEMO))["data"]["content"]
    assert (data / "playground").is_dir()
    assert not (rest / "playground").exists()
