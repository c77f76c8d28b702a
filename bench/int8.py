"""What int8 takes of memory, how fast it answers and how near its logits stay, beside the same weights in bfloat16.

`python -m bench.int8` makes a Llama of 174 million random weights, loads it as it is and with `dtype: int8`, has both
give one answer in turn, and holds both's logits against float32. Prints medians and the ratio of int8 to bfloat16.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.models import save_llama
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane, TorchStepper
from playground.types import GenerationRequest, ModelCard, Sampling
from tests.drive import Watch, start

NUM_PROMPT, NUM_ANSWER = 64, 48
DTYPES = ("bfloat16", "int8")
END = 0
PATIENCE_S = 300


def main() -> None:
    """Loads both, asks both in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.int8", description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="how many answers each gives (default 7)")
    times = parser.parse_args().times
    steppers = Steppers(kernels=True)
    assert steppers.wait(PATIENCE_S)
    with tempfile.TemporaryDirectory() as folder:
        source = save_llama(Path(folder) / "llama")
        cards = {dtype: ModelCard(dtype, dtype, "base", str(source), dtype=dtype) for dtype in (*DTYPES, "float32")}
        engines = {dtype: _loaded(cards[dtype], steppers) for dtype in DTYPES}
        told = {dtype: engine.memory_of(cards[dtype]) / 1e6 for dtype, engine in engines.items()}
        _print("tensors in memory, MB", told)
        speeds: dict[str, list[tuple[float, float]]] = {dtype: [] for dtype in DTYPES}
        for turn in range(times + 1):
            for dtype, engine in engines.items():
                found = _speeds(engine, cards[dtype], turn)
                if turn:
                    speeds[dtype].append(found)
        for number, name in enumerate(("decode, tokens/s", "first token of 64, ms")):
            _print(name, {dtype: statistics.median(one[number] for one in speeds[dtype]) for dtype in DTYPES})
        ratios = [small[0] / plain[0] for plain, small in zip(speeds["bfloat16"], speeds["int8"], strict=True)]
        print(f"ratio of the decode speeds, pair by pair: least {min(ratios):.2f}, most {max(ratios):.2f}")
        _print_errors(engines, _loaded(cards["float32"], steppers))
        for engine in engines.values():
            engine.close()


def _loaded(card: ModelCard, steppers: Steppers) -> LocalEngine:
    """An engine; tells what the process itself took to load it, the pages of mapped files aside."""
    process, began_at = psutil.Process(), time.perf_counter()
    before = process.memory_info()
    engine = LocalLoader(steppers, max_rows=1).load(card, Watch(), lambda _: True)
    assert isinstance(engine, LocalEngine)
    engine.prepare(card, Watch())
    # The hash of the base is found out behind, and would run beside the first answers.
    while engine.base_hash is None:
        time.sleep(0.01)
    after = process.memory_info()
    own = (after.rss - after.shared - before.rss + before.shared) / 1e6
    print(f"{card.dtype}: loaded in {time.perf_counter() - began_at:.1f} s, {own:.0f} MB of the process's own")
    return engine


def _prompt(seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(10, 300, (NUM_PROMPT,), generator=generator).tolist())


def _speeds(engine: LocalEngine, card: ModelCard, seed: int) -> tuple[float, float]:
    """Tokens a second of one answer after its first token, and milliseconds to that."""
    sampling = Sampling(max_tokens=NUM_ANSWER, temperature=0, logit_bias={END: -100.0})
    finish = start(engine, card, GenerationRequest(card.id, prompt=_prompt(seed), sampling=sampling)).answer().finish
    speed = finish.timing.tokens_per_second(finish.usage.num_completion_tokens)
    assert speed
    assert finish.timing.first_token_ms
    return speed, finish.timing.first_token_ms


def _print_errors(engines: dict[str, LocalEngine], exact: LocalEngine) -> None:
    """The logits' distance from float32's, as a part of their size: of a prompt at once, and token by token."""
    for name, num_at_once in (("error of a prompt's logits", NUM_PROMPT), ("error of a step's logits", 1)):
        right = _logits(exact, num_at_once)
        errors = {dtype: _logits(engine, num_at_once) - right for dtype, engine in engines.items()}
        _print(name, {dtype: float(error.norm() / right.norm()) for dtype, error in errors.items()})
    exact.close()


def _logits(engine: Any, num_at_once: int) -> torch.Tensor:
    stepper, lane, ids = TorchStepper(engine._base.model), Lane(None, 1.0), _prompt(0)
    parts = [ids[at : at + num_at_once] for at in range(0, len(ids), num_at_once)]
    return torch.cat([stepper.prefill(lane, part, num_logits=len(part)) for part in parts])


def _print(name: str, found: dict[str, float]) -> None:
    plain, small = (found[dtype] for dtype in DTYPES)
    print(f"{name}: bfloat16 {plain:.4g}, int8 {small:.4g}, ratio {small / plain:.2f}")


if __name__ == "__main__":
    main()
