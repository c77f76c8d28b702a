"""The closer looks at a comparison that was run: each asks the service for one thing and tells it as it comes.

Knows the service, the run and the views; nothing of components. A look is an async generator of views: closing it
ends what it asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from playground import comparison
from playground.comparison import Said
from playground.errors import PlaygroundError
from playground.types import Caller, GenerationRequest, ModelCard
from playground.ui import look_views as views
from playground.ui.streaming import HEARTBEAT_SECONDS, LiveAnswer, Session, View, answer_all

if TYPE_CHECKING:
    from playground.service import Playground

T = TypeVar("T")
Views = AsyncGenerator[View, None]

STRENGTHS = (0.0, 0.5, 1.0, 1.5)
SAMPLES, MAX_SAMPLES = 4, 8
RUN_FIRST = "Run a prompt first."


@dataclass(frozen=True, slots=True)
class Run:
    """What was run and what came of it, left side first."""

    requests: Sequence[GenerationRequest]
    answers: Sequence[LiveAnswer]
    sides: Sequence[str]
    caller: Caller

    @property
    def names(self) -> list[str]:
        """The sides with their models."""
        return [f"{side} · {model}" for side, model in zip(self.sides, self._models(), strict=True)]

    @property
    def models(self) -> list[str]:
        """The sides' models; told apart where both are the same."""
        models = self._models()
        return models if models[0] != models[1] else self.names

    def _models(self) -> list[str]:
        pairs = zip(self.answers, self.requests, strict=True)
        return [a.model if r.strength == 1 else f"{a.model} at {r.strength:g}" for a, r in pairs]


@dataclass(frozen=True, slots=True)
class Asked:
    """One look: at which run, in which session (several answers can be stopped there). `pressed` says that the
    person asks for the part that costs time, with `count` answers a side where that part is samples."""

    run: Run
    playground: Playground
    session: Session
    pressed: bool = False
    count: int = SAMPLES


def prompts(asked: Asked) -> Views:
    """What each side was really sent."""
    run = asked.run
    if why := _closed(asked):
        return _once(views.idle(why))

    async def find() -> View:
        sides = await _each(asked.playground.render(request, run.caller) for request in run.requests)
        return await asyncio.to_thread(views.prompts_view, run.names, sides)

    return _found(find())


def scores(asked: Asked) -> Views:
    """Each answer under the other model."""
    run = asked.run
    if why := _closed(asked):
        return _once(views.idle(why))
    said = [Said(tuple(answer.token_ids), answer.text, tuple(answer.thought)) for answer in run.answers]

    async def find() -> View:
        found = await comparison.cross_scores(asked.playground, run.requests, said, run.caller)
        return await asyncio.to_thread(views.scores_view, run.names, run.models, found)

    return _found(find())


def parting(asked: Asked) -> Views:
    """Where the greedy answers part."""
    run = asked.run
    if why := _closed(asked):
        return _once(views.idle(why))

    async def find() -> View:
        return views.parting_view(run.names, await comparison.parting(asked.playground, run.requests, run.caller))

    return _found(find())


def strengths(asked: Asked) -> Views:
    """One fine-tune at several strengths, in one batch."""
    tunes = _tunes(asked)
    if not tunes:
        only = "Only a fine-tune has a strength: choose one on either side and run."
        return _once(views.idle(_closed(asked) or only))
    hint = "Asks the same at strengths 0, 0.5, 1 and 1.5, all at once."
    if not asked.pressed:
        return _once(views.idle(hint) | {"run": "Run the strip"})
    tune, card = tunes[-1]
    labelled = [(f"{card.name} at {strength:g}", replace(tune, strength=strength)) for strength in STRENGTHS]
    return _strip(asked, labelled, {"hint": hint, "columns": len(STRENGTHS)})


def samples(asked: Asked) -> Views:
    """Several answers a side, each pair with one seed."""
    run = asked.run
    count = max(1, min(MAX_SAMPLES, asked.count))
    hint = "Asks each side again with other seeds, the same ones on both, to tell tuning from luck."
    extra = {"hint": hint, "count": count, "max": MAX_SAMPLES, "columns": 2}
    if not asked.pressed:
        return _once(views.idle(hint) | extra | {"run": "Run the samples"})
    labelled = [
        (f"{name} · seed {drawn.seed}", request.drawn_by(drawn))
        for i in range(count)
        for name, request in zip(run.models, run.requests, strict=True)
        for drawn in (request.sampling.of_choice(i),)
    ]
    greedy = run.requests[0].sampling.temperature == 0

    def told(answers: Sequence[LiveAnswer]) -> list[str]:
        sides = [[answer.text.strip() for answer in answers[side::2] if answer.state == "done"] for side in (0, 1)]
        return views.samples_summary(run.models, sides, greedy)

    return _strip(asked, labelled, extra, told)


