"""The settings beside the answers, and how their values become a `Sampling`.

Knows the components of the settings; refuses to know who asks, or what is done with the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from playground.errors import broken_rule
from playground.types import Sampling


@dataclass(frozen=True, slots=True)
class Controls:
    """The components; `inputs` is what a handler must be given to read them."""

    system: gr.Textbox
    temperature: gr.Slider
    max_tokens: gr.Slider
    thinking: gr.Checkbox
    top_p: gr.Slider
    top_k: gr.Slider
    seed: gr.Textbox
    stop: gr.Textbox
    frequency_penalty: gr.Slider
    presence_penalty: gr.Slider

    @property
    def inputs(self) -> set[Component]:
        return {getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the settings say now."""

    system: str
    thinking: bool
    sampling: Sampling


def controls() -> Controls:
    """Renders the settings where it is called: four to see, the rest under "More"."""
    system = gr.Textbox(label="System prompt", lines=3, max_lines=10, placeholder="None", elem_id="system-prompt")
    temperature = gr.Slider(0, 2, value=0.7, step=0.05, label="Temperature", elem_id="temperature")
    max_tokens = gr.Slider(1, 4096, value=1024, step=1, label="Max tokens", elem_id="max-tokens")
    with gr.Accordion("More", open=False, elem_id="more"):
        thinking = gr.Checkbox(label="Thinking", info="Let the model think first.", visible=False)
        seed = gr.Textbox(label="Seed", placeholder="Random", max_lines=1, elem_id="seed")
        top_p = gr.Slider(0.01, 1, value=1, step=0.01, label="Top-p")
        top_k = gr.Slider(0, 200, value=0, step=1, label="Top-k", info="0 is off.")
        stop = gr.Textbox(
            label="Stop strings", lines=2, max_lines=4, info=r"One a line, at most 4; \n is a line break."
        )
        frequency_penalty = gr.Slider(-2, 2, value=0, step=0.1, label="Frequency penalty")
        presence_penalty = gr.Slider(-2, 2, value=0, step=0.1, label="Presence penalty")
    return Controls(
        system=system,
        temperature=temperature,
        max_tokens=max_tokens,
        thinking=thinking,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        stop=stop,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
    )


def read(these: Controls, values: Mapping[Any, Any]) -> Chosen:
    """The settings out of a handler's inputs; raises `InvalidRequest`."""
    sampling = Sampling(
        max_tokens=_whole("max_tokens", values[these.max_tokens]),
        temperature=values[these.temperature],
        top_p=values[these.top_p],
        top_k=_whole("top_k", values[these.top_k]),
        seed=_seed(values[these.seed]),
        stop=_stops(values[these.stop]),
        frequency_penalty=values[these.frequency_penalty],
        presence_penalty=values[these.presence_penalty],
    )
    return Chosen((values[these.system] or "").strip(), bool(values[these.thinking]), sampling)


def _whole(name: str, value: float | None) -> int:
    if value is None or value != int(value):
        raise broken_rule(name, value, "it must be a whole number")
    return int(value)


def _seed(text: str | None) -> int | None:
    text = (text or "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise broken_rule("seed", text, "it must be a whole number, or empty for a random one") from None


def _stops(text: str | None) -> tuple[str, ...]:
    lines = (line for line in (text or "").splitlines() if line)
    return tuple(line.replace("\\n", "\n").replace("\\t", "\t") for line in lines)
