"""The History tab: what was run, looked through and run again. Everything in it is drawn and asked for by history.js,
over REST.

Knows the place where the script draws, and what a setting is where nobody chose it; what is kept, the API says.
"""

from __future__ import annotations

import gradio as gr

from playground.types import Sampling
from playground.ui.link import NUMBERS
from playground.ui.pane import MOUNT, drawn


def history(enabled: bool) -> gr.HTML:
    """Renders the tab where it is called; `enabled` False runs nothing again."""
    script = "playground.history(element, props, trigger, watch)"
    defaults = {name: getattr(Sampling(), name) for name in NUMBERS}
    return drawn({"enabled": enabled, "defaults": defaults}, MOUNT, script, "history")
