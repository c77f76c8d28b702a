"""Who is signed in, with the way in or out, in the corner of the page.

Knows the caller and the addresses of the sign-ins; refuses to know how one signs in.
"""

from __future__ import annotations

from html import escape

import gradio as gr

from playground.ui.calling import caller_of

SIGN_IN = '<div class="pg-account"><a href="login/huggingface">Sign in with Hugging Face</a></div>'
# The Hub shows Spaces in a frame and does not let itself be shown in one.
IN_A_FRAME = """
element.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (link && window.self !== window.top) Object.assign(link, { target: "_blank", rel: "noopener" });
});
"""


def sign_out() -> None:
    """The way out, where everybody on the page is signed in."""
    gr.HTML(_way_out(""), apply_default_css=False, js_on_load=None)


def hub_account(page: gr.Blocks) -> None:
    """The way in, or whoever came in by it and the way out."""

    def show(request: gr.Request) -> str:
        account = caller_of(request).account
        return SIGN_IN if account is None else _way_out(f"<span>{escape(account)}</span>")

    corner = gr.HTML(SIGN_IN, apply_default_css=False, js_on_load=IN_A_FRAME)
    page.load(show, None, corner, show_progress="hidden", api_visibility="private")


def _way_out(name: str) -> str:
    return f'<form class="pg-account" method="post" action="sign-out">{name}<button>Sign out</button></form>'
