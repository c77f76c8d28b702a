"""A merge on disk: what plain transformers loads is the merged view, bit for bit, and it is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from playground.errors import Cancelled, InvalidRequest, SaveFailed
from playground.hub import front_matter
from playground.local import saving
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.merge import merged_view
from playground.local.steppers import Steppers
from playground.types import ModelCard, Progress
from tests import tiny
from tests.drive import Watch
from tests.test_adapters import TIED
from tests.test_app import ROOT
from tests.test_rows import KINDS, settings_of


def load(base: ModelCard) -> LocalEngine:
    engine = LocalLoader(Steppers(kernels=False), max_rows=4).load(base, Watch(), lambda _: True)
    assert isinstance(engine, LocalEngine)
    engine.prepare(base, Watch())
    return engine


def tune_of(base: ModelCard, adapter: Path) -> ModelCard:
    return ModelCard("me/tune", "tune", "fine-tuned", base.source, 512, base_model=base.id, adapter=str(adapter))


def require_same(folder: Path, engine: LocalEngine, tune: ModelCard) -> None:
    """Every tensor of what is loaded from `folder` is the merged view's."""
    view = merged_view(engine._base.model, engine._fine_tunes[tune.id].adapter)
    both: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    loaded, info = both
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.dtype == view.dtype
    ours = dict(view.named_parameters(remove_duplicate=False))
    theirs = dict(loaded.named_parameters(remove_duplicate=False))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    ids = torch.tensor([[7, 8, 9, 30, 41]])
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(ids).logits, view(ids).logits)


@pytest.mark.parametrize(("name", "dtype"), [("dora", torch.float32), *((name, torch.bfloat16) for name in KINDS)])
@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_what_is_loaded_is_the_merged_view(tmp_path: Path, kind: str, name: str, dtype: torch.dtype) -> None:
    base = ModelCard("tiny", "tiny", "base", str(tiny.save_base(kind, tmp_path / "base", dtype)), 512)
    engine = load(base)
    tune = tune_of(base, tiny.save_adapter(kind, Path(base.source), tmp_path / "a", **settings_of(kind, name)))
    engine.prepare(tune, Watch())
    before = engine.fingerprint()
    saved = engine.save(tune, tmp_path / "merged", Watch())
    require_same(tmp_path / "merged", engine, tune)
    assert engine.fingerprint() == before
    assert saved.fidelity
    engine.close()


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("kind", ["llama", "qwen3_5", "gemma4"])
def test_what_was_tied_is_loaded_as_it_was_merged(tmp_path: Path, kind: str, name: str) -> None:
    folder = tiny.save_base(kind, tmp_path / "base", torch.bfloat16, tied=True)
    base = ModelCard("tiny", "tiny", "base", str(folder), 512)
    settings = {"target_modules": ["q_proj"], **TIED[name]}
    engine = load(base)
    tune = tune_of(base, tiny.save_adapter(kind, folder, tmp_path / "a", **settings))
    engine.prepare(tune, Watch())
    before = engine.fingerprint()
    engine.save(tune, tmp_path / "merged", Watch())
    require_same(tmp_path / "merged", engine, tune)
    assert engine.fingerprint() == before
    view = merged_view(engine._base.model, engine._fine_tunes[tune.id].adapter)
    one = torch.equal(view.get_output_embeddings().weight, view.get_input_embeddings().weight)
    config = AutoConfig.from_pretrained(tmp_path / "merged")
    told = [part.tie_word_embeddings for part in (config, config.get_text_config())]
    # Loaders that go by the configuration alone would tie what has parted.
    assert told == [one, one]
    assert engine._base.model.config.tie_word_embeddings
    engine.close()


# --- the demo ---


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[LocalEngine, ModelCard]]:
    base = ModelCard("playground/shop-demo", "Shop demo", "base", str(ROOT / "demo/base"), 512, dtype="float32")
    engine = load(base)
    tune = tune_of(base, ROOT / "demo/adapters/shop-json")
    engine.prepare(tune, Watch())
    yield engine, tune
    engine.close()


def test_the_demo_merged(demo: tuple[LocalEngine, ModelCard], tmp_path: Path) -> None:
    engine, tune = demo
    watch = Watch()
    folder = tmp_path / "merged"
    saved = engine.save(tune, folder, watch)
    require_same(folder, engine, tune)
    assert saved.folder == str(folder)
    assert saved.num_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert {heard.stage for heard in watch.heard} == {"saving"}
    assert watch.heard[-1].fraction == 1
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    own: Any = AutoTokenizer.from_pretrained(ROOT / "demo/base")
    assert tokenizer("Where is my order?")["input_ids"] == own("Where is my order?")["input_ids"]
    assert tokenizer.chat_template == own.chat_template
    told = [json.loads((place / "generation_config.json").read_text()) for place in (folder, ROOT / "demo/base")]
    assert told[0]["eos_token_id"] == told[1]["eos_token_id"]
    assert os.listdir(tmp_path) == ["merged"]


