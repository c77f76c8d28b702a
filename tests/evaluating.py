"""Runs evaluations over a scripted service until they are done, so that a process that does can be killed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from playground.errors import ModelNotFound, PlaygroundError
from playground.evaluator import Evaluator
from playground.history import History
from playground.store import Store
from playground.types import (
    Answer,
    Caller,
    Finish,
    GenerationRequest,
    ModelCard,
    ModelStatus,
    Timing,
    Usage,
)

BASE, TUNE = "some/base", "some/tune"
LOCAL = Caller(everything=True)
CARDS = {
    BASE: ModelCard(BASE, "base", "base", source=""),
    TUNE: ModelCard(TUNE, "tune", "fine-tuned", "", base_model=BASE, adapter="a"),
}


class ScriptedService:
    """Answers at once what `text_of` says; `errors` are raised instead, by the words of a prompt."""

    def __init__(self, log: Path | None = None) -> None:
        self._log = log
        self.asked: list[tuple[str, str]] = []
        self.errors: dict[str, PlaygroundError] = {}
        self.at_once = self.most_at_once = 0

    def models(self, caller: Caller) -> list[ModelStatus]:
        return [ModelStatus(card, "ready") for card in CARDS.values()]

    def status(self, model_id: str, caller: Caller) -> ModelStatus:
        if model_id not in CARDS:
            raise ModelNotFound(f"There is no model {model_id!r}.", param="model")
        return ModelStatus(CARDS[model_id], "ready")

    def require_runnable(self, model_id: str, caller: Caller) -> None:
        self.status(model_id, caller)

    async def complete(self, request: GenerationRequest, caller: Caller) -> Answer:
        prompt = request.messages[-1].content
        self.asked.append((request.model, prompt))
        if self._log:
            with self._log.open("a") as file:
                file.write(json.dumps([request.model, prompt]) + "\n")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            # Others are asked meanwhile, as of an engine.
            await asyncio.sleep(0.002)
        finally:
            self.at_once -= 1
        for word, error in self.errors.items():
            if word in prompt:
                raise error
        finish = Finish("stop", Usage(3, 2), Timing(0, 0, 5.0, 10.0, 15.0), "base", seed=0)
        return Answer(text_of(request.model, prompt), "", (1, 2), (), finish)


def text_of(model: str, prompt: str) -> str:
    return f"{model} says: {prompt}"


def spec(num_cases: int) -> str:
    """A spec whose fine-tune passes every case, and whose base every third."""
    cases = [
        {"input": f"question {i}", "assert": ["contains:says" if i % 3 == 0 else f"contains:{TUNE}"]}
        for i in range(num_cases)
    ]
    return json.dumps({"name": "scripted", "system_prompt": "", "base_model": BASE, "eval_cases": cases})


def evaluator(home: Path, service: ScriptedService, num_at_once: int = 4) -> Evaluator:
    return Evaluator(service, History(Store(home)), home, num_at_once)  # type: ignore[arg-type]


def main(home: Path, log: Path) -> None:
    """Goes on with what is there; every question that it asks is a line of `log`."""
    store = Store(home)
    running = evaluator(home, ScriptedService(log))
    running.resume_interrupted()
    for one in History(store).evaluations.running():
        running.wait(one.id)
    running.close()
