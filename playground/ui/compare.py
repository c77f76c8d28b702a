"""The Compare tab: one prompt, two models, two answers at the same time, and what differs.

Knows the service and the panes. Both sides get the same messages, settings and seed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import Dependency

from playground.errors import PlaygroundError
from playground.insight import Segment, difference, is_json, json_difference
from playground.types import DRAWN_SEEDS, Caller, GenerationRequest, ModelStatus
from playground.ui import catalog_view, closer, code_view, looks
from playground.ui.calling import caller_of
from playground.ui.composer import Composer, composer, listen, messages_of, on_failure, require_prompt
from playground.ui.controls import Controls, read
from playground.ui.pane import MOUNT, Pane, drawn, pane, require_model, side_view
from playground.ui.streaming import LiveAnswer, Session, View, answer_all

if TYPE_CHECKING:
    from playground.service import Playground

Updates = dict[Any, Any]
NO_DIFFERENCE: View = {"summary": "", "flag": "", "segments": [], "fields": [], "names": []}
SIDES = ("Left", "Right")
MAX_STRENGTH = 1.5
_NO_STRENGTH = {"shown": False, "strength": 1, "max": MAX_STRENGTH}


class Comparison(Session):
    """What a browser session's tab holds: the run, the answers it left, and how closely they are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[GenerationRequest] = []
        self.answers: list[LiveAnswer] = []
        self.looking = closer.Looking()

    def run_of(self, caller: Caller) -> looks.Run:
        """What a closer look is at."""
        return looks.Run(tuple(self.requests), tuple(self.answers), SIDES, caller)


@dataclass(frozen=True, slots=True)
class Compare:
    """The components of the tab."""

    code: code_view.CodeView
    composer: Composer
    swap: gr.Button
    left: Pane
    right: Pane
    strengths: tuple[gr.HTML, gr.HTML]
    difference: gr.HTML
    closer: closer.Closer
    session: gr.State

    @property
    def panes(self) -> tuple[Pane, Pane]:
        return self.left, self.right

    def frames(self, answers: Sequence[LiveAnswer | None]) -> Updates:
        return {
            pane.frame: side_view(side, answer) for pane, side, answer in zip(self.panes, SIDES, answers, strict=True)
        }


def compare(models: Sequence[ModelStatus], examples: Sequence[str], enabled: bool) -> Compare:
    """Renders the tab where it is called."""
    chosen = catalog_view.first_pair(models)
    code = code_view.code_view("compare", enabled)
    parts = composer("compare", "Ask both models the same", examples, enabled)
    with gr.Row(equal_height=False, elem_classes="pg-sides"):
        with gr.Column(min_width=0, elem_classes="pg-side"):
            left = pane("Left", models, chosen[0], side_view("Left", None))
            left_strength = _strength("left", models, chosen[0])
        swap = gr.Button("⇄", size="sm", min_width=0, scale=0, elem_id="swap", elem_classes="pg-swap")
        with gr.Column(min_width=0, elem_classes="pg-side"):
            right = pane("Right", models, chosen[1], side_view("Right", None))
            right_strength = _strength("right", models, chosen[1])
    script = "playground.difference(element, props, trigger, watch)"
    differing = drawn(NO_DIFFERENCE, MOUNT, script, "difference")
    strengths = left_strength, right_strength
    return Compare(code, parts, swap, left, right, strengths, differing, closer.closer(), gr.State(Comparison()))


def _strength(side: str, models: Sequence[ModelStatus], chosen: str | None) -> gr.HTML:
    value = {**_NO_STRENGTH, "shown": catalog_view.is_tune(models, chosen)}
    return drawn(value, MOUNT, "playground.strength(element, props, trigger, watch)", f"{side}-strength")