def test_the_readme_says_where_it_is_from(demo: tuple[LocalEngine, ModelCard], tmp_path: Path) -> None:
    engine, tune = demo
    saved = engine.save(tune, tmp_path / "merged", Watch())
    text = (tmp_path / "merged/README.md").read_text()
    for part in (
        engine.fingerprint(),
        engine._fine_tunes[tune.id].adapter.file_hash,
        "playground/shop-demo",
        "float32",
    ):
        assert part in text
    for figure in saved.fidelity:
        assert f"{figure.way} | {figure.max_difference:.2g}" in text
    assert "license" not in front_matter(tmp_path / "merged")
    written = "".join(file.read_text("latin-1") for file in (tmp_path / "merged").iterdir())
    assert str(ROOT) not in written, "a path of this machine went along"


def test_the_licence_and_the_template_go_along(tmp_path: Path) -> None:
    folder = tiny.save_base("llama", tmp_path / "base")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Base\n")
    base = ModelCard("tiny", "tiny", "base", str(folder), 512)
    adapter = tiny.save_adapter("llama", folder, tmp_path / "a", bias="lora_only")
    template = tiny.TEMPLATE.replace("<|end|>", "<|end|>\n")
    (adapter / "chat_template.jinja").write_text(template)
    engine, tune = load(base), tune_of(base, adapter)
    engine.prepare(tune, Watch())
    saved = engine.save(tune, tmp_path / "merged", Watch())
    assert front_matter(tmp_path / "merged")["license"] == "apache-2.0"
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == template
    assert saved.fidelity == ()
    assert "runs merged only" in (tmp_path / "merged/README.md").read_text()
    require_same(tmp_path / "merged", engine, tune)
    engine.close()


class Leaving(Watch):
    """Leaves once it has heard of this stage's shards as far as `fraction`."""

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self._fraction = fraction

    def report(self, progress: Progress) -> None:
        super().report(progress)
        if progress.fraction is not None and progress.fraction >= self._fraction:
            raise Cancelled("nobody waits")


@pytest.mark.parametrize("fraction", [0, 0.2, 1])
def test_a_cancelled_save_leaves_nothing(
    demo: tuple[LocalEngine, ModelCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    engine, tune = demo
    monkeypatch.setattr(saving, "SHARD", "1MB")
    with pytest.raises(Cancelled):
        engine.save(tune, tmp_path / "merged", Leaving(fraction))
    assert os.listdir(tmp_path) == []
    saved = engine.save(tune, tmp_path / "merged", Watch())
    assert (tmp_path / "merged/model.safetensors.index.json").exists()
    require_same(tmp_path / "merged", engine, tune)
    assert saved.num_bytes > 1e6


def test_a_disk_that_fills_leaves_nothing(
    demo: tuple[LocalEngine, ModelCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, tune = demo

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "_readme", full)
    with pytest.raises(SaveFailed, match="No space left"):
        engine.save(tune, tmp_path / "merged", Watch())
    assert os.listdir(tmp_path) == []


def test_room_on_the_disk_is_asked_for_first(
    demo: tuple[LocalEngine, ModelCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, tune = demo
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SaveFailed, match="make room"):
        engine.save(tune, tmp_path / "merged", Watch())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["full", "empty", "file", "link", "nowhere/merged"])
def test_nothing_is_written_over(demo: tuple[LocalEngine, ModelCard], tmp_path: Path, name: str) -> None:
    engine, tune = demo
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidRequest, match="folder: "):
        engine.save(tune, tmp_path / name, Watch())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_comes_meanwhile_stays(demo: tuple[LocalEngine, ModelCard], tmp_path: Path) -> None:
    engine, tune = demo

    class Meanwhile(Watch):
        def report(self, progress: Progress) -> None:
            if progress.fraction == 1:
                (tmp_path / "merged").mkdir(exist_ok=True)

    with pytest.raises(SaveFailed, match="exists"):
        engine.save(tune, tmp_path / "merged", Meanwhile())
    assert os.listdir(tmp_path) == ["merged"]
    assert os.listdir(tmp_path / "merged") == []
