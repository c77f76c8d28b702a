"""Who calls a handler, and under which address: both out of the request that Gradio hands over.

Knows what the door in front of the page leaves in a request; refuses to know keys, accounts and models.
"""

from __future__ import annotations

import gradio as gr
from gradio.route_utils import get_root_url

from playground.types import ANYBODY, Caller


def caller_of(request: gr.Request | None) -> Caller:
    """The caller that the door found out; anybody at all where no door has said so."""
    return getattr(getattr(request, "state", None), "caller", ANYBODY)


def address_of(request: gr.Request) -> str:
    """Where the caller's browser reaches this server, proxies before it included; no slash at the end."""
    asked = request.request
    assert asked is not None, "a handler's request is the one that its event came with"
    return get_root_url(asked, asked.url.path, asked.app.root_path)
