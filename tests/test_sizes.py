"""What a base takes: told before it is loaded, reserved while it is, and held after; real tiny models of all kinds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from playground import hub
from playground.hub.tensor_files import Tensor
from tests import tiny
from tests.drive import wait_for
from tests.server import Server, serving
from tests.small_hub import SmallHub, Watch
from tests.test_library import load, model

DTYPES = ("auto", "float32", "bfloat16", "int8")
FILES = (*tiny.ARCHITECTURES, "llama-bf16")
NEAR = 0.04
"""Tables of positions, which no file holds, and gemma4's one linear layer outside its numbered layers."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sizes")
    for kind in tiny.ARCHITECTURES:
        tiny.save_base(kind, folder / kind)
    tiny.save_base("llama", folder / "llama-bf16", torch.bfloat16)
    lines = [f"  - {{id: t/{kind}-{dtype}, path: {kind}, dtype: {dtype}}}" for kind in FILES for dtype in DTYPES]
    (folder / "models.yaml").write_text("\n".join(["models:", *lines, "  - {id: org/model}", ""]))
    with serving(folder / "models.yaml", folder / "home") as running:
        yield running


def reserved(server: Server, id: str) -> int:
    """What the registry put aside for a base before it read it."""
    return next(slot.reserved_bytes for slot in server.app.registry._slots.values() if slot.base.id == id)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", FILES)
def test_a_size_is_told_reserved_and_held_alike(house: Server, kind: str, dtype: str) -> None:
    id = f"t/{kind}-{dtype}"
    told = model(house, id)["memory_bytes"]
    load(house, id)
    assert reserved(house, id) == told
    assert model(house, id)["memory_bytes"] == pytest.approx(told, rel=NEAR)


@pytest.fixture
def small_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    base = tiny.save_base("llama", tmp_path / "llama", torch.bfloat16)
    running = SmallHub()
    running.files = {file.name: file.read_bytes() for file in base.iterdir()}
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_size_is_told_before_anything_is_fetched(
    house: Server, small_hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of the headers of the weights on the Hub, which are read alone."""
    monkeypatch.setattr(house.app.playground, "_download_sizes", hub.DownloadSizes(small_hub.url))
    wait_for(lambda: model(house, "org/model")["memory_bytes"])
    before = model(house, "org/model")
    assert before["status"] == "hub"
    assert before["size_bytes"] > before["memory_bytes"], "a tokenizer is fetched too"
    assert small_hub.asked == ["model.safetensors"]
    hub.download("org/model", None, Watch(), endpoint=small_hub.url)
    assert model(house, "org/model")["memory_bytes"] == before["memory_bytes"]
    load(house, "org/model")
    assert reserved(house, "org/model") == before["memory_bytes"]
    assert model(house, "org/model")["memory_bytes"] == pytest.approx(before["memory_bytes"], rel=NEAR)


def test_a_hub_that_tells_no_headers_leaves_the_size_open(small_hub: SmallHub) -> None:
    small_hub.files["model.safetensors"] = b"\xff" * 100
    sizes = hub.DownloadSizes(small_hub.url)
    wait_for(lambda: sizes.of("org/model", None))
    wait_for(lambda: "model.safetensors" in small_hub.asked)
    assert sizes.tensors("org/model", None) is None


def tensor(name: str, *shape: int, dtype: str = "BF16") -> Tensor:
    one = Tensor(name, dtype, shape, 0)
    return Tensor(name, dtype, shape, one.num_values * (4 if dtype == "F32" else 2))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (tensor("model.layers.0.mlp.up_proj.weight", 8, 4), {"auto": 64, "float32": 128, "int8": 32 + 16, "int4": 18}),
        (tensor("model.embed_tokens.weight", 8, 4), {"auto": 64, "float32": 128, "int8": 64, "int4": 64}),
        (tensor("lm_head.weight", 8, 4), {"int8": 64}),
        (tensor("model.layers.0.norm.weight", 8), {"int8": 16}),
        (tensor("model.layers.0.conv1d.weight", 8, 1, 4), {"int8": 64}),
        (tensor("model.vision_tower.layers.0.fc.weight", 8, 4), {"int8": 64}),
        (tensor("model.layers.0.mlp.experts.3.up_proj.weight", 8, 4), {"int8": 64}),
        (tensor("model.visual.blocks.0.fc.weight", 8, 4), {"auto": 0, "int8": 0}),
        (Tensor("model.layers.0.steps", "I64", (3,), 24), {"bfloat16": 24, "float32": 24}),
    ],
)
def test_one_tensor(found: Tensor, wanted: dict[str, Any]) -> None:
    for dtype, num_bytes in wanted.items():
        assert hub.memory_bytes([found], None if dtype == "auto" else dtype) == num_bytes
