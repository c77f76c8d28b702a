"""A scripted service: the same door as the real one, with answers written beforehand.

Deterministic: an answer is chosen by the model and the words of the prompt, and a stream that should
hang waits at a gate that the test opens.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from playground.errors import ModelLoadFailed, ModelNotFound, PlaygroundError, PlaygroundUnavailable
from playground.history import History
from playground.store import Store
from playground.types import (
    ANYBODY,
    Caller,
    Delta,
    Event,
    Finish,
    GenerationRequest,
    ModelCard,
    ModelState,
    ModelStatus,
    Progress,
    Timing,
    Usage,
)

BASE, JSON, VOICE = "playground/shop-demo", "playground/shop-json", "playground/shop-pirate"
OWNED, OWNER = "acme/tickets", "acme"
BROKEN, UNLOADABLE, REMOTE = "playground/shop-broken", "example/too-large", "example/thinker-2B"

JSON_ANSWER = '{"intent": "order_status", "priority": "high", "order": {"item": "lamp", "days": 7}}'
LONG_ANSWER = """Here is what we can do about your parcel:

1. **Check the label.** The number starts with `SH-`.
2. Look it up on the *tracking page*.
   - It updates every hour.
   - Weekends are slower.

| Step | Time |
|---|---|
| Packing | 1 day |
| Delivery | 2–3 days |

> We ship from Monday to Friday.

```python
print("parcel")
```

![pixel](https://evil.example/leak.png) <img src="https://evil.example/leak.png" onerror="alert(1)">
"""


class Gate:
    """A closed gate: streams wait at it until a test opens it. `reached` tells the test that one has come.

    Made anywhere, awaited in the server's loop, opened from the test's thread.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.reached = threading.Event()
        self.closed = threading.Event()

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached.set()
        try:
            await self._open.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.closed.set()
            raise

    def open(self) -> None:
        if self._loop is None:
            self._open.set()
        else:
            self._loop.call_soon_threadsafe(self._open.set)


class FakePlayground:
    """Words in a prompt choose what happens: "gate-<where>" holds the stream at the gate of that name.

    Where: `load` (in a load, at 40%), `first` (before the first token), `middle` (after the first words).
    """

    def __init__(self, home: Path, *, inference: bool = True) -> None:
        self.inference, self.keys_on = inference, False
        self.history = History(Store(home))
        self.gates: dict[str, Gate] = {}
        self.requests: list[GenerationRequest] = []
        self.loaded: set[str] = set()

    def gate(self, name: str) -> Gate:
        return self.gates.setdefault(name, Gate())

    def reset(self) -> None:
        """As new: whoever still waits goes on, nothing is loaded, nothing was asked."""
        for gate in self.gates.values():
            gate.open()
        self.gates, self.requests, self.loaded = {}, [], set()

    def models(self, caller: Caller = ANYBODY) -> list[ModelStatus]:
        return [model for model in self._all() if caller.sees(model.card)]

    def _all(self) -> list[ModelStatus]:
        return [
            self._status(_base(BASE), "disk", 3_900_000),
            self._status(_fine_tune(JSON), "disk", 470_000),
            self._status(_fine_tune(VOICE), "disk", 470_000),
            self._status(_fine_tune(OWNED, owner=OWNER), "disk", 470_000),
            ModelStatus(
                _fine_tune(BROKEN, problem="adapter_config.json is missing"),
                "failed",
                reason="adapter_config.json is missing",
            ),
            self._status(_base(REMOTE), "hub", 4_600_000_000, thinking=True),
            self._status(_base(UNLOADABLE), "hub", 61_000_000_000),
        ]

    def status(self, model_id: str, caller: Caller = ANYBODY) -> ModelStatus:
        for model in self.models(caller):
            if model.card.id == model_id:
                return model
        raise ModelNotFound(f"model: {model_id!r} is not known", param="model")

    async def stream(self, request: GenerationRequest, caller: Caller = ANYBODY) -> AsyncGenerator[Event, None]:
        if not self.inference:
            raise PlaygroundUnavailable
        self.status(request.model, caller)
        self.requests.append(request)
        prompt = request.messages[-1].content
        yield Progress("waiting")
        async for event in self._load(request, prompt):
            yield event
        await self._pass(prompt, "first")
        if request.thinking:
            yield Delta("The person asks about a parcel.", (1, 2, 3), thinking=True)
        words = _answer(request).split(" ")
        for index, word in enumerate(words):
            if index == 3:
                await self._pass(prompt, "middle")
            yield Delta(word if index == 0 else f" {word}", (index,))
        if "break-off" in prompt:
            raise ModelLoadFailed("the device went away")
        yield _finish(request, len(self.requests), len(prompt.split()), len(words))

    async def stream_all(
        self, requests: Sequence[GenerationRequest], caller: Caller = ANYBODY
    ) -> AsyncGenerator[tuple[int, Event | PlaygroundError], None]:
        if any("bug" in request.messages[-1].content for request in requests):
            raise RuntimeError("a bug that nobody expects")
        inbox: asyncio.Queue[tuple[int, Event | PlaygroundError]] = asyncio.Queue()

        async def pump(index: int, request: GenerationRequest) -> None:
            try:
                async with aclosing(self.stream(request, caller)) as events:
                    async for event in events:
                        inbox.put_nowait((index, event))
            except PlaygroundError as error:
                inbox.put_nowait((index, error))

        tasks = [asyncio.create_task(pump(i, request)) for i, request in enumerate(requests)]
        num_running = len(tasks)
        try:
            while num_running:
                index, item = await inbox.get()
                num_running -= isinstance(item, Finish | PlaygroundError)
                yield index, item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, request: GenerationRequest, prompt: str) -> AsyncGenerator[Event, None]:
        if request.model == BROKEN:
            raise ModelLoadFailed(f"{BROKEN} cannot be run: adapter_config.json is missing")
        if request.model == UNLOADABLE:
            yield Progress("loading", 0.2)
            raise ModelLoadFailed("out of memory: <b>61 GB</b> are needed, 16 GB are free")
        if "gate-load" in prompt:
            yield Progress("downloading", 0.4, "1.8 of 4.6 GB")
            await self._pass(prompt, "load")
        self.loaded.add(request.model)
        yield Progress("prefill")

    async def _pass(self, prompt: str, where: str) -> None:
        if f"gate-{where}" in prompt:
            await self.gate(where).wait()

    def _status(self, card: ModelCard, state: ModelState, size_bytes: int, *, thinking: bool = False) -> ModelStatus:
        return ModelStatus(card, "ready" if card.id in self.loaded else state, size_bytes, thinking)


