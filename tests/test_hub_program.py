"""A model that is fetched by the running program: asked over REST, from a small Hub on loopback."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from filelock import FileLock

from tests import tiny
from tests.drive import PATIENCE, free_port, wait_for
from tests.server import ROOT
from tests.small_hub import SmallHub, small_hub

MODEL = "org/model"
LIBRARY = "/api/v1/playground/library"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = tiny.save_base("llama", tmp_path / "base")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[SmallHub]:
    with small_hub() as running:
        running.files = files
        yield running


@pytest.fixture
def program(server: SmallHub, tmp_path: Path) -> Iterator[httpx2.Client]:
    """The program as a process of its own, to which this Hub is the Hub."""
    (tmp_path / "models.yaml").write_text(f"models:\n- {{id: {MODEL}, context_length: 256}}\n")
    port = str(free_port())
    environ = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hub"), "HOME": str(tmp_path)}
    # How long a connection may stand still before the client lets go of it.
    environ["HF_HUB_DOWNLOAD_TIMEOUT"] = "2"
    command = [sys.executable, "app.py", "--models", f"{tmp_path}/models.yaml", "--home", f"{tmp_path}/home"]
    process = subprocess.Popen([*command, "--port", port], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert "running at" in process.stdout.readline()
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            yield client
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


def listed(program: httpx2.Client) -> dict[str, Any]:
    [model] = program.get(LIBRARY).raise_for_status().json()["data"]["models"]
    return model


def fraction(program: httpx2.Client) -> float:
    progress = listed(program)["progress"]
    return (progress["fraction"] or 0) if progress and progress["stage"] == "downloading" else 0


def do(program: httpx2.Client, verb: str) -> None:
    program.post(f"{LIBRARY}/{verb}", json={"model": MODEL}).raise_for_status()


def test_a_load_is_refused_seen_cancelled_and_gone_on_with(
    program: httpx2.Client, server: SmallHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    wait_for(lambda: listed(program)["size_bytes"])
    assert listed(program)["status"] == "hub"
    server.file_error = (401, "GatedRepo")
    do(program, "load")
    wait_for(lambda: listed(program)["status"] == "failed")
    assert "accept its licence at" in listed(program)["reason"]
    refused = program.post("/v1/completions", json={"model": MODEL, "prompt": "the"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_load_failed")
    assert "accept its licence at" in refused.json()["error"]["message"]

    server.file_error = None
    server.gate.clear()
    do(program, "load")
    wait_for(lambda: fraction(program) > 0.3)
    now = listed(program)
    assert now["status"] == "loading"
    assert "MB of" in now["progress"]["detail"]
    assert now["progress"]["fraction"] < 1

    do(program, "cancel")
    wait_for(lambda: listed(program)["status"] == "hub")
    assert not server.gate.is_set()
    [lock] = tmp_path.glob("hub/hub/.locks/*/*.partial.lock")
    with FileLock(lock, timeout=PATIENCE):
        [partial] = tmp_path.glob("hub/hub/models--org--model/blobs/*.partial")
        num_kept = partial.stat().st_size
    assert num_kept >= len(files["model.safetensors"]) // 2

    do(program, "load")
    server.gate.set()
    wait_for(lambda: listed(program)["status"] == "ready")
    # Sizes were asked for too, by the headers alone.
    fetched = [wanted for wanted in server.ranges if wanted and wanted.endswith("-")]
    assert (fetched[0], fetched[-1]) == ("bytes=0-", f"bytes={num_kept}-")
    [weights] = tmp_path.glob("hub/hub/models--org--model/snapshots/*/model.safetensors")
    assert hashlib.sha256(weights.read_bytes()).digest() == hashlib.sha256(files[weights.name]).digest()
    reply = program.post("/v1/completions", json={"model": MODEL, "prompt": "the", "max_tokens": 3, "temperature": 0})
    assert reply.raise_for_status().json()["usage"]["completion_tokens"] > 0
