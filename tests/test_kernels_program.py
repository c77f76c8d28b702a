"""The program on its compiled kernels: what it answers and says, and the code that it keeps for its next start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playground.local.steppers import Steppers
from tests.server import DEMO, JSON, LLAMA, ROOT, TUNED, Server, serving

COMPLETIONS = "/api/v1/playground/completions"


@pytest.fixture(scope="module")
def house(models_file: Path, tmp_path_factory: pytest.TempPathFactory, kernels_steppers: Steppers) -> Iterator[Server]:
    assert kernels_steppers.wait(0)
    with serving(models_file, tmp_path_factory.mktemp("home"), PLAYGROUND_KERNELS="on") as running:
        yield running


def ask(server: Server, model: str, **settings: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Where is my order?"}], **settings}
    reply = server.post(COMPLETIONS, {"max_tokens": 24, **body})
    assert reply.status == 200
    return reply.json()["data"]


@pytest.mark.parametrize("model", [LLAMA, TUNED, DEMO, JSON])
def test_answers_are_those_of_the_reference(house: Server, server: Server, model: str) -> None:
    """All four in float32, where both round far below any difference between tokens."""
    for settings in ({"temperature": 0}, {"temperature": 0.9, "seed": 5}):
        ours, theirs = ask(house, model, **settings), ask(server, model, **settings)
        assert (ours["content"], ours["usage"]) == (theirs["content"], theirs["usage"])
        assert (ours["stepper"], theirs["stepper"]) == ("kernels", "transformers")


def test_a_seed_is_exact_in_16_bits_too(tmp_path: Path, kernels_steppers: Steppers) -> None:
    """There the reference can promise a seed to nobody who may have company."""
    models = tmp_path / "models.yaml"
    tuned = f"{{id: {JSON}, base_model: {DEMO}, adapter: {ROOT}/demo/adapters/shop-json}}"
    models.write_text(f"models:\n  - {{id: {DEMO}, path: {ROOT}/demo/base}}\n  - {tuned}\n")
    assert kernels_steppers.wait(0)
    with serving(models, tmp_path / "on", PLAYGROUND_KERNELS="on") as house:
        first, second = (ask(house, JSON, temperature=1.0, seed=11) for _ in range(2))
        assert first["content"] == second["content"]
        assert first["exact_seed"]
    with serving(models, tmp_path / "off") as house:
        assert not ask(house, JSON, temperature=1.0, seed=11)["exact_seed"]


def test_metrics_say_what_computed(house: Server) -> None:
    ask(house, LLAMA)
    text = house.get("/metrics").body.decode()
    assert 'playground_answers_computed_total{by="kernels"}' in text


def test_a_fine_tune_in_use_by_itself_is_not_merged(house: Server) -> None:
    """By row it costs next to nothing here, and its answers stay exact."""
    for _ in range(4):
        assert ask(house, TUNED, temperature=1.0)["view"] == "attached"


COMPILE = """
import sys, threading
from pathlib import Path
from playground.local.cpu_step import crew
from playground.local.cpu_step.kernels import Kernels
kernels = Kernels(Path(sys.argv[1]))
kernels.begin()
print(kernels.wait(240), sum(crew.take_part.stats.cache_hits.values()))
"""


def compiled(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder)], capture_output=True, text=True, cwd=ROOT, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_code_is_kept_and_what_is_broken_of_it_is_made_again(tmp_path: Path) -> None:
    assert compiled(tmp_path) == "True 0"
    assert compiled(tmp_path) == "True 1"
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"cut short")
    assert compiled(tmp_path) == "True 0"


def test_a_folder_that_cannot_be_written_to_costs_a_compilation_and_no_more(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text(json.dumps("in the way"))
    assert compiled(place) == "True 0"
