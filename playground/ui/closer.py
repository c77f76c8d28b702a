"""The closer looks below a comparison: one closed fold with a tab for each look, filled when it is opened.

Knows the components and when a look is due; what it shows is the look's affair.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import Dependency

from playground.errors import PlaygroundError
from playground.ui import look_views as views
from playground.ui import looks
from playground.ui.composer import Updates, listen
from playground.ui.looks import Asked, Run, Views
from playground.ui.pane import MOUNT, drawn
from playground.ui.streaming import Session, View

if TYPE_CHECKING:
    from playground.service import Playground


@dataclass(frozen=True, slots=True)
class Look:
    """A look's name on its tab, what finds it, and the script that draws it."""

    title: str
    find: Callable[[Asked], Views]
    script: str


LOOKS = {
    "scores": Look("Scores", looks.scores, "scores"),
    "parting": Look("First split", looks.parting, "parting"),
    "prompts": Look("Prompts", looks.prompts, "prompts"),
    "strengths": Look("Strengths", looks.strengths, "strip"),
    "samples": Look("Samples", looks.samples, "strip"),
    "checkpoints": Look("Checkpoints", looks.checkpoints, "strip"),
    "adapter": Look("Adapter", looks.adapter, "adapter"),
    "proof": Look("Proof", looks.proof, "proof"),
}
FIRST = next(iter(LOOKS))


@dataclass(slots=True)
class Looking:
    """Which look a browser session has open, at which run, and the answers that a look is waiting for."""

    run: Run | None = None
    open: bool = False
    name: str = FIRST
    shown: set[str] = field(default_factory=set)
    sessions: dict[str, Session] = field(default_factory=lambda: {name: Session() for name in LOOKS})

    def turn_to(self, run: Run | None) -> None:
        """Another run: what was shown of the last one is of no use, and what it waits for ends."""
        self.run, self.shown = run, set()
        for session in self.sessions.values():
            session.stop()


@dataclass(frozen=True, slots=True)
class Closer:
    """The components: the fold's head with the tabs, and a frame for each look."""

    head: gr.HTML
    frames: dict[str, gr.HTML]

    def empty(self) -> Updates:
        """Every look as before the first run."""
        return {frame: _sent(views.idle(looks.RUN_FIRST)) for frame in self.frames.values()}


def closer() -> Closer:
    """Renders the fold where it is called."""
    # Gradio's own folds and tabs make their parts when they are opened first, and lose what was sent to them before.
    value = {"title": "Look closer", "looks": [[name, look.title] for name, look in LOOKS.items()]}
    script = "playground.fold(element, props, trigger); // triggers 'expand', 'collapse' and 'select'"
    head = drawn(value, MOUNT, script, "closer")
    frames = {}
    with gr.Column(elem_id="looks"):
        for name, look in LOOKS.items():
            script = f"playground.{look.script}(element, props, trigger, watch); // triggers 'submit' and 'stop'"
            frames[name] = drawn(_sent(views.idle(looks.RUN_FIRST)), MOUNT, script, f"look-{name}")
    return Closer(head, frames)


def wire(
    these: Closer,
    state: gr.State,
    looking_of: Callable[[Any], Looking],
    events: Sequence[Dependency],
    playground: Playground,
) -> None:
    """Connects the fold. `looking_of` finds what a session looks at in `state`; after each of `events`, which run
    models, the look that is open is taken anew."""
    on = _Handlers(these, state, looking_of, playground)
    every = set(these.frames.values())
    listen(these.head.collapse, on.fold, {state}, {state}, queue=False)
    opened = listen(these.head.expand, on.unfold, {state}, {state}, queue=False)
    # Gradio drops an event that comes while its last one still runs: a look may take long, and another be opened.
    turned = listen(these.head.select, on.turn, {state}, {state}, queue=False, trigger_mode="multiple")
    for event in (opened, turned, *events):
        event.then(on.look, {state}, every, show_progress="hidden", api_visibility="private", trigger_mode="multiple")
    for name, frame in these.frames.items():
        listen(frame.submit, on.press(name), {state}, {frame})
        listen(frame.stop, on.stop(name), {state}, {state}, queue=False)


@dataclass(frozen=True, slots=True)
class _Handlers:
    """What the fold's events do."""

    these: Closer
    state: gr.State
    looking_of: Callable[[Any], Looking]
    playground: Playground

    async def look(self, values: Mapping[Any, Any]) -> AsyncIterator[Updates]:
        looking = self._looking(values)
        async with aclosing(self._look(looking, looking.name)) as updates:
            async for update in updates:
                yield update

    def press(self, name: str) -> Callable[..., AsyncIterator[Updates]]:
        async def press(values: Mapping[Any, Any], event: gr.EventData) -> AsyncIterator[Updates]:
            count = event.count if isinstance(event.count, int) else looks.SAMPLES
            async with aclosing(self._look(self._looking(values), name, pressed=True, count=count)) as updates:
                async for update in updates:
                    yield update

        return press

    async def turn(self, values: Mapping[Any, Any], event: gr.EventData) -> Updates:
        if event.name in LOOKS:
            self._looking(values).name = event.name
        return {self.state: gr.skip()}

    def stop(self, name: str) -> Callable[..., Awaitable[Updates]]:
        async def stop(values: Mapping[Any, Any]) -> Updates:
            self._looking(values).sessions[name].stop()
            return {self.state: gr.skip()}

        return stop

    async def fold(self, values: Mapping[Any, Any]) -> Updates:
        self._looking(values).open = False
        return {self.state: gr.skip()}

    async def unfold(self, values: Mapping[Any, Any]) -> Updates:
        self._looking(values).open = True
        return {self.state: gr.skip()}

    def _looking(self, values: Mapping[Any, Any]) -> Looking:
        return self.looking_of(values[self.state])

    async def _look(
        self, looking: Looking, name: str, *, pressed: bool = False, count: int = looks.SAMPLES
    ) -> AsyncGenerator[Updates, None]:
        run, frame = looking.run, self.these.frames[name]
        if run is None or not looking.open or (name in looking.shown and not pressed):
            yield {frame: gr.skip()}
            return
        looking.shown.add(name)
        try:
            found = LOOKS[name].find(Asked(run, self.playground, looking.sessions[name], pressed, count))
        except PlaygroundError as error:
            # A model that was there for the run may have gone.
            yield {frame: _sent(views.failed(error))}
            return
        async with aclosing(_while_it_counts(looking, name, found)) as shown:
            async for view in shown:
                yield {frame: _sent(view)}


def _sent(view: View) -> View:
    """One string: what changes within a value reaches a page in steps, and views of unlike shape must not mix."""
    return {"json": json.dumps(view)}


async def _while_it_counts(looking: Looking, name: str, found: Views) -> Views:
    """The look's views as long as the run that it looks at is the last one. One that did not come to its end is
    looked for again when its tab is opened again."""
    run = looking.run
    ended = False
    try:
        async with aclosing(found) as shown:
            async for view in shown:
                if looking.run is not run:
                    return
                ended = view["status"] in ("done", "idle")
                yield view
    finally:
        if not ended and looking.run is run:
            looking.shown.discard(name)
