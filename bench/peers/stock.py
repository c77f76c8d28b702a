"""transformers as it comes: `model.generate`, greedy, all answers as one batch.

`python -m bench.peers.stock THREADS`
"""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from bench.asking import prompt_ids
from bench.peers.obeying import obey


class _Clock(LogitsProcessor):
    """Notes when the logits of each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, _: Any, scores: torch.Tensor) -> torch.Tensor:
        self.times.append(time.perf_counter())
        return scores


def speed(model: str, num_rows: int, num_prompt: int, num_answer: int, seed: int) -> float:
    """Tokens a second over all rows, after the first token of each. `model` is a folder."""
    prompts = torch.tensor([prompt_ids(100 * seed + row, num_prompt) for row in range(num_rows)])
    clock = _Clock()
    settings = {"do_sample": False, "max_new_tokens": num_answer, "logits_processor": LogitsProcessorList([clock])}
    with torch.inference_mode():
        _loaded(model).generate(prompts, attention_mask=torch.ones_like(prompts), **settings)
    return num_rows * (len(clock.times) - 1) / (clock.times[-1] - clock.times[0])


@functools.cache
def _loaded(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    obey({"speed": speed})