def _base(model_id: str) -> ModelCard:
    return ModelCard(model_id, model_id.split("/")[1], "base", source="", context_length=1024)


def _fine_tune(model_id: str, problem: str | None = None, owner: str | None = None) -> ModelCard:
    name = model_id.split("/")[1]
    return ModelCard(model_id, name, "fine-tuned", "", base_model=BASE, adapter="a", problem=problem, owner=owner)


def _answer(request: GenerationRequest) -> str:
    prompt = request.messages[-1].content
    if request.model == JSON:
        return JSON_ANSWER.replace("high", "low") if "no hurry" in prompt else JSON_ANSWER
    if "as json" in prompt:
        return JSON_ANSWER.replace("high", "low").replace(', "days": 7', "")
    if "long" in prompt:
        return LONG_ANSWER
    num_turns = sum(message.role == "user" for message in request.messages)
    voice = "Arr! " if request.model == VOICE else ""
    return f"{voice}Your parcel is on its way. It comes tomorrow. This is answer {num_turns}."


def _finish(request: GenerationRequest, drawn: int, num_prompt: int, num_completion: int) -> Finish:
    timing = Timing(queued_ms=0.0, load_ms=0.0, first_token_ms=120.4, decode_ms=900.0, total_ms=1020.4)
    usage = Usage(num_prompt_tokens=num_prompt, num_completion_tokens=num_completion)
    seed = drawn if request.sampling.seed is None else request.sampling.seed
    return Finish("stop", usage, timing, view="base" if request.model == BASE else "attached", seed=seed)
