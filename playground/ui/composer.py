"""Where a prompt is written: its box, Run and Stop in one place, examples to click, what is wrong with it.

Both tabs use it. Knows components only; what running means is the tab's affair.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from playground.errors import InvalidRequest, PlaygroundError
from playground.types import Message
from playground.ui.pane import problem, problem_view

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Composer:
    """The components."""

    prompt: gr.Textbox
    run: gr.Button
    stop: gr.Button
    examples: tuple[gr.Button, ...]
    notice: gr.HTML
    enabled: bool

    def busy(self) -> Updates:
        """Stop stands where Run stood."""
        return {
            self.run: gr.update(visible=False),
            self.stop: gr.update(visible=True, interactive=True),
            self.notice: problem_view(None),
            **{example: gr.update(interactive=False) for example in self.examples},
        }

    def unchanged(self) -> Updates:
        """For a run that may not start: a generator that yields nothing at all would empty its outputs."""
        return {self.run: gr.skip()}

    def stopping(self) -> Updates:
        """The run ends by itself in a moment; one press is enough."""
        return {self.stop: gr.update(interactive=False)}

    def idle(self, error: PlaygroundError | None = None) -> Updates:
        return {
            self.run: gr.update(visible=True),
            self.stop: gr.update(visible=False),
            self.notice: problem_view(error),
            **{example: gr.update(interactive=self.enabled) for example in self.examples},
        }

    @property
    def outputs(self) -> set[Any]:
        return {self.prompt, self.run, self.stop, self.notice, *self.examples}


def composer(tab: str, placeholder: str, examples: Sequence[str], enabled: bool) -> Composer:
    """Renders a composer where it is called."""
    with gr.Row(elem_classes="pg-composer", equal_height=False):
        prompt = gr.Textbox(
            label="Prompt",
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            placeholder=placeholder,
            elem_id=f"{tab}-prompt",
            html_attributes=gr.InputHTMLAttributes(enterkeyhint="send"),
            scale=1,
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=92, interactive=enabled, elem_id=f"{tab}-run")
        stop = gr.Button("Stop", variant="secondary", scale=0, min_width=92, visible=False, elem_id=f"{tab}-stop")
    with gr.Row(elem_classes="pg-examples"):
        chips = tuple(gr.Button(text, size="sm", scale=0, min_width=0, interactive=enabled) for text in examples)
    return Composer(prompt, run, stop, chips, problem(f"{tab}-notice"), enabled)


def require_prompt(text: str | None) -> str:
    """The prompt without white space around it; raises `InvalidRequest` where nothing is left."""
    stripped = (text or "").strip()
    if not stripped:
        raise InvalidRequest("The prompt is empty: write what the model should answer.", param="prompt")
    return stripped


def messages_of(system: str, turns: Sequence[tuple[str, str]], prompt: str) -> tuple[Message, ...]:
    """System prompt if there is one, earlier (question, answer) turns, and the prompt."""
    messages = [Message("system", system)] if system else []
    for question, answer in turns:
        messages += [Message("user", question), Message("assistant", answer)]
    return (*messages, Message("user", prompt))


def listen(
    triggers: Callable[..., Dependency] | Sequence[Callable[..., Dependency]],
    handler: Callable[..., Any],
    inputs: set[Any] | list[Any],
    outputs: set[Any],
    **options: Any,
) -> Dependency:
    """An event that keeps out of the API and of sight, and waits for no other."""
    return gr.on(
        triggers,
        handler,
        inputs=inputs,
        outputs=outputs,
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=None,
        **options,
    )


def on_failure(
    events: Sequence[Dependency], reset: Callable[..., Awaitable[Updates]], session: gr.State, outputs: set[Any]
) -> None:
    """Whatever breaks in a handler, its buttons come back."""
    for event in events:
        event.failure(reset, [session], list(outputs), show_progress="hidden", api_visibility="private")
