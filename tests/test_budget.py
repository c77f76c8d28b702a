"""The memory budget over HTTP, on real tiny models: more of them than fit, asked by several at once."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

from playground import hub
from tests import tiny
from tests.drive import PATIENCE
from tests.server import Server, serving
from tests.test_library import ask, load, model, state
from tests.test_registry import four_at_once

BASES = ("t/a", "t/b", "t/c")
MERGED = "t/merged"
NUM_ROUNDS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("budget")
    lines = ["models:"]
    for seed, id in enumerate(BASES):
        tiny.save_base("llama", made / id[-1], seed=seed)
        lines.append(f"  - {{id: {id}, path: {id[-1]}}}")
    tiny.save_adapter("llama", made / "a", made / "tune")
    lines.append(f"  - {{id: {MERGED}, base_model: t/a, adapter: tune, merge: always}}")
    (made / "models.yaml").write_text("\n".join([*lines, ""]))
    return made


def size_of(folder: Path) -> int:
    return hub.memory_bytes(hub.tensors_in(folder / "a"), None)


def serving_with(folder: Path, home: Path, num_bytes: float) -> contextlib.AbstractContextManager[Server]:
    return serving(folder / "models.yaml", home, PLAYGROUND_MEMORY_GB=f"{num_bytes / 1e9:.9f}")


@dataclass
class Sampled:
    """What a server says that it takes, asked again and again until the block ends."""

    server: Server
    budget: set[int] = field(default_factory=set)
    used: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Sampled:
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)

    def _sample(self) -> None:
        while not self._over.is_set():
            text = self.server.get("/metrics").body.decode()
            self.used.append(int(_value(text, "playground_model_memory_bytes")))
            memory = state(self.server)["memory"]
            self.used.append(memory["used_bytes"])
            self.budget.add(memory["budget_bytes"])


def _value(metrics: str, name: str) -> float:
    (found,) = re.findall(rf"^{name} (\S+)$", metrics, re.MULTILINE)
    return float(found)


def answer(client: openai.OpenAI, id: str, seed: int) -> tuple[str, str]:
    """A text drawn with a seed, and why it ended."""
    reply = client.completions.create(model=id, prompt=f"lazy {seed}", seed=seed, max_tokens=24, temperature=1)
    return reply.choices[0].text, str(reply.choices[0].finish_reason)


def test_two_of_three_models_fit_and_four_clients_ask_all_in_turn(folder: Path, tmp_path: Path) -> None:
    asked = [(id, seed) for seed in range(4 * NUM_ROUNDS) for id in BASES]
    with serving_with(folder, tmp_path / "alone", 10 * size_of(folder)) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0)
        alone = {one: answer(client, *one) for one in asked}
    assert len({text for text, _ in alone.values()}) > len(asked) // 2

    found: dict[tuple[str, int], tuple[str, str]] = {}
    with serving_with(folder, tmp_path / "full", 2.2 * size_of(folder)) as server, Sampled(server) as sampled:

        def one_client(number: int) -> None:
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0, timeout=PATIENCE)
            for turn in range(NUM_ROUNDS * len(BASES)):
                one = BASES[(turn + number) % len(BASES)], number * NUM_ROUNDS + turn // len(BASES)
                found[one] = answer(client, *one)

        four_at_once(one_client)
    assert found == alone
    (budget,) = sampled.budget
    assert 1.9 * size_of(folder) < max(sampled.used) <= budget < 3 * size_of(folder)


@pytest.fixture
def narrow(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """Room for two bases, or for one with a merged view over it."""
    with serving_with(folder, tmp_path / "home", 2.2 * size_of(folder)) as running:
        yield running


def test_a_forced_merge_has_an_idle_base_make_room(narrow: Server) -> None:
    assert ask(narrow, "t/a").status == ask(narrow, "t/b").status == 200
    with Sampled(narrow) as sampled:
        reply = ask(narrow, MERGED)
    assert reply.status == 200, reply.body
    assert [model(narrow, id)["status"] for id in ("t/a", "t/b")] == ["ready", "disk"]
    assert max(sampled.used) <= min(sampled.budget)


def test_a_forced_merge_that_cannot_fit_is_refused_with_the_numbers(folder: Path, tmp_path: Path) -> None:
    with serving_with(folder, tmp_path / "home", 1.1 * size_of(folder)) as server:
        load(server, "t/a")
        error = ask(server, MERGED).error()
        assert error["code"] == "model_load_failed"
        needs = rf"{MERGED} needs .* MB of memory beside the .* MB of its base and the budget is .* MB: raise"
        assert re.match(needs, error["message"])
        assert ask(server, "t/a").status == 200
