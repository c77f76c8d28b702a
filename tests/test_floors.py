"""The house stands: who may import whom, and what stays out until it is needed."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the ground up: a module imports only from floors below its own, or from its own package.
FLOORS = (
    {"errors", "evidence", "patterns", "space"},
    {"types"},
    {"text", "hub", "identity"},
    {"catalog", "prompts", "insight", "snippets", "settings", "store", "metrics"},
    {"local", "remote", "specs"},
    {"registry", "accounts", "history"},
    {"working"},
    {"service", "reports", "voting"},
    {"comparison", "evaluator", "recalling", "library"},
    {"api", "ui", "evaluate_command", "merge_command"},
    {"commands"},
)
ONLY_IN = {
    "torch": ("local",),
    "transformers": ("local",),
    "peft": ("local",),
    "tokenizers": ("local",),
    "openai": ("remote",),
    "gradio": ("ui", "app"),
    "fastapi": ("api", "app"),
    "starlette": ("api", "app"),
}


def modules() -> list[tuple[str, Path]]:
    files = [*sorted((ROOT / "playground").rglob("*.py")), ROOT / "app.py"]
    return [(str(path.relative_to(ROOT)), path) for path in files]


@functools.cache
def imports_of(path: Path) -> set[str]:
    """Absolute names of all that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return parts[1] if parts[0] == "playground" else parts[0]


def floor_of(room: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_imports_only_go_down(name: str, path: Path) -> None:
    room = room_of(name)
    if room in ("app", "__init__"):
        return
    for imported in imports_of(path):
        parts = imported.split(".")
        if parts[0] != "playground" or len(parts) < 2 or parts[1] == room:
            continue
        assert floor_of(parts[1]) < floor_of(room), f"{name} imports {imported}, which is not below it"


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_heavy_libraries_stay_in_their_rooms(name: str, path: Path) -> None:
    for imported in imports_of(path):
        library = imported.split(".")[0]
        assert room_of(name) in ONLY_IN.get(library, (room_of(name),)), f"{name} imports {imported}"


@pytest.mark.parametrize("room", ["api", "ui"])
def test_page_and_api_reach_models_through_the_service_alone(room: str) -> None:
    hidden = {"registry", "local", "remote", "store", "catalog", "hub", "api" if room == "ui" else "ui"}
    for name, path in modules():
        if room_of(name) == room:
            reached = {i.split(".")[1] for i in imports_of(path) if i.startswith("playground.")}
            assert not reached & hidden, name


def test_every_module_says_what_it_is() -> None:
    for name, path in modules():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{name} has no header"


@pytest.mark.parametrize(
    "package", ["playground.ui", "playground.api", "playground.service", "playground.remote", "app"]
)
def test_importing_it_leaves_torch_out(package: str) -> None:
    code = f"import sys, {package}; sys.exit(' '.join({{'torch', 'transformers', 'peft'}} & {{*sys.modules}}) or 0)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
