"""The Models tab: what every model takes, into memory and out of it, and fine-tunes added. models.js draws all of it
and asks for it over REST.

Knows the place where the script draws; what there is, the API says.
"""

from __future__ import annotations

import gradio as gr

from playground.ui.pane import MOUNT, drawn


def models(enabled: bool) -> gr.HTML:
    """Renders the tab where it is called; `enabled` False loads nothing."""
    script = "playground.models(element, props, trigger, watch)"
    return drawn({"enabled": enabled}, MOUNT, script, "models")
