"""How much an evaluation gains by asking many cases at once: 200 cases of the demo on base and fine-tune.

`python -m bench.evaluating` takes the demo's cases in parts, and each part twice: one case after another, and as many
at once as the program does. Prints the seconds of each way over all parts, and the median of the parts' ratios.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from playground.catalog import LiveCatalog
from playground.evaluator import Evaluator
from playground.history import History
from playground.local.engine import LocalLoader
from playground.local.steppers import Steppers
from playground.registry import Registry
from playground.service import Playground
from playground.settings import DEFAULT_MAX_ROWS
from playground.store import Store
from playground.types import Caller

ROOT = Path(__file__).parent.parent
MODELS = ("playground/shop-demo", "playground/shop-json")
NUM_PARTS, MAX_TOKENS = 10, 160
LOCAL = Caller(everything=True)


def main() -> None:
    """Runs all parts."""
    spec = json.loads((ROOT / "demo" / "tunedtensor.json").read_text())
    cases = spec["eval_cases"] + json.loads((ROOT / "demo" / "fresh_cases.json").read_text())["eval_cases"]
    catalog = LiveCatalog(ROOT / "models.yaml", ROOT / "nothing.yaml")
    registry = Registry(catalog.base_of, LocalLoader(Steppers(kernels=False), max_rows=DEFAULT_MAX_ROWS), 10**10)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        history = History(Store(home))
        playground = Playground(catalog, registry, history)
        ways = {
            1: Evaluator(playground, history, home, 1),
            0: Evaluator(playground, history, home, DEFAULT_MAX_ROWS - 2),
        }
        _seconds(ways[0], spec, cases[:4])
        seconds: dict[int, list[float]] = {way: [] for way in ways}
        for part in range(NUM_PARTS):
            for way, evaluator in ways.items():
                seconds[way].append(_seconds(evaluator, spec, cases[part::NUM_PARTS]))
        for evaluator in ways.values():
            evaluator.close()
    registry.close()
    ratios = [alone / together for alone, together in zip(seconds[1], seconds[0], strict=True)]
    print(f"{len(cases)} cases on {len(MODELS)} models, {DEFAULT_MAX_ROWS - 2} answers at once")
    print(f"one after another: {sum(seconds[1]):.1f} s; at once: {sum(seconds[0]):.1f} s")
    print(f"ratio: median {statistics.median(ratios):.1f}, least {min(ratios):.1f}, most {max(ratios):.1f}")


def _seconds(evaluator: Evaluator, spec: dict, cases: list) -> float:
    text = json.dumps({**spec, "eval_cases": cases})
    began_at = time.perf_counter()
    evaluation_id = evaluator.start("spec.json", text, MODELS, LOCAL, MAX_TOKENS)
    evaluator.wait(evaluation_id)
    seconds = time.perf_counter() - began_at
    assert sum(side.num_answers for side in evaluator.report(LOCAL, evaluation_id).sides) == 2 * len(cases)
    return seconds


if __name__ == "__main__":
    main()
