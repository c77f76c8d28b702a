"""`app.py merge`, and saving through the service: how far it is, who may, and what one who leaves leaves behind."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from playground import commands, hub, merge_command
from playground.errors import InvalidRequest, ModelNotFound, PlaygroundError
from playground.evidence import Saved
from playground.local import saving
from playground.registry import Registry
from playground.service import Playground
from playground.settings import build_parser
from playground.types import Caller, Progress
from playground.ui.streaming import source
from tests import tiny
from tests.drive import greedy, wait_for
from tests.test_app import ROOT, environment
from tests.test_service import open_door

Door = tuple[Playground, Registry, Path]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    root = tmp_path_factory.mktemp("door")
    base = tiny.save_base("llama", root / "llama")
    tiny.save_adapter("llama", base, root / "tune")
    entries = [
        {"id": "llama", "path": "llama"},
        {"id": "tune", "base_model": "llama", "adapter": "./tune"},
        {"id": "owned", "base_model": "llama", "adapter": "./tune", "owner": "alice"},
        {"id": "small", "path": "llama", "dtype": "int8"},
        {"id": "over-small", "base_model": "small", "adapter": "./tune"},
        {"id": "broken", "base_model": "llama", "adapter": "./tune", "chat_template": "{{ nothing("},
    ]
    playground, registry = open_door(root, entries)
    yield playground, registry, root
    registry.close()


async def save(playground: Playground, model: str, folder: Path, caller: Caller = merge_command.LOCAL) -> list[object]:
    async with aclosing(playground.save(model, folder, caller)) as items:
        return [item async for item in items]


def test_a_save_tells_how_far_it_is_from_the_first_load_on(door: Door, tmp_path: Path) -> None:
    playground, registry, _ = door
    items = asyncio.run(save(playground, "tune", tmp_path / "merged"))
    stages = [item.stage for item in items if isinstance(item, Progress)]
    assert stages[0] == "waiting"
    assert {"loading", "saving"} <= set(stages)
    assert isinstance(items[-1], Saved)
    (tmp_path / "plain").touch()
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "merged").iterdir()}
    assert set(modes.values()) == {(tmp_path / "plain").stat().st_mode}, (
        "whoever reads what is new here reads all of it"
    )
    AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    wait_for(lambda: not [slot for slot in registry._slots.values() if slot.held])


@pytest.mark.parametrize(
    ("model", "caller", "error", "part"),
    [
        ("llama", merge_command.LOCAL, InvalidRequest, "only a fine-tuned model"),
        ("owned", Caller(account="bob"), ModelNotFound, "no model"),
        ("nothing", merge_command.LOCAL, ModelNotFound, "no model"),
        ("over-small", merge_command.LOCAL, InvalidRequest, r"int8.*full precision"),
        ("broken", merge_command.LOCAL, PlaygroundError, "template"),
    ],
)
def test_what_cannot_be_saved_is_refused(
    door: Door, tmp_path: Path, model: str, caller: Caller, error: type[PlaygroundError], part: str
) -> None:
    with pytest.raises(error, match=part):
        asyncio.run(save(door[0], model, tmp_path / "merged", caller))
    assert os.listdir(tmp_path) == []


def test_its_owner_may(door: Door, tmp_path: Path) -> None:
    assert isinstance(asyncio.run(save(door[0], "owned", tmp_path / "merged", Caller(account="alice")))[-1], Saved)


def test_who_leaves_leaves_nothing(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playground, registry, _ = door
    monkeypatch.setattr(saving, "SHARD", "1KB")

    async def leave() -> None:
        async with aclosing(playground.save("tune", tmp_path / "merged", merge_command.LOCAL)) as items:
            async for item in items:
                if isinstance(item, Progress) and item.stage == "saving" and item.fraction:
                    return

    asyncio.run(leave())
    wait_for(lambda: not [slot for slot in registry._slots.values() if slot.held])
    assert os.listdir(tmp_path) == []


def test_the_same_weights_in_int8_answer_beside_them(door: Door) -> None:
    playground, registry, _ = door
    listed = {model.card.id: model.card.dtype for model in playground.models(merge_command.LOCAL)}
    assert (listed["llama"], listed["small"], listed["over-small"]) == (None, "int8", "int8")
    requests = [greedy(model, [7, 8, 9]) for model in ("llama", "small", "over-small")]
    finishes = [answer.finish for answer in asyncio.run(playground.complete_all(requests, merge_command.LOCAL))]
    proofs = [finish.proof for finish in finishes if finish.proof]
    assert [(proof.base, proof.dtype) for proof in proofs] == [
        ("llama", "float32"),
        ("small", "int8"),
        ("small", "int8"),
    ]
    assert [source(finish).split()[:2] for finish in finishes[:2]] == [["llama", "float32"], ["small", "int8"]]
    assert len([slot for slot in registry._slots.values() if slot.engine]) == 2


# --- the command ---


def test_the_command_says_what_it_wrote(door: Door, tmp_path: Path) -> None:
    parser = build_parser()
    commands.add_to(parser)
    args = parser.parse_args(["merge", "tune", str(tmp_path / "merged")])
    out, err = io.StringIO(), io.StringIO()
    assert merge_command.run(args, door[0], out, err) == 0
    assert f"{tmp_path / 'merged'}: " in out.getvalue()
    assert "merged in float32: logits differ by at most" in out.getvalue()
    assert "saving 100%" in err.getvalue()


def test_the_command_takes_a_home_and_a_relative_folder(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = build_parser()
    commands.add_to(parser)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    for named, meant in (("~/merged", tmp_path / "merged"), ("merged", tmp_path / "here" / "merged")):
        assert (
            merge_command.run(parser.parse_args(["merge", "tune", named]), door[0], io.StringIO(), io.StringIO()) == 0
        )
        assert (meant / "model.safetensors").is_file()
    with pytest.raises(InvalidRequest, match="no such person"):
        merge_command.run(parser.parse_args(["merge", "tune", "~nobody-of-this-name/x"]), door[0])


def test_the_real_program_merges_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "merged"
    command = [sys.executable, "app.py", "merge", "playground/shop-json", str(folder), "--home", str(tmp_path / "home")]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == torch.float32
    assert hub.front_matter(folder)["tags"] == ["lora", hub.MARK]
    again = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "nothing is written over" in again.stderr
    assert "Traceback" not in again.stderr
