"""The Compare tab: one prompt, two models, two answers at the same time, and what differs.

Knows the service and the panes. Both sides get the same messages, settings and seed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import Dependency

from playground.errors import PlaygroundError
from playground.history.records import Choice, owner_of
from playground.history.votes import Pair
from playground.types import DRAWN_SEEDS, Caller, GenerationRequest, ModelStatus
from playground.ui import blind, catalog_view, closer, code_view, looks
from playground.ui.calling import caller_of
from playground.ui.composer import Composer, composer, listen, messages_of, on_failure, require_prompt
from playground.ui.controls import Controls, read
from playground.ui.differing import NO_DIFFERENCE, differing
from playground.ui.keeping import keep
from playground.ui.pane import MOUNT, Pane, drawn, pane, require_model, side_view
from playground.ui.streaming import LiveAnswer, Session, View, answer_all

if TYPE_CHECKING:
    from playground.service import Playground

Updates = dict[Any, Any]
SIDES = ("Left", "Right")
MAX_STRENGTH = 1.5
_NO_STRENGTH = {"shown": False, "strength": 1, "max": MAX_STRENGTH, "closed": ""}


class Comparison(Session):
    """What a browser session's tab holds: the run, the answers it left, and how closely they are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[GenerationRequest] = []
        self.answers: list[LiveAnswer] = []
        self.looking = closer.Looking()
        self.blind = blind.Blind()

    def run_of(self, caller: Caller) -> looks.Run:
        """What a closer look is at."""
        return looks.Run(tuple(self.requests), tuple(self.answers), SIDES, caller)


@dataclass(frozen=True, slots=True)
class Compare:
    """The components of the tab."""

    code: code_view.CodeView
    composer: Composer
    blind: gr.HTML
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

    def frames(self, session: Comparison) -> Updates:
        """Both sides as they are now; without their models where a blind vote is to come."""
        answers = session.answers or [None, None]
        views = [side_view(side, answer) for side, answer in zip(SIDES, answers, strict=True)]
        return {pane.frame: session.blind.masked(i, views[i]) for i, pane in enumerate(self.panes)}


def compare(models: Sequence[ModelStatus], examples: Sequence[str], enabled: bool) -> Compare:
    """Renders the tab where it is called."""
    chosen = catalog_view.first_pair(models)
    code = code_view.code_view("compare", enabled)
    parts = composer("compare", "Ask both models the same", examples, enabled)
    bar = blind.blind(enabled)
    with gr.Row(equal_height=False, elem_classes="pg-sides"):
        with gr.Column(min_width=0, elem_classes="pg-side"):
            left = pane("Left", models, chosen[0], side_view("Left", None))
            left_strength = _strength("left", models, chosen[0])
        swap = gr.Button("⇄", size="sm", min_width=0, scale=0, elem_id="swap", elem_classes="pg-swap")
        with gr.Column(min_width=0, elem_classes="pg-side"):
            right = pane("Right", models, chosen[1], side_view("Right", None))
            right_strength = _strength("right", models, chosen[1])
    script = "playground.difference(element, props, trigger, watch)"
    below = drawn(NO_DIFFERENCE, MOUNT, script, "difference")
    strengths = left_strength, right_strength
    return Compare(code, parts, bar, swap, left, right, strengths, below, closer.closer(), gr.State(Comparison()))


def _strength(side: str, models: Sequence[ModelStatus], chosen: str | None) -> gr.HTML:
    value = _strength_view(models, chosen, _NO_STRENGTH)
    return drawn(value, MOUNT, "playground.strength(element, props, trigger, watch)", f"{side}-strength")


def wire(tab: Compare, settings: Controls, playground: Playground) -> list[Dependency]:
    """Connects the tab's buttons; returns the events that run models."""
    on = _Handlers(tab, settings, playground)
    box = tab.composer
    pickers = {tab.left.picker, tab.right.picker}
    placed = {*pickers, *tab.strengths}
    inputs = {tab.session, box.prompt, *placed, *settings.inputs}
    frames = {tab.left.frame, tab.right.frame, tab.difference, *tab.closer.frames.values()}
    outputs = {*box.outputs, *frames, *placed, tab.swap, tab.blind}

    events = [listen([box.run.click, box.prompt.submit], on.run(None), inputs, outputs)]
    for chip in box.examples:
        events.append(listen(chip.click, on.run(str(chip.value)), inputs, outputs))
    listen(box.stop.click, on.stop, [tab.session], outputs, queue=False)
    swapped = listen(tab.swap.click, on.swap, {tab.session, *placed}, outputs)
    listen(tab.blind.select, on.wish, {tab.session}, {tab.blind}, queue=False)
    voted = listen(tab.blind.submit, on.vote, {tab.session, *placed}, outputs)
    listen([side.picker.input for side in tab.panes], on.show_strengths, placed, set(tab.strengths))
    on_failure(events, on.broke, tab.session, outputs)
    code_view.wire(tab.code, box, inputs, partial(_requests, tab, settings), playground)
    closer.wire(tab.closer, tab.session, lambda session: session.looking, (*events, swapped, voted), playground)
    return events


