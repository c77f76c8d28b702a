"""The API's documentation: its commands are run as they stand, and what they answer has the shape that is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server

DOCS = Path(__file__).parent.parent / "docs" / "api.md"
SHOWN = re.findall(r"```sh\n(.*?)```\s+```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
ADDRESS = "http://127.0.0.1:7860"


def shape(value: Any) -> Any:
    """Keys and kinds; of the models listed only the first, since a test's catalog is another one."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def chosen(reply: Any) -> Any:
    """The demo's entries alone out of an inventory."""
    data = reply.get("data", {})
    if "base_models" not in data:
        return reply
    return {"data": {kind: [m for m in models if "shop" in m["id"]] for kind, models in data.items()}}


@pytest.mark.parametrize(("command", "reply"), SHOWN, ids=[command.split()[1] for command, _ in SHOWN])
def test_a_command_answers_as_it_is_shown(demo_server: Server, command: str, reply: str) -> None:
    assert ADDRESS in command
    said = subprocess.run(
        ["bash", "-c", command.replace("curl", "curl -sS").replace(ADDRESS, demo_server.url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found, shown = json.loads(said.stdout), json.loads(reply)
    if "error" in shown:
        assert found == shown
    assert shape(chosen(found)) == shape(shown)


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_runs(demo_server: Server, code: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", code.replace(ADDRESS, demo_server.url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(said.stdout)["intent"]


def test_every_command_is_run() -> None:
    text = DOCS.read_text()
    assert len(SHOWN) == text.count("```sh") == 11
    assert len(PYTHON) == text.count("```python") == 1
