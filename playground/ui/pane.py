"""A pane: a model's picker, a line on that model, and the frame in which its answers stand.

The same function serves a conversation and each side of a comparison. Knows components and values;
refuses to know what is asked. Errors have a place of their own in the frame, never among the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from playground.errors import InvalidRequest, PlaygroundError
from playground.types import ModelStatus
from playground.ui import catalog_view
from playground.ui.streaming import LiveAnswer, View, explain, metrics

NOTE = '<p class="pg-note pg-{{value.tone}}" title="{{value.text}}">{{value.text}}</p>'
MOUNT = '<div class="pg-mount"></div>'
Update = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Pane:
    """The components of one pane."""

    name: str
    picker: gr.Dropdown
    note: gr.HTML
    frame: gr.HTML


def pane(name: str, models: Sequence[ModelStatus], chosen: str | None, idle: View) -> Pane:
    """Renders a pane where it is called, its frame showing `idle`."""
    slug = name.lower()
    picker = gr.Dropdown(
        catalog_view.choices(models),
        value=chosen,
        label=name,
        show_label=False,
        container=False,
        elem_id=f"{slug}-picker",
        min_width=120,
    )
    note = drawn(catalog_view.note(models, chosen), NOTE, None, f"{slug}-note")
    frame = drawn(
        idle,
        MOUNT,
        "playground.answer(element, props, trigger, watch); // triggers 'retry' and 'edit'",
        f"{slug}-frame",
    )
    return Pane(name, picker, note, frame)


def drawn(value: View, template: str, script: str | None, elem_id: str) -> gr.HTML:
    """A component that the page's own script or a template draws from `value`."""
    return gr.HTML(value, html_template=template, js_on_load=script, elem_id=elem_id, apply_default_css=False)


def problem(elem_id: str) -> gr.HTML:
    """A place for what is wrong with a request before any model has it."""
    return drawn({"error": None}, MOUNT, "playground.problem(element, props, trigger, watch)", elem_id)


def problem_view(error: PlaygroundError | None) -> View:
    return {"error": explain(error) if error else None}


def side_view(name: str, answer: LiveAnswer | None) -> View:
    """One side of a comparison: a single answer, its error beside it."""
    shown = answer.view() if answer else {**LiveAnswer("", "idle").view(), "metrics": metrics(None)}
    error = explain(answer.error) if answer and answer.error else None
    return {
        "name": f"{name}: answer",
        "chat": False,
        "empty": "The answer appears here.",
        "turns": [{"question": None, "answer": shown}],
        "error": error,
    }


def require_model(these: Pane, values: Mapping[Any, Any]) -> str:
    """The id of the model that is chosen; raises `InvalidRequest` where there is none."""
    if not values[these.picker]:
        raise InvalidRequest(f"{these.name}: no model is chosen.", param="model")
    return values[these.picker]


def refreshed(these: Pane, models: Sequence[ModelStatus], chosen: str | None) -> Update:
    """Updates of a picker and its line to the models' present state."""
    choices = catalog_view.choices(models)
    return {these.picker: gr.update(choices=choices), these.note: catalog_view.note(models, chosen)}
