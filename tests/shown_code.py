"""Runs code that the page shows, as whoever copied it would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from playground.snippets import KEY_VARIABLE

WAYS = {
    "curl": ("bash", "ask.sh"),
    "Python (openai)": (sys.executable, "ask.py"),
    "Python (httpx)": (sys.executable, "ask.py"),
    "JavaScript (fetch)": ("node", "ask.mjs"),
}


def run(way: str, code: str, folder: Path, key: str | None = None) -> subprocess.CompletedProcess[str]:
    """Saves the code in a folder and runs it; skips the test where its language is not installed."""
    program, file = WAYS[way]
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here to run it")
    (folder / file).write_text(code, encoding="utf-8", newline="")
    env = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    env |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "PYTHONUTF8": "1"}
    env |= {KEY_VARIABLE: key} if key else {}
    return subprocess.run(
        [program, file], cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
