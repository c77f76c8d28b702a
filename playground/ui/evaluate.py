"""The Evaluate tab: a spec run on one model or two. Everything in it is drawn and asked for by evaluate.js, over REST.

Knows the place where the script draws, and the demo's spec; what an evaluation is, the API says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from playground.types import ModelStatus
from playground.ui.pane import MOUNT, drawn

DEMO_SPEC = Path(__file__).parents[2] / "demo" / "tunedtensor.json"
DEMO_BASE = "playground/shop-demo"


def evaluate(models: Sequence[ModelStatus], enabled: bool) -> gr.HTML:
    """Renders the tab where it is called; `enabled` False shows what was found and begins nothing."""
    script = "playground.evaluate(element, props, trigger, watch)"
    there = DEMO_SPEC.is_file() and any(model.card.id == DEMO_BASE for model in models)
    demo = DEMO_SPEC.read_text("utf-8") if there else None
    return drawn({"enabled": enabled, "demo": demo}, MOUNT, script, "evaluate")
