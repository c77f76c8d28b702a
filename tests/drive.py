"""Runs jobs on an engine from a plain thread, as the service does from an event loop."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from playground.errors import PlaygroundError
from playground.types import (
    Answer,
    Delta,
    Engine,
    Event,
    Finish,
    GenerationRequest,
    Job,
    ModelCard,
    Progress,
    Sampling,
)

PATIENCE = 60.0
_PORTS = itertools.count(20_000 + os.getpid() % 100 * 100)


class Watch:
    """A load's watcher that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Progress] = []

    def report(self, progress: Progress) -> None:
        self.heard.append(progress)


def wait_for(condition: Callable[[], object]) -> None:
    """Returns once the condition holds; a wait that would never end is an error."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for never came"
        time.sleep(0.005)


class Held:
    """Holds a loop in the middle of a prompt, or of a step, until it is let go."""

    def __init__(self, loop: Any, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._go = threading.Event(), threading.Event()
        self.num_calls = 0
        real = getattr(loop._stepper, verb)

        def held(*args: Any, **settings: Any) -> Any:
            self.num_calls += 1
            self.reached.set()
            assert self._go.wait(PATIENCE)
            return real(*args, **settings)

        monkeypatch.setattr(loop._stepper, verb, held)

    def let_go(self) -> None:
        self._go.set()


def free_port() -> int:
    """A port that the kernel gives to nobody by itself, and that no other worker tries: free until it is taken."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Running:
    """An answer under way."""

    job: Job
    inbox: queue.Queue[Event | PlaygroundError] = field(default_factory=queue.Queue)
    deltas: list[Delta] = field(default_factory=list)

    def next(self) -> Event | PlaygroundError:
        item = self.inbox.get(timeout=PATIENCE)
        if isinstance(item, Delta):
            self.deltas.append(item)
        return item

    def until_tokens(self, count: int) -> None:
        while sum(len(d.token_ids) for d in self.deltas) < count:
            item = self.next()
            assert isinstance(item, Delta | Progress), item

    def answer(self) -> Answer:
        from playground.service import Fold

        fold = Fold()
        for delta in self.deltas:
            fold.add(delta)
        while True:
            item = self.next()
            if isinstance(item, PlaygroundError):
                raise item
            fold.add(item)
            if isinstance(item, Finish):
                return fold.answer()

    def error(self) -> PlaygroundError:
        while not isinstance(item := self.next(), PlaygroundError):
            assert not isinstance(item, Finish), "an answer came in place of an error"
        return item


def start(engine: Engine, card: ModelCard, request: GenerationRequest) -> Running:
    now = time.perf_counter()
    running = Running(Job(request, card, lambda item: running.inbox.put(item), now, now))
    engine.submit(running.job)
    return running


def greedy(model: str, prompt_ids: Any, max_tokens: int = 16, **settings: Any) -> GenerationRequest:
    return GenerationRequest(
        model=model,
        prompt=tuple(int(i) for i in prompt_ids),
        sampling=Sampling(max_tokens=max_tokens, temperature=0),
        **settings,
    )
