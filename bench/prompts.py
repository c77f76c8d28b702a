"""How long a prompt takes to be read: by transformers' modules, and by the kernels.

`python -m bench.prompts` makes a Llama of 174 million random weights in bfloat16 and reads prompts of 8 to 256 tokens
on both in turn; prints medians in milliseconds and ratios. A processor without instructions for bfloat16 is imitated by
ONEDNN_MAX_CPU_ISA=AVX512_CORE, one that ends at AVX2 by the variables that bench/stage.py gives its own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from bench.models import SMALL, save_llama
from playground.local import weights
from playground.local.decoding import Stepper
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane
from playground.types import ModelCard
from tests.drive import Watch

LENGTHS, NUM_ROUNDS = (8, 16, 32, 64, 256), 5
PATIENCE_S = 300


def main() -> None:
    """Makes the model, then reads prompts of each length in turn."""
    kernels = Steppers(kernels=True, read_prompts=True)
    assert kernels.wait(PATIENCE_S)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        source = save_llama(Path(folder) / "llama", SMALL)
        model = weights.load_base(ModelCard("llama", "llama", "base", str(source)), Watch()).model
        steppers = {"transformers": Steppers(kernels=False).for_model(model), "kernels": kernels.for_model(model)}
        for length in LENGTHS:
            taken = {name: [] for name in steppers}
            for number in range(NUM_ROUNDS + 1):
                for name, stepper in steppers.items():
                    taken[name].append(_ms(stepper, [10 + (number + i) % 300 for i in range(length)]))
            one, other = (statistics.median(times[1:]) for times in taken.values())
            print(
                f"{length} tokens: transformers {one:.0f} ms, kernels {other:.0f} ms, ratio {other / one:.2f}",
                flush=True,
            )
        for stepper in steppers.values():
            stepper.close()


def _ms(stepper: Stepper, token_ids: list[int]) -> float:
    lane = Lane(None, 1.0)
    began_at = time.perf_counter()
    stepper.prefill(lane, token_ids)
    taken = (time.perf_counter() - began_at) * 1000
    stepper.leave(lane)
    return taken


if __name__ == "__main__":
    main()
