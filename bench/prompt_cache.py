"""How soon a prompt of 1,500 tokens that is run again answers, beside the same prompt read for the first time.

`python -m bench.prompt_cache` makes a Llama of 174 million random weights in bfloat16 and asks its engine prompts that
it never saw, each again with another temperature and seed, and at last with a next turn of 40 tokens after its answer.
Prints medians of the time to the first token, and the ratios pair by pair; each answer that stands is checked against
an engine that keeps nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bench.models import save_llama
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.steppers import Steppers
from playground.settings import MOST_PROMPT_BYTES
from playground.types import Answer, GenerationRequest, ModelCard, Sampling
from tests.drive import Watch, start

NUM_PROMPT, NUM_ANSWER, NUM_TURN = 1500, 16, 40
PATIENCE_S = 300


def main() -> None:
    """Loads the model twice, asks cold and again in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.prompt_cache", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how many prompts are asked (default 5)")
    parser.add_argument("--no-kernels", action="store_true", help="on transformers' modules alone")
    args = parser.parse_args()
    steppers = Steppers(kernels=not args.no_kernels)
    assert args.no_kernels or steppers.wait(PATIENCE_S)
    with tempfile.TemporaryDirectory() as folder:
        card = ModelCard("llama", "llama", "base", str(save_llama(Path(folder) / "llama")))
        keeping, plain = (_loaded(card, steppers, num_bytes) for num_bytes in (MOST_PROMPT_BYTES, 0))
        _asked(keeping, card, _tokens(0, NUM_PROMPT))
        found: dict[str, list[float]] = {"cold": [], "again": [], "next turn": []}
        for seed in range(1, args.times + 1):
            ids, drawn = _tokens(seed, NUM_PROMPT), {"temperature": 1.0, "seed": seed}
            cold = _asked(keeping, card, ids)
            again = _asked(keeping, card, ids, **drawn)
            turn_ids = (*ids, *cold.token_ids, *_tokens(seed + 1000, NUM_TURN))
            turn = _asked(keeping, card, turn_ids)
            for kind, answer in zip(found, (cold, again, turn), strict=True):
                found[kind].append(answer.finish.timing.first_token_ms or 0.0)
            assert again.token_ids == _asked(plain, card, ids, **drawn).token_ids
            assert turn.token_ids == _asked(plain, card, turn_ids).token_ids
        for kind, times in found.items():
            ratios = [one / cold for one, cold in zip(times, found["cold"], strict=True)]
            print(
                f"{kind}: first token after {statistics.median(times):.1f} ms, "
                f"ratio {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})"
            )
        keeping.close()
        plain.close()


def _loaded(card: ModelCard, steppers: Steppers, prompt_bytes: int) -> LocalEngine:
    engine = LocalLoader(steppers, max_rows=1, prompt_bytes=prompt_bytes).load(card, Watch(), lambda _: True)
    assert isinstance(engine, LocalEngine)
    engine.prepare(card, Watch())
    # The hash of the base is found out behind, and would run beside the first answers.
    while engine.base_hash is None:
        time.sleep(0.01)
    return engine


def _tokens(seed: int, num: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(10, 300, (num,), generator=generator).tolist())


def _asked(
    engine: LocalEngine, card: ModelCard, ids: tuple[int, ...], temperature: float = 0.0, seed: int = 0
) -> Answer:
    sampling = Sampling(max_tokens=NUM_ANSWER, temperature=temperature, seed=seed)
    return start(engine, card, GenerationRequest(card.id, prompt=ids, sampling=sampling)).answer()


if __name__ == "__main__":
    main()