def wire(tab: Compare, settings: Controls, playground: Playground) -> list[Dependency]:
    """Connects the tab's buttons; returns the events that run models."""
    pickers = {tab.left.picker, tab.right.picker}
    inputs = {tab.session, tab.composer.prompt, *pickers, *tab.strengths, *settings.inputs}
    frames = {tab.left.frame, tab.right.frame, tab.difference, *tab.closer.frames.values()}
    outputs = {*tab.composer.outputs, *frames, tab.swap}

    def runner(example: str | None) -> Any:
        async def run(values: Mapping[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
            prompt = example or values[tab.composer.prompt]
            async with aclosing(_run(tab, settings, playground, values, prompt, caller_of(request))) as updates:
                async for update in updates:
                    yield update

        return run

    box = tab.composer
    events = [listen([box.run.click, box.prompt.submit], runner(None), inputs, outputs)]
    for chip in box.examples:
        events.append(listen(chip.click, runner(str(chip.value)), inputs, outputs))

    async def stop(session: Comparison) -> Updates:
        session.stop()
        return box.stopping() if session.busy else _idle(tab)

    async def broke(session: Comparison) -> Updates:
        session.broke()
        return {**_idle(tab), **tab.frames(session.answers or [None, None])}

    async def swap(values: Mapping[Any, Any], request: gr.Request) -> Updates:
        session: Comparison = values[tab.session]
        if session.busy:
            return box.unchanged()
        session.answers, session.requests = session.answers[::-1], session.requests[::-1]
        session.looking.turn_to(session.run_of(caller_of(request)) if session.answers else None)
        models = playground.models(caller_of(request))
        return {
            **{to.picker: values[of.picker] for to, of in zip(tab.panes, reversed(tab.panes), strict=True)},
            **_strengths_shown(tab, models, values, swapped=True),
            **tab.frames(session.answers or [None, None]),
            **tab.closer.empty(),
            tab.difference: await _difference(session, playground, caller_of(request)),
        }

    async def show_strengths(values: Mapping[Any, Any], request: gr.Request) -> Updates:
        return _strengths_shown(tab, playground.models(caller_of(request)), values)

    listen(box.stop.click, stop, [tab.session], outputs, queue=False)
    swapped = listen(
        tab.swap.click, swap, {tab.session, *pickers, *tab.strengths}, outputs | pickers | set(tab.strengths)
    )
    listen([side.picker.input for side in tab.panes], show_strengths, pickers | set(tab.strengths), set(tab.strengths))
    on_failure(events, broke, tab.session, outputs)
    code_view.wire(tab.code, box, inputs, partial(_requests, tab, settings), playground)
    closer.wire(tab.closer, tab.session, lambda session: session.looking, (*events, swapped), playground)
    return events


async def _run(
    tab: Compare,
    settings: Controls,
    playground: Playground,
    values: Mapping[Any, Any],
    prompt: str,
    caller: Caller,
) -> AsyncGenerator[Updates, None]:
    session: Comparison = values[tab.session]
    if session.busy:
        yield tab.composer.unchanged()
        return
    try:
        requests = _with_one_seed(_requests(tab, settings, values, prompt))
        names = [playground.status(request.model, caller).card.name for request in requests]
    except PlaygroundError as error:
        yield tab.composer.idle(error)
        return
    with session.claimed():
        answers = session.answers = [LiveAnswer(name) for name in names]
        session.requests = requests
        session.looking.turn_to(None)
        yield {
            tab.composer.prompt: prompt,
            **tab.composer.busy(),
            tab.swap: gr.update(interactive=False),
            tab.difference: NO_DIFFERENCE,
            **tab.frames(answers),
            **tab.closer.empty(),
        }
        async with aclosing(answer_all(playground, session, requests, answers, caller)) as changes:
            async for _ in changes:
                yield tab.frames(answers)
    session.looking.turn_to(session.run_of(caller))
    yield {**_idle(tab), **tab.frames(answers), tab.difference: await _difference(session, playground, caller)}


def _idle(tab: Compare) -> Updates:
    return {**tab.composer.idle(), tab.swap: gr.update(interactive=True)}


def _requests(tab: Compare, settings: Controls, values: Mapping[Any, Any], prompt: str) -> list[GenerationRequest]:
    prompt = require_prompt(prompt)
    chosen = read(settings, values)
    messages = messages_of(chosen.system, (), prompt)
    return [
        GenerationRequest(
            require_model(side, values),
            messages,
            sampling=chosen.sampling,
            thinking=chosen.thinking,
            strength=values[strength]["strength"],
            alone=False,
        )
        for side, strength in zip(tab.panes, tab.strengths, strict=True)
    ]


def _with_one_seed(requests: Sequence[GenerationRequest]) -> list[GenerationRequest]:
    """Both sides draw from one seed, so that what differs is the models and not their luck."""
    drawn = secrets.randbelow(DRAWN_SEEDS)
    seeds = [drawn if request.sampling.seed is None else request.sampling.seed for request in requests]
    return [
        replace(request, sampling=replace(request.sampling, seed=seed))
        for request, seed in zip(requests, seeds, strict=True)
    ]


def _strengths_shown(
    tab: Compare, models: Sequence[ModelStatus], values: Mapping[Any, Any], *, swapped: bool = False
) -> Updates:
    """Each side's strength as it is set, or as the other side's is; a base has none to set."""
    sides = list(zip(tab.panes, tab.strengths, strict=True))
    updates = {}
    for (_, slider), (side, strength) in zip(sides, reversed(sides) if swapped else sides, strict=True):
        tune = catalog_view.is_tune(models, values[side.picker])
        updates[slider] = {**values[strength], "shown": True} if tune else _NO_STRENGTH
    return updates


async def _difference(session: Comparison, playground: Playground, caller: Caller) -> View:
    """The answers' difference, and a warning above it where a fine-tune changed nothing."""
    view = await differing(session.answers)
    if len(session.answers) < 2:
        return view
    try:
        return {**view, "flag": await looks.flag(session.run_of(caller), playground)}
    except PlaygroundError:
        # The model was let go of meanwhile: the closer look will say so.
        return view


async def differing(answers: Sequence[LiveAnswer]) -> View:
    """What to show below two finished answers; nothing where one is missing or was cut."""
    if len(answers) < 2 or any(answer.state != "done" for answer in answers):
        return NO_DIFFERENCE
    left, right = (answer.text.strip() for answer in answers)
    names = [f"{side} · {answer.model}" for side, answer in zip(SIDES, answers, strict=True)]
    return {**await asyncio.to_thread(difference_view, left, right), "names": names}


def difference_view(left: str, right: str) -> View:
    """The difference of two answers under one sentence that sums it up."""
    if left == right:
        return {**NO_DIFFERENCE, "summary": "None: both answers are the same, character for character."}
    fields = json_difference(left, right)
    if fields is not None:
        num_differing = sum(field.kind != "same" for field in fields)
        summary = f"{num_differing} of {_count(len(fields), 'field')} differ."
        return {**NO_DIFFERENCE, "summary": summary, "fields": [asdict(field) for field in fields]}
    segments = difference(left, right)
    return {
        **NO_DIFFERENCE,
        "summary": _summary(left, right, segments),
        "segments": [asdict(segment) for segment in segments],
    }


def _summary(left: str, right: str, segments: Sequence[Segment]) -> str:
    if is_json(left) != is_json(right):
        return f"Only the {'left' if is_json(left) else 'right'} answer is JSON."
    if not any(segment.kind == "same" for segment in segments):
        return "Nothing in common: no sentence or line appears in both answers."
    if all(segment.kind == "same" for segment in segments):
        return "White space alone."
    return "Marked − is only in the left answer, marked + only in the right one."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
