"""A request in the fragment of the page's address, which browsers keep to themselves: written here, read by link.js.

Knows the names in a fragment and which component each fills. Reading one and copying one is the browser's affair:
no server hears of it before Run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio.events import Dependency

from playground.errors import broken_rule
from playground.types import GenerationRequest, ModelStatus, Sampling
from playground.ui.controls import Controls
from playground.ui.pane import drawn
from playground.ui.streaming import View

VERSION = 1
SIDES: Mapping[str, tuple[str, ...]] = {"compare": ("left", "right"), "single": ("model",)}
"""Each tab's models, by their names in a fragment."""
NUMBERS = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty")
"""The settings on sliders, by their names in a fragment, in `Controls` and in `Sampling`."""
COPY, COPIED_MS = "Copy link", 1200


def fragment(tab: str, requests: Sequence[GenerationRequest]) -> str:
    """What opens `tab` ("compare" or "single") with these requests filled in, one for each of its models.

    From "#" on, percent-encoded. What stands at its default is left out; of a conversation only the last question is
    kept. Raises `InvalidRequest` for what the tab has no place for.
    """
    sides = SIDES.get(tab)
    if sides is None:
        raise broken_rule("tab", tab, f"it must be one of {', '.join(SIDES)}")
    if len(requests) != len(sides):
        raise broken_rule("requests", len(requests), f"{tab} asks {len(sides)}")
    if len({_asked(request) for request in requests}) > 1:
        raise broken_rule("requests", "…", "both sides must ask the same but for model and strength")
    pairs = [("v", str(VERSION)), *_models(sides, requests), *_asked(requests[0])]
    written = f"#{tab}?" + "&".join(f"{name}={quote(value, safe='/')}" for name, value in pairs)
    # Where a link stands in running text, a full stop at its end is taken for the sentence's.
    return f"{written[:-1]}%2E" if written.endswith(".") else written


def _models(sides: Sequence[str], requests: Sequence[GenerationRequest]) -> Iterator[tuple[str, str]]:
    for side, request in zip(sides, requests, strict=True):
        yield side, request.model
        if request.strength != 1:
            if len(sides) == 1:
                raise broken_rule("strength", request.strength, "single runs a model at strength 1")
            yield f"{side}_strength", _number(request.strength)


def _asked(request: GenerationRequest) -> tuple[tuple[str, str], ...]:
    """All but the model and its strength."""
    sampling, default = request.sampling, Sampling()
    questions = [message.content for message in request.messages if message.role == "user"]
    if not questions:
        raise broken_rule("messages", "…", "there must be a question of the user's")
    first = request.messages[0]
    chosen = [(name, getattr(sampling, name)) for name in NUMBERS]
    return (
        ("prompt", questions[-1]),
        *([("system", first.content)] if first.role == "system" else []),
        *((name, _number(value)) for name, value in chosen if value != getattr(default, name)),
        *([("thinking", "1")] if request.thinking else []),
        *([] if sampling.seed is None else [("seed", str(sampling.seed))]),
        *(("stop", stop) for stop in sampling.stop),
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def copy_button(tab: str, enabled: bool) -> gr.Button:
    """Renders the button that copies a link to what stands at `tab` now."""
    return gr.Button(
        COPY,
        size="sm",
        min_width=0,
        scale=0,
        interactive=enabled,
        elem_id=f"{tab}-copy-link",
        elem_classes="pg-view-code pg-copy-link",
    )


def reader(models: Sequence[ModelStatus], settings: Controls) -> gr.HTML:
    """Renders, out of sight, what link.js must know to read a fragment: the models, and what the sliders allow."""
    script = "playground.link.attach(trigger); // triggers 'fill'"
    return drawn(known(models, settings), '<div class="pg-mount"><i hidden></i></div>', script, "link")


def known(models: Sequence[ModelStatus], settings: Controls) -> View:
    """The value of `reader`."""
    sliders: dict[str, gr.Slider] = {name: getattr(settings, name) for name in NUMBERS}
    return {
        "models": [
            {"id": model.card.id, "tune": model.card.type == "fine-tuned", "closed": model.closed} for model in models
        ],
        "numbers": {
            name: {"min": slider.minimum, "max": slider.maximum, "step": slider.step, "default": slider.value}
            for name, slider in sliders.items()
        },
    }


def wire(
    these: gr.HTML,
    tabs: gr.Tabs,
    parts: Mapping[str, Mapping[str, Any]],
    settings: Controls,
    loaded: Dependency,
) -> None:
    """Connects `reader` and the buttons, in the browser alone.

    `parts` are each tab's components: a picker for each of its `SIDES`, their strengths as `<side>_strength` where it
    has any, `prompt`, `notice` and `copy`. After `loaded` the address's own fragment is read.
    """
    shared = {part.name: getattr(settings, part.name) for part in fields(settings)}
    filled: dict[str, Any] = {"tabs": tabs, **shared}
    current: dict[str, Any] = {}
    for tab, of_tab in parts.items():
        written = {name: part for name, part in of_tab.items() if name not in ("notice", "copy")}
        filled |= {f"{tab}.{name}": part for name, part in of_tab.items() if name != "copy"}
        current |= {f"{tab}.{name}": part for name, part in written.items()}
        _wire_copy(these, tab, of_tab["copy"], {**written, **shared})
    fill = _script("fill", list(current), list(filled))
    for event in (these.fill, loaded.then):
        event(None, [these, *current.values()], list(filled.values()), js=fill, api_visibility="private")


def _wire_copy(these: gr.HTML, tab: str, button: gr.Button, written: Mapping[str, Any]) -> None:
    quiet: dict[str, Any] = {"api_visibility": "private"}
    copied = button.click(None, [these, *written.values()], button, js=_script("copy", tab, list(written)), **quiet)
    wait = f"() => new Promise((done) => setTimeout(done, {COPIED_MS}, {json.dumps(COPY)}))"
    copied.then(None, None, button, js=wait, **quiet)


def _script(function: str, *arguments: Any) -> str:
    told = ", ".join(json.dumps(argument) for argument in arguments)
    return f"(known, ...values) => playground.link.{function}({told}, known, values)"
