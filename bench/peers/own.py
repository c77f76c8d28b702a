"""This program's engine in this process: answers at once, each over its own model of a catalog.

`python -m bench.peers.own CATALOG KERNELS` keeps the kernels' code in the folder KERNELS.
"""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.asking import prompt_ids
from bench.peers.obeying import obey
from playground.catalog import LiveCatalog
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.steppers import Steppers
from playground.settings import DEFAULT_MAX_ROWS
from playground.types import Delta, Finish, GenerationRequest, Job, LoadWatch, Progress, Sampling

PATIENCE_S = 600.0
END = 0
"""The tokenizer's end token, never to be chosen."""


class Own:
    """Loads what it is asked for and keeps it."""

    def __init__(self, catalog: Path, kernels: Path) -> None:
        self._catalog = LiveCatalog(catalog, catalog.with_name("added.yaml"))
        steppers = Steppers(kernels=True, folder=kernels)
        if not steppers.wait(PATIENCE_S):
            raise RuntimeError("the kernels were not compiled")
        self._loader = LocalLoader(steppers, max_rows=DEFAULT_MAX_ROWS)
        self._engines: dict[str, LocalEngine] = {}
        self._prepared: set[str] = set()

    def speed(self, models: Sequence[str], num_prompt: int, num_answer: int, seed: int) -> float:
        """Tokens a second over all answers, one for each of `models`, while all of them run."""
        inbox: queue.Queue[tuple[int, float, object]] = queue.Queue()
        for row, model in enumerate(models):
            self._start(row, model, prompt_ids(100 * seed + row, num_prompt), num_answer, inbox)
        times: list[list[float]] = [[] for _ in models]
        num_running = len(models)
        while num_running:
            row, at, event = inbox.get(timeout=PATIENCE_S)
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Delta):
                times[row].append(at)
            elif isinstance(event, Finish):
                num_running -= 1
                if event.stepper != "kernels":
                    raise RuntimeError(f"{models[row]} was answered by {event.stepper}")
        return _speed(times)

    def _start(self, row: int, model: str, prompt: Sequence[int], num_answer: int, inbox: queue.Queue) -> None:
        engine, now = self._ready(model), time.perf_counter()
        sampling = Sampling(max_tokens=num_answer, temperature=0, logit_bias={END: -100.0})
        request = GenerationRequest(model, prompt=tuple(prompt), sampling=sampling)

        def emit(event: object) -> None:
            inbox.put((row, time.perf_counter(), event))

        engine.submit(Job(request, self._catalog.card(model), emit, now, now))

    def _ready(self, model: str) -> LocalEngine:
        card = self._catalog.card(model)
        base = self._catalog.base_of(card)
        if base.id not in self._engines:
            engine = self._engines[base.id] = self._loader.load(base, _Unwatched(), lambda _: True)
            # The hash of the base is found out behind, and would run beside the first answers.
            while engine.base_hash is None:
                time.sleep(0.01)
        for each in (base, card):
            if each.id not in self._prepared:
                self._engines[base.id].prepare(each, _Unwatched())
                self._prepared.add(each.id)
        return self._engines[base.id]


class _Unwatched(LoadWatch):
    def report(self, progress: Progress) -> None:
        pass


def _speed(times: Sequence[Sequence[float]]) -> float:
    """Tokens that came after all answers had begun and before one was over, a second."""
    begin, end = max(row[0] for row in times), min(row[-1] for row in times)
    return sum(begin < at <= end for row in times for at in row) / (end - begin)


if __name__ == "__main__":
    obey({"speed": Own(Path(sys.argv[1]), Path(sys.argv[2])).speed})
