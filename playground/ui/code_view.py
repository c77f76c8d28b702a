"""The code of a request: a button, and a panel that shows how a program would ask what Run would ask now.

Both tabs use it. Knows the composer's box and the code's form; which requests stand behind them is the tab's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from playground.errors import PlaygroundError
from playground.snippets import KEY_VARIABLE, snippets
from playground.types import GenerationRequest
from playground.ui.calling import address_of, caller_of
from playground.ui.composer import Composer, Updates, listen
from playground.ui.pane import MOUNT, drawn, problem_view
from playground.ui.streaming import View

if TYPE_CHECKING:
    from playground.service import Playground

CLOSED: View = {"open": False, "snippets": [], "notes": []}
EXAMPLE_NOTE = "The prompt is empty: an example stands in its place."
KEY_NOTE = f"Put a key in the environment as {KEY_VARIABLE}."


@dataclass(frozen=True, slots=True)
class CodeView:
    """The components."""

    button: gr.Button
    panel: gr.HTML


def code_view(tab: str, enabled: bool) -> CodeView:
    """Renders the button where it is called; the panel opens over the page."""
    button = gr.Button(
        "View code",
        size="sm",
        min_width=0,
        scale=0,
        interactive=enabled,
        elem_id=f"{tab}-view-code",
        elem_classes="pg-view-code",
    )
    panel = drawn(CLOSED, MOUNT, "playground.code(element, props, trigger, watch)", f"{tab}-code")
    return CodeView(button, panel)


def wire(
    these: CodeView,
    box: Composer,
    inputs: set[Any],
    present: Callable[[Mapping[Any, Any], str], Sequence[GenerationRequest]],
    playground: Playground,
) -> None:
    """Connects the button; `present` makes the requests that Run would make of the inputs and a prompt."""

    async def show(values: Mapping[Any, Any], request: gr.Request) -> Updates:
        prompt = (values[box.prompt] or "").strip()
        try:
            requests = present(values, prompt or str(box.examples[0].value))
            for asked in requests:
                playground.status(asked.model, caller_of(request))
        except PlaygroundError as error:
            return {box.notice: problem_view(error)}
        code = snippets(requests, address_of(request), playground.keys_on)
        notes = [*([] if prompt else [EXAMPLE_NOTE]), *([KEY_NOTE] if playground.keys_on else [])]
        opened = {"open": True, "snippets": [asdict(snippet) for snippet in code], "notes": notes}
        return {these.panel: opened, box.notice: problem_view(None)}

    listen(these.button.click, show, inputs, {these.panel, box.notice})
