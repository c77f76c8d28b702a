"""Runs to keep, with everything that can be kept of one."""

from __future__ import annotations

from playground.evidence import Proof
from playground.history import History
from playground.history.records import ALONE, KeptAnswer
from playground.types import Finish, GenerationRequest, Message, Sampling, Timing, Usage

BASE, TUNE = "some/base", "some/tune"
PROOF = Proof(BASE, "main", "b" * 64, "t" * 64, TUNE, "a" * 64, 1.0, ((1, -0.5), (2, -1.5)))
FINISH = Finish("stop", Usage(3, 2), Timing(0.1, 0.2, 5.0, 10.0, 15.0), "attached", seed=7, proof=PROOF)


def asked(prompt: str, model: str = BASE, **settings: object) -> GenerationRequest:
    messages = (Message("system", "Be kind."), Message("user", prompt))
    sampling = Sampling(seed=7, stop=("END",), logit_bias={5: 1.5}, **settings)  # type: ignore[arg-type]
    return GenerationRequest(model, messages, sampling=sampling, strength=1.0)


def answered(text: str = "Good day!") -> KeptAnswer:
    return KeptAnswer("done", text, "a thought", (1, 2), (True, False), FINISH)


def add(history: History, prompt: str, owner: str = ALONE, text: str = "Good day!") -> str:
    run_id = history.runs.add(owner, "compare", [asked(prompt), asked(prompt, TUNE)], [answered(text)] * 2)
    assert run_id is not None
    return run_id
