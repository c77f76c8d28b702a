"""What a step costs on the compiled kernels, beside transformers' modules over the same weights.

`python -m bench.stepping` makes a Llama of 174 million random weights in bfloat16 and steps 1, 2, 4 and 8 rows on both
in turn, each after a prompt of 64 tokens; then base rows beside rows of a random LoRA. Prints medians in tokens a
second over all rows, ratios, and how fast this machine reads memory.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from bench.models import save_llama
from playground.local import weights
from playground.local.adapters import read_adapter
from playground.local.decoding import Stepper
from playground.local.lora import Adapter, Hooks
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane
from playground.types import ModelCard
from tests.drive import Watch

NUM_PROMPT, NUM_STEPS = 64, 40
PATIENCE_S = 300
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Makes the model, then times row numbers and mixtures one after the other."""
    steppers = Steppers(kernels=True)
    assert steppers.wait(PATIENCE_S)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        source = save_llama(Path(folder) / "llama")
        base = weights.load_base(ModelCard("llama", "llama", "base", str(source)), Watch())
        adapter = read_adapter(_save_adapter(source, Path(folder) / "tuned"), base.model, "llama")
        Hooks(base.model).cover(adapter)
        print(f"memory is read at {_reading_speed():.0f} GB/s by {torch.get_num_threads()} threads")
        makers = {"transformers": Steppers(kernels=False), "kernels": steppers}
        mixtures: dict[str, list[Adapter | None]] = {f"{n} base": [None] * n for n in (1, 2, 4, 8)}
        mixtures |= {"Compare": [None, adapter], "1 tuned": [adapter], "4 base, 4 tuned": [None, adapter] * 4}
        for name, carried in mixtures.items():
            ms = _medians({key: maker.for_model(base.model) for key, maker in makers.items()}, carried)
            speeds = {key: 1000 * len(carried) / value for key, value in ms.items()}
            shown = ", ".join(f"{key} {value:.1f}" for key, value in speeds.items())
            print(f"{name}: tokens/s {shown}; ratio {speeds['kernels'] / speeds['transformers']:.2f}", flush=True)


def _medians(steppers: dict[str, Stepper], carried: Sequence[Adapter | None]) -> dict[str, float]:
    """Milliseconds a step, the steppers in turn."""
    lanes: dict[str, list[Lane]] = {}
    for name, stepper in steppers.items():
        lanes[name] = [Lane(adapter, 1.0) for adapter in carried]
        for seed, lane in enumerate(lanes[name]):
            generator = torch.Generator().manual_seed(seed)
            stepper.prefill(lane, torch.randint(10, 300, (NUM_PROMPT,), generator=generator).tolist())
    taken: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(NUM_STEPS):
        for name, stepper in steppers.items():
            taken[name].append(_ms(lambda stepper=stepper, name=name: stepper.step(lanes[name], [20] * len(carried))))
    for stepper in steppers.values():
        stepper.close()
    return {name: statistics.median(times[2:]) for name, times in taken.items()}


def _ms(run: Callable[[], Any]) -> float:
    began_at = time.perf_counter()
    run()
    return (time.perf_counter() - began_at) * 1000


def _reading_speed() -> float:
    """Gigabytes a second of a sum over far more than any cache holds."""
    numbers = torch.ones(250_000_000)
    return max(1000 * numbers.nbytes / 1e9 / _ms(lambda: numbers.sum()) for _ in range(5))


def _save_adapter(source: Path, folder: Path) -> Path:
    model: Any = weights.load_base(ModelCard("llama", "llama", "base", str(source)), Watch()).model
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.01)
    tuned.save_pretrained(str(folder))
    return folder


if __name__ == "__main__":
    main()
