"""The benchmark: this program beside its peers in one run, as one table of ratios.

`make bench`, or `python -m bench`, makes the models, measures figure by figure, prints the table and saves it with all
rounds in .bench; `python -m bench.page` draws docs/performance.md from that.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contestants import NotMeasured
from bench.figures import Figure, Found
from bench.machine import describe
from bench.page import SAVED
from bench.programme import PROGRAMME
from bench.stage import FULL, QUICK, Scale, Stage
from bench.table import table
from tests.tiny import ARCHITECTURES


def main() -> None:
    """Reads what is wanted, and runs it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smaller Llama alone, few rounds")
    parser.add_argument("--only", nargs="+", choices=[*PROGRAMME], default=[*PROGRAMME], help="parts to measure")
    parser.add_argument("--llama-python", default=sys.executable, help="a Python that has llama-cpp-python and gguf")
    parser.add_argument("--out", type=Path, default=SAVED.parent, help="where to save (default .bench)")
    args = parser.parse_args()
    # Told to end, it ends the contestants too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = [*(["--quick"] if args.quick else []), *(["--only", *args.only] if args.only != [*PROGRAMME] else [])]
    command = f'make bench ARGS="{" ".join(options)}"' if options else "make bench"
    found = run(QUICK if args.quick else FULL, args.only, command, args.out, args.llama_python)
    print(table(found.figures))


def run(scale: Scale, parts: Sequence[str], command: str, out: Path, llama_python: str) -> Found:
    """Measures the named parts; saves after each, so that a run that is cut leaves what it found. `command` is what
    whoever wants to do it again has to say."""
    out.mkdir(parents=True, exist_ok=True)
    asked = {"num_prompt": scale.num_prompt, "num_answer": scale.num_answer, "num_rounds": scale.num_rounds}
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, Stage(scale, Path(folder), llama_python) as stage:
        machine = describe() | {"memory_gb_per_s": stage.reading().ask("speed"), "llama_cpp": _llama_cpp(stage)}
        sizes = {name: stage.weight_bytes(name) / 2e6 for name in (*scale.llamas, *ARCHITECTURES)}
        for part in parts:
            began_at = time.perf_counter()
            try:
                figures += PROGRAMME[part](stage)
            except NotMeasured as reason:
                figures.append(Figure(part, "", "", "", True, missing=str(reason)))
            print(f"{part}: {time.perf_counter() - began_at:.0f} s", file=sys.stderr)
            Found(command, machine, asked, sizes, tuple(figures)).save(out / SAVED.name)
            (out / "table.md").write_text(table(figures))
    return Found.read(out / SAVED.name)


def _llama_cpp(stage: Stage) -> str:
    try:
        return stage.llama_cpp().ask("version")
    except NotMeasured as reason:
        return f"not measured ({reason})"


if __name__ == "__main__":
    main()
