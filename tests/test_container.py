"""The container's files, as far as they can be held against the program without a container."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from playground.accounts import Accounts
from playground.settings import read_settings
from playground.store import Store
from tests.drive import free_port
from tests.server import PATIENCE, ROOT, serving


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its words, lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [
        (name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def all_of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for words in all_of("ENV") for pair in shlex.split(words))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the COPY instructions make."""
    app = tmp_path_factory.mktemp("image") / "app"
    app.mkdir()
    for words in all_of("COPY"):
        *sources, target = words.split()
        for source in sources:
            place = app / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)
    return app


def test_it_runs_as_somebody_without_rights_whose_folders_are_volumes() -> None:
    names = [name for name, _ in instructions()]
    assert all_of("USER") == ["playground"]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "COPY" not in names[names.index("USER") :]
    volumes = json.loads(all_of("VOLUME")[0])
    assert {environment()["PLAYGROUND_HOME"], environment()["HF_HOME"]} == set(volumes)
    assert all(f"{folder}" in all_of("RUN")[0] for folder in volumes)


def test_its_entry_takes_the_programs_flags_and_gets_signals() -> None:
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["python", "app.py"]


def test_its_environment_is_understood(tmp_path: Path) -> None:
    settings = read_settings([], {**environment(), "PLAYGROUND_HOME": str(tmp_path)})
    assert (settings.host, settings.port) == ("0.0.0.0", int(all_of("EXPOSE")[0]))


def test_its_torch_is_the_one_that_is_required() -> None:
    pinned = subprocess.run(
        ["grep", "^torch==", "requirements.txt"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(pinned) == 1
    assert "$(grep '^torch==' requirements.txt)" in all_of("RUN")[1]


def test_what_is_copied_is_let_through_to_the_builder() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {source for words in all_of("COPY") for source in words.split()[:-1]}


def test_the_program_finds_all_that_it_reads(image: Path, tmp_path: Path) -> None:
    """Started out of the copied files alone, with a key, as the entry does, and asked what the health check asks."""
    Accounts(Store(tmp_path)).create("me", [])
    names = {path.relative_to(ROOT) for path in (ROOT / "playground").rglob("*") if path.suffix not in ("", ".pyc")}
    assert [name for name in names if not (image / name).is_file()] == []
    port = free_port()
    environ = {**os.environ, **environment(), "PLAYGROUND_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hub")}
    environ |= {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=image, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert "running at" in process.stdout.readline()
        assert health(environ) == 0
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()
    assert health(environ) != 0


def health(environ: dict[str, str]) -> int:
    """The health check's exit status."""
    command = json.loads(all_of("HEALTHCHECK")[0].partition("CMD ")[2])
    return subprocess.run([sys.executable, *command[1:]], env=environ, capture_output=True, check=False).returncode


def test_the_health_check_needs_no_key(models_file: Path, tmp_path: Path) -> None:
    Accounts(Store(tmp_path)).create("me", [])
    with serving(models_file, tmp_path) as server:
        port = server.url.rpartition(":")[2]
        assert health({**os.environ, "GRADIO_SERVER_PORT": port}) == 0


def test_its_packages_are_all_that_the_program_imports() -> None:
    """Nothing under tests, docs or bench is needed at run time."""
    files = [ROOT / "app.py", *(ROOT / "playground").rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    rooms = {node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert not rooms & {"tests", "docs", "bench"}


def test_compose_asks_for_keys_and_keeps_what_is_written() -> None:
    told = (ROOT / "compose.yaml").read_text()
    (service,) = yaml.safe_load(told)["services"].values()
    assert "keys create" in told
    assert "--open" not in told
    mounted = [volume.split(":")[1] for volume in service["volumes"]]
    assert set(mounted) >= set(json.loads(all_of("VOLUME")[0]))
    assert service["read_only"]


def test_compose_builds_the_image_that_the_docs_build() -> None:
    """One image under one name, with the same torch unless it is told another, and by the same word."""
    (service,) = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    docs = (ROOT / "docs" / "deploy.md").read_text()
    (argument,) = all_of("ARG")
    name, _, default = argument.partition("=")
    assert service["build"]["args"] == {name: f"${{{name}:-{default}}}"}
    assert f"docker build -t {service['image']} ." in docs
    assert service["pull_policy"] == "never", "a registry may have some other image of this name"
    assert f"{name}=https://pypi.org/simple docker compose build" in docs
