"""The History tab: what was run, looked through and run again. Everything in it is drawn and asked for by history.js,
over REST.

Knows the place where the script draws; what is kept, the API says.
"""

from __future__ import annotations

import gradio as gr

from playground.ui.pane import MOUNT, drawn


def history(enabled: bool) -> gr.HTML:
    """Renders the tab where it is called; `enabled` False runs nothing again."""
    script = "playground.history(element, props, trigger, watch)"
    return drawn({"enabled": enabled}, MOUNT, script, "history")