@dataclass(frozen=True, slots=True)
class _Handlers:
    """What the tab's events do."""

    tab: Compare
    settings: Controls
    playground: Playground

    def run(self, example: str | None) -> Callable[..., AsyncIterator[Updates]]:
        async def run(values: Mapping[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
            prompt = example or values[self.tab.composer.prompt]
            running = _run(self.tab, self.settings, self.playground, values, prompt, caller_of(request))
            async with aclosing(running) as updates:
                async for update in updates:
                    yield update

        return run

    async def stop(self, session: Comparison) -> Updates:
        session.stop()
        return self.tab.composer.stopping() if session.busy else _idle(self.tab)

    async def broke(self, session: Comparison) -> Updates:
        session.broke()
        session.blind.end(whole=False, run_id=None)
        return {**_idle(self.tab), **self.tab.frames(session), self.tab.blind: session.blind.view()}

    async def wish(self, values: Mapping[Any, Any], event: gr.EventData) -> Updates:
        session: Comparison = values[self.tab.session]
        session.blind.wanted = event.wanted is True
        return {self.tab.blind: session.blind.view()}

    async def vote(self, values: Mapping[Any, Any], event: gr.EventData, request: gr.Request) -> Updates:
        session: Comparison = values[self.tab.session]
        if session.blind.state != "vote":
            return {self.tab.blind: session.blind.view()}
        caller = caller_of(request)
        session.blind.reveal(await _voted(session, self.playground, blind.choice_of(event.choice), caller))
        return await _revealed(self.tab, session, self.playground, values, caller)

    async def swap(self, values: Mapping[Any, Any], request: gr.Request) -> Updates:
        tab, caller = self.tab, caller_of(request)
        session: Comparison = values[tab.session]
        if session.busy or session.blind.hides:
            return tab.composer.unchanged()
        session.answers, session.requests = session.answers[::-1], session.requests[::-1]
        session.looking.turn_to(session.run_of(caller) if session.answers else None)
        return {
            **_places_changed(tab, self.playground, values, caller),
            **tab.frames(session),
            **tab.closer.empty(),
            tab.difference: await _difference(session, self.playground, caller),
        }

    async def show_strengths(self, values: Mapping[Any, Any], request: gr.Request) -> Updates:
        return _strengths_shown(self.tab, self.playground.models(caller_of(request)), values)


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
        session.blind.begin()
        if session.blind.flipped:
            requests, names = requests[::-1], names[::-1]
        answers = session.answers = [LiveAnswer(name) for name in names]
        session.requests = requests
        session.looking.turn_to(None)
        yield {
            tab.composer.prompt: prompt,
            tab.blind: session.blind.view(),
            **tab.composer.busy(),
            tab.swap: gr.update(interactive=False),
            tab.difference: NO_DIFFERENCE,
            **tab.frames(session),
            **tab.closer.empty(),
        }
        try:
            async with aclosing(answer_all(playground, session, requests, answers, caller)) as changes:
                async for _ in changes:
                    yield tab.frames(session)
        finally:
            keeping = keep(playground, caller, "compare", requests, answers)
        kept = await keeping
    session.blind.end(whole=all(answer.state == "done" for answer in answers), run_id=kept.run_id)
    if session.blind.hides:
        yield {**_idle(tab, kept.error), **tab.frames(session), tab.blind: session.blind.view()}
    else:
        yield {**await _revealed(tab, session, playground, values, caller), **_idle(tab, kept.error)}


async def _revealed(
    tab: Compare, session: Comparison, playground: Playground, values: Mapping[Any, Any], caller: Caller
) -> Updates:
    """Everything that tells of the answers' models; the pickers are put where their models turned out to be."""
    session.looking.turn_to(session.run_of(caller))
    updates = {
        **tab.frames(session),
        tab.blind: session.blind.view(),
        tab.difference: await _difference(session, playground, caller),
    }
    if session.blind.flipped:
        session.blind.flipped = False
        updates |= _places_changed(tab, playground, values, caller)
    return updates


def _places_changed(tab: Compare, playground: Playground, values: Mapping[Any, Any], caller: Caller) -> Updates:
    """What was chosen on the left is chosen on the right, and the other way round."""
    pickers = {to.picker: values[of.picker] for to, of in zip(tab.panes, tab.panes[::-1], strict=True)}
    return pickers | _strengths_shown(tab, playground.models(caller), values, swapped=True)


async def _voted(session: Comparison, playground: Playground, choice: Choice | None, caller: Caller) -> str:
    """Keeps a vote on the run that is shown; what to say of it."""
    if choice is None:
        return blind.NOT_VOTED
    words = blind.WORDS[choice]
    if session.blind.run_id is None:
        return f"{words} {blind.NOT_KEPT}"
    left, right = session.requests
    pair = Pair(left.messages, (left.model, right.model), (session.answers[0].text, session.answers[1].text))
    try:
        await asyncio.to_thread(playground.history.votes.on_run, owner_of(caller), session.blind.run_id, pair, choice)
    except PlaygroundError as error:
        return f"{words} The vote was not kept: {error.message}"
    return words


def _idle(tab: Compare, error: PlaygroundError | None = None) -> Updates:
    return {**tab.composer.idle(error), tab.swap: gr.update(interactive=True)}


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
        view = _strength_view(models, values[side.picker], values[strength])
        # What stays is not sent: it would undo what the person sets in the meantime.
        updates[slider] = gr.skip() if view == values[slider] else view
    return updates


def _strength_view(models: Sequence[ModelStatus], chosen: str | None, set_so_far: View) -> View:
    """A base has no strength, and a fine-tune that another server answers for has no other than 1."""
    tune = catalog_view.tune(models, chosen)
    if tune is None or tune.closed:
        return {**_NO_STRENGTH, "shown": tune is not None, "closed": tune.closed if tune else ""}
    return {**set_so_far, "shown": True, "closed": ""}


async def _difference(session: Comparison, playground: Playground, caller: Caller) -> View:
    """The answers' difference, and a warning above it where a fine-tune changed nothing."""
    view = await differing(session.answers, SIDES)
    if len(session.answers) < 2:
        return view
    try:
        return {**view, "flag": await looks.flag(session.run_of(caller), playground)}
    except PlaygroundError:
        # The model was let go of meanwhile: the closer look will say so.
        return view
