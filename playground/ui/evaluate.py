"""The Evaluate tab: a spec run on one model or two. Everything in it is drawn and asked for by evaluate.js, over REST.

Knows the place where the script draws; what an evaluation is, the API says.
"""

from __future__ import annotations

import gradio as gr

from playground.ui.pane import MOUNT, drawn


def evaluate(enabled: bool) -> gr.HTML:
    """Renders the tab where it is called; `enabled` False shows what was found and begins nothing."""
    script = "playground.evaluate(element, props, trigger, watch)"
    return drawn({"enabled": enabled}, MOUNT, script, "evaluate")
