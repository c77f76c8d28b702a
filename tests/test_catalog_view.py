"""The words of the pickers."""

from __future__ import annotations

from typing import Any

from playground.types import ModelCard, ModelStatus
from playground.ui.catalog_view import choices, first_pair, note


def status(model_id: str, state: Any = "disk", **more: Any) -> ModelStatus:
    size_bytes = more.pop("size_bytes", None)
    kind: Any = "fine-tuned" if "base_model" in more else "base"
    return ModelStatus(ModelCard(model_id, model_id.rpartition("/")[2], kind, "x", **more), state, size_bytes)


def test_each_model_is_told_by_name_state_and_size() -> None:
    models = [
        status("org/base", "ready"),
        status("org/tune", base_model="org/base", size_bytes=442_000),
        status("org/tune/checkpoint-9", base_model="org/base", run="org/tune", step=9),
        status("org/far", "hub", size_bytes=4_600_000_000),
        status("org/lost", "failed", problem="its folder is gone"),
    ]
    assert [label for label, _ in choices(models)] == [
        "base · loaded",
        "↳ tune · on disk · 442 kB",
        "↳ tune/checkpoint-9 · on disk",
        "far · 4.6 GB to download",
        "lost · cannot be run: its folder is gone",
    ]


def test_the_first_pair_needs_no_download() -> None:
    far, near = status("far", "hub"), status("near")
    tune, broken = status("tune", base_model="near"), status("t", "failed", base_model="near", problem="gone")
    assert first_pair([far, status("x", "hub", base_model="far"), near, broken, tune]) == ("near", "tune")
    assert first_pair([]) == (None, None)


def test_the_line_below_tells_what_an_entry_asks_its_weights_to_be() -> None:
    models = [status("whole"), status("small", dtype="int8", context_length=512)]
    assert note(models, "small")["text"] == "Base model · in int8 · 512 tokens of context"
    assert note(models, "whole")["text"] == "Base model"
