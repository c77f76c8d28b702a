"""The Single tab: a conversation with one model, each answer with its own measurements.

Knows the service and one pane. A question whose answer never came stays in sight and is not sent again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import Dependency

from playground.errors import PlaygroundError
from playground.types import Caller, GenerationRequest, ModelStatus
from playground.ui import catalog_view, code_view
from playground.ui.calling import caller_of
from playground.ui.composer import Composer, composer, listen, messages_of, on_failure, require_prompt
from playground.ui.controls import Controls, read
from playground.ui.keeping import keep
from playground.ui.pane import Pane, pane, problem_view, require_model
from playground.ui.streaming import LiveAnswer, Session, View, answer_all, explain

if TYPE_CHECKING:
    from playground.service import Playground

Updates = dict[Any, Any]


@dataclass(slots=True)
class Exchange:
    """A question and its answer, which may still be growing, or may never have come."""

    question: str
    answer: LiveAnswer


class Conversation(Session):
    """What a browser session's tab holds: the exchanges, and the run."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[Exchange] = []

    def view(self) -> View:
        error = self.exchanges[-1].answer.error if self.exchanges else None
        return {
            "name": "Conversation",
            "chat": True,
            "empty": "Ask something. Every answer keeps its own measurements.",
            "turns": [{"question": e.question, "answer": e.answer.view()} for e in self.exchanges],
            "error": explain(error) if error else None,
        }


@dataclass(frozen=True, slots=True)
class Single:
    """The components of the tab."""

    code: code_view.CodeView
    pane: Pane
    composer: Composer
    clear: gr.Button
    session: gr.State


def single(models: Sequence[ModelStatus], examples: Sequence[str], enabled: bool) -> Single:
    """Renders the tab where it is called."""
    _, model_id = catalog_view.first_pair(models)
    code = code_view.code_view("single", enabled)
    with gr.Column(elem_classes="pg-single"):
        with gr.Column(elem_classes="pg-side"):
            conversation = pane("Model", models, model_id, Conversation().view())
        clear = gr.Button("Clear", size="sm", min_width=0, scale=0, elem_id="clear", elem_classes="pg-clear")
        parts = composer("single", "Write a message", examples, enabled)
    return Single(code, conversation, parts, clear, gr.State(Conversation()))


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to be put as exchange number `index`; `written` in the prompt's box, which it leaves."""

    index: int
    question: str
    written: bool = False


def wire(tab: Single, settings: Controls, playground: Playground) -> list[Dependency]:
    """Connects the tab's buttons; returns the events that run the model."""
    box = tab.composer
    inputs = {tab.session, box.prompt, tab.pane.picker, *settings.inputs}
    outputs = {*box.outputs, tab.pane.frame, tab.clear}

    def runner(ask_of: Callable[[Conversation, Mapping[Any, Any], gr.EventData], Ask]) -> Any:
        async def run(values: Mapping[Any, Any], event: gr.EventData, request: gr.Request) -> AsyncIterator[Updates]:
            session: Conversation = values[tab.session]
            if session.busy:
                yield box.unchanged()
                return
            ask = ask_of(session, values, event)
            async with aclosing(_run(tab, settings, playground, values, ask, caller_of(request))) as updates:
                async for update in updates:
                    yield update

        return run

    async def stop(session: Conversation) -> Updates:
        session.stop()
        return box.stopping() if session.busy else _idle(tab)

    async def broke(session: Conversation) -> Updates:
        session.broke()
        return {**_idle(tab), tab.pane.frame: session.view()}

    async def clear(session: Conversation) -> Updates:
        if not session.busy:
            session.exchanges = []
        return {tab.pane.frame: session.view(), box.notice: problem_view(None)}

    frame = tab.pane.frame
    events = [
        listen([box.run.click, box.prompt.submit], runner(partial(_written, box)), inputs, outputs),
        listen(frame.retry, runner(_retried), inputs, outputs),
        listen(frame.edit, runner(_edited), inputs, outputs),
    ]
    for chip in box.examples:
        events.append(listen(chip.click, runner(partial(_clicked, str(chip.value))), inputs, outputs))
    listen(box.stop.click, stop, [tab.session], outputs, queue=False)
    listen(tab.clear.click, clear, [tab.session], outputs, queue=False)
    on_failure(events, broke, tab.session, outputs)
    code_view.wire(tab.code, box, inputs, partial(_present, tab, settings), playground)
    return events


def _written(box: Composer, session: Conversation, values: Mapping[Any, Any], _: gr.EventData) -> Ask:
    return Ask(len(session.exchanges), values[box.prompt], written=True)


def _clicked(text: str, session: Conversation, *_: object) -> Ask:
    return Ask(len(session.exchanges), text)


def _retried(session: Conversation, _: Mapping[Any, Any], event: gr.EventData) -> Ask:
    return Ask(event.index, session.exchanges[event.index].question)


def _edited(_: Conversation, __: Mapping[Any, Any], event: gr.EventData) -> Ask:
    return Ask(event.index, event.text)


async def _run(
    tab: Single,
    settings: Controls,
    playground: Playground,
    values: Mapping[Any, Any],
    ask: Ask,
    caller: Caller,
) -> AsyncGenerator[Updates, None]:
    """What stood at the place of the exchange, and after it, goes."""
    session: Conversation = values[tab.session]
    kept = session.exchanges[: ask.index]
    try:
        request = _request(tab, settings, values, kept, ask.question)
        name = playground.status(request.model, caller).card.name
    except PlaygroundError as error:
        yield tab.composer.idle(error)
        return
    with session.claimed():
        answer = LiveAnswer(name)
        session.exchanges = [*kept, Exchange(request.messages[-1].content, answer)]
        yield {
            **tab.composer.busy(),
            **({tab.composer.prompt: ""} if ask.written else {}),
            tab.clear: gr.update(interactive=False),
            tab.pane.frame: session.view(),
        }
        try:
            async with aclosing(answer_all(playground, session, [request], [answer], caller)) as changes:
                async for _ in changes:
                    yield {tab.pane.frame: session.view()}
        finally:
            keeping = keep(playground, caller, "single", [request], [answer])
        kept = await keeping
    yield {**_idle(tab, kept.error), tab.pane.frame: session.view()}


def _idle(tab: Single, error: PlaygroundError | None = None) -> Updates:
    return {**tab.composer.idle(error), tab.clear: gr.update(interactive=True)}


def _present(tab: Single, settings: Controls, values: Mapping[Any, Any], prompt: str) -> list[GenerationRequest]:
    session: Conversation = values[tab.session]
    return [_request(tab, settings, values, session.exchanges, prompt)]


def _request(
    tab: Single,
    settings: Controls,
    values: Mapping[Any, Any],
    kept: Sequence[Exchange],
    question: str,
) -> GenerationRequest:
    question = require_prompt(question)
    chosen = read(settings, values)
    model_id = require_model(tab.pane, values)
    turns = [(e.question, e.answer.text) for e in kept if e.answer.text.strip()]
    messages = messages_of(chosen.system, turns, question)
    return GenerationRequest(model_id, messages, sampling=chosen.sampling, thinking=chosen.thinking)