def checkpoints(asked: Asked) -> Views:
    """A base and the checkpoints of one training run, in their order."""
    runs = [card.run for _, card in _cards(asked) if card.run is not None]
    if not runs:
        hint = "Neither side is a training run with checkpoints: choose a fine-tune that has some, and run."
        return _once(views.idle(hint))
    hint = "Asks the base and each checkpoint of the run the same, in the order of training."
    if not asked.pressed:
        return _once(views.idle(hint) | {"run": "Run the checkpoints"})
    cards = [model.card for model in asked.playground.models(asked.run.caller) if model.card.problem is None]
    of_run = [card for card in cards if card.run == runs[-1]]
    of_run.sort(key=lambda card: (card.step is None, card.step or 0))
    base = next(card for card in cards if card.id == of_run[0].base_model)
    request = asked.run.requests[0]
    labelled = [(_of_step(card), replace(request, model=card.id, strength=1.0)) for card in (base, *of_run)]
    return _strip(asked, labelled, {"hint": hint, "columns": 4})


def adapter(asked: Asked) -> Views:
    """Each fine-tune's adapter; on demand how faithfully it can be merged."""
    run, playground = asked.run, asked.playground
    tunes = _tunes(asked)
    if not tunes:
        return _once(views.idle(_closed(asked) or "Neither side has an adapter: choose a fine-tune and run."))

    async def find() -> View:
        found = [(card.name, await playground.describe(card.id, run.caller)) for _, card in tunes]
        if not asked.pressed:
            return views.adapter_view(found)
        merging = _each(playground.fidelity(replace(request, strength=1.0), run.caller) for request, _ in tunes)
        return views.adapter_view(found, await merging)

    return _found(find())


def proof(asked: Asked) -> Views:
    """What gave each answer; on demand held against the weights and files as they are now."""
    run, playground = asked.run, asked.playground
    if why := _closed(asked):
        return _once(views.idle(why))
    finishes = [answer.finish for answer in run.answers if answer.finish is not None]
    proofs = [finish.proof for finish in finishes if finish.proof is not None]
    if len(proofs) < len(run.answers):
        return _once(views.idle("Only an answer that came to its end has a proof: let both sides end."))

    async def find() -> View:
        flagged = await flag(run, playground)
        if not asked.pressed:
            return views.proof_view(run.names, finishes, flagged)
        pairs = zip(run.requests, proofs, strict=True)
        verdicts = await _each(playground.check(request, one, run.caller) for request, one in pairs)
        return views.proof_view(run.names, finishes, flagged, verdicts)

    return _found(find())


async def flag(run: Run, playground: Playground) -> str:
    """A sentence where a fine-tune that was run changes nothing, with the likeliest reason; else nothing."""
    proofs = [answer.finish.proof if answer.finish else None for answer in run.answers]
    idle = await comparison.unchanged(playground, run.requests, proofs, run.caller)
    told = []
    for request in idle:
        details = await playground.describe(request.model, run.caller)
        name = playground.status(request.model, run.caller).card.name
        told.append(f"{name} changes nothing here. {comparison.why_nothing(details, request.strength)}")
    return " ".join(dict.fromkeys(told))


def _closed(asked: Asked) -> str:
    """Why one of the sides cannot be looked into; empty where both can."""
    found = [asked.playground.status(request.model, asked.run.caller) for request in asked.run.requests]
    return next((f"{model.card.name}: {model.closed}" for model in found if model.closed), "")


def _tunes(asked: Asked) -> list[tuple[GenerationRequest, ModelCard]]:
    """The sides that have an adapter here."""
    return [(request, card) for request, card in _cards(asked) if card.type == "fine-tuned" and not card.is_remote]


def _cards(asked: Asked) -> list[tuple[GenerationRequest, ModelCard]]:
    status = asked.playground.status
    return [(request, status(request.model, asked.run.caller).card) for request in asked.run.requests]


def _of_step(card: ModelCard) -> str:
    if card.type == "base":
        return f"{card.name} · base"
    return f"step {card.step}" if card.step is not None else f"{card.name} · end"


async def _each(questions: Iterable[Awaitable[T]]) -> list[T]:
    """The answers to questions asked one after another: they run in the same engine."""
    return [await question for question in questions]


async def _found(seeking: Awaitable[View]) -> Views:
    """A view at least every `HEARTBEAT_SECONDS` while one is sought, then what was found or went wrong."""
    task = asyncio.ensure_future(seeking)
    try:
        while not task.done():
            yield views.working()
            await asyncio.wait({task}, timeout=HEARTBEAT_SECONDS)
        try:
            yield task.result()
        except PlaygroundError as error:
            yield views.failed(error)
    finally:
        task.cancel()


async def _once(view: View) -> Views:
    yield view


async def _strip(
    asked: Asked,
    labelled: Sequence[tuple[str, GenerationRequest]],
    extra: View,
    told: Callable[[Sequence[LiveAnswer]], list[str]] = lambda _: [],
) -> Views:
    """Several answers growing side by side; `told` sums them up at the end."""
    answers = [LiveAnswer(label) for label, _ in labelled]
    requests = [request for _, request in labelled]
    yield views.strip_view(answers, []) | extra
    running = answer_all(asked.playground, asked.session, requests, answers, asked.run.caller)
    async with aclosing(running) as changes:
        async for _ in changes:
            yield views.strip_view(answers, []) | extra
    yield views.strip_view(answers, told(answers)) | extra
