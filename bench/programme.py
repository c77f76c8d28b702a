"""What is measured, figure by figure, and what is asked of each.

Knows the contestants of a stage and the goals; leaves processes to the stage and drawing to the table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.asking import prompt_text
from bench.contestants import NotMeasured
from bench.figures import Case, Figure, play
from bench.stage import Stage
from tests.tiny import ARCHITECTURES

OWN, ONE = "this program", "one answer"
SPEED, TIME, WHOLE = "tokens/s", "ms a token", "s"
CONTINUOUS = ("--continuous-batching", "--cb-num-blocks", "128")
Speeds = Mapping[str, Sequence[float]]
Side = tuple[str, Sequence[float]]


def speeds(stage: Stage) -> Iterator[Figure]:
    """Answers at once over each Llama: beside transformers, llama.cpp, and what the memory gives."""
    first = [4.5, 3.0]
    beside = [{1: 1.6, 2: 2.1, 4: 2.0, 8: 1.8}, {1: 1.3, 2: 1.7, 8: 1.6}]
    for name, goal, asked in zip(stage.scale.llamas, first, beside, strict=False):
        goals = _asked(stage, asked)
        folder = str(stage.catalog.parent / name)
        runs = {f"own {n}": _own(stage, [name] * n) for n in goals}
        runs |= {f"stock {n}": _rows(stage, stage.stock(), folder, n) for n in goals}
        runs["memory"] = lambda _: stage.reading().ask("speed")
        missing = _llama_cpp_missing(stage)
        if not missing:
            runs |= {f"llama.cpp {n}": _rows(stage, stage.llama_cpp(), stage.gguf(name), n) for n in goals}
        found = play(runs, stage.scale.num_rounds)
        text = f"{name}, bfloat16: answers at once beside transformers' `generate`"
        yield _beside(text, "stock", found, dict.fromkeys(goals) | {1: goal})
        text = f"{name}, bfloat16: answers at once beside llama.cpp"
        yield _beside(text, "llama.cpp", found, goals, missing)
        read = [stage.weight_bytes(name) / 1e9 * speed for speed in found["own 1"]]
        text = f"{name}: weights read in one answer beside the memory's reading speed"
        yield _one(text, "GB/s", (ONE, read), ("a plain sum", found["memory"]), 0.95, more=True)


def int8(stage: Stage) -> Iterator[Figure]:
    """int8 beside llama.cpp's q8_0."""
    goals, missing = _asked(stage, {1: 1.5, 2: 2.0, 8: 1.9}), _llama_cpp_missing(stage)
    found = {}
    if not missing:
        runs = {f"own {n}": _own(stage, [f"{stage.small}-int8"] * n) for n in goals}
        file = stage.gguf(stage.small, small=True)
        runs |= {f"llama.cpp q8_0 {n}": _rows(stage, stage.llama_cpp(), file, n) for n in goals}
        found = play(runs, stage.scale.num_rounds)
    text = f"{stage.small}, int8: answers at once beside llama.cpp's q8_0"
    yield _beside(text, "llama.cpp q8_0", found, goals, missing)


def avx2(stage: Stage) -> Iterator[Figure]:
    """Both held to an older processor's instructions."""
    goals = _asked(stage, {1: 1.7, 2: 2.4, 4: 3.0, 8: 4.0})
    folder = str(stage.catalog.parent / stage.small)
    runs = {f"own {n}": _own(stage, [stage.small] * n, held=True) for n in goals}
    runs |= {f"stock {n}": _rows(stage, stage.stock(held=True), folder, n) for n in goals}
    found = play(runs, stage.scale.num_rounds)
    text = f"{stage.small}, bfloat16, both held to AVX2: answers at once beside transformers' `generate`"
    yield _beside(text, "stock", found, goals)


def tuned(stage: Stage) -> Iterator[Figure]:
    """Fine-tunes beside their base: alone, in Compare, and mixed."""
    base = stage.small
    kinds = {
        "a fine-tune (rank 16 on every Linear)": ([f"{base}-tuned"], 1.04),
        "Compare (base and fine-tune in one step)": ([base, f"{base}-tuned"], 1.12),
        "8 answers mixed over the base and two fine-tunes": (_mixed(base), 2.3),
    }
    runs = {ONE: _own(stage, [base])} | {name: _own(stage, models) for name, (models, _) in kinds.items()}
    found = play(runs, stage.scale.num_rounds)
    for name, (models, goal) in kinds.items():
        text = f"{base}: {name} beside one answer of the base"
        ours = name.partition(" (")[0], _ms(found[name], len(models))
        yield _one(text, TIME, ours, (ONE, _ms(found[ONE], 1)), goal)


def families(stage: Stage) -> Iterator[Figure]:
    """Eight answers at once beside one, for each architecture."""
    runs = {f"{kind} {n}": _own(stage, [kind] * n) for kind in ARCHITECTURES for n in (1, 8)}
    found = play(runs, stage.scale.num_rounds)
    cases = [Case(kind, _ms(found[f"{kind} 8"], 8), _ms(found[f"{kind} 1"], 1), 2.0) for kind in ARCHITECTURES]
    text = "A model of each architecture: 8 answers at once beside one"
    yield Figure(text, TIME, "8 answers", ONE, False, tuple(cases))


def http(stage: Stage) -> Iterator[Figure]:
    """Whole answers through HTTP, this program's own and those of `transformers serve`."""
    base, size = stage.small, stage.scale
    folder = str(stage.catalog.parent / base)

    def asked(server: Any, models: Sequence[str], first: int, *, same: bool = False) -> Callable[[int], float]:
        def run(number: int) -> float:
            seeds = [1000 * number + first + (0 if same else row) for row in range(len(models))]
            prompts = [prompt_text(seed, size.num_prompt) for seed in seeds]
            return server.seconds(list(zip(models, prompts, strict=True)), size.num_whole)

        return run

    # No prompt is asked twice, or a server might still have it at hand.
    server = stage.server()
    runs = {
        ONE: asked(server, [base], 0),
        "Compare": asked(server, [base, f"{base}-tuned"], 100, same=True),
        "8 answers": asked(server, [base] * 8, 200),
        "continuous": asked(stage.serve(*CONTINUOUS), [folder] * 8, 200),
    }
    if size.one_by_one:
        runs["plain"] = asked(stage.serve(), [folder] * 8, 200)
    found = play(runs, size.num_rounds)
    length = f"{size.num_prompt} tokens in, {size.num_whole} out"
    for name, goal in (("Compare", 1.2), ("8 answers", 2.8)):
        text = f"{base} through HTTP ({length}): {name} beside one answer"
        yield _one(text, WHOLE, (name, found[name]), (ONE, found[ONE]), goal)
    for name, goal, text in (("continuous", 3.0, " with continuous batching"), ("plain", None, "")):
        if name not in found:
            continue
        ours, theirs = ([8 * size.num_whole / seconds for seconds in found[key]] for key in ("8 answers", name))
        figure = f"{base} through HTTP ({length}): 8 answers at once beside `transformers serve`{text}"
        yield _one(figure, SPEED, (OWN, ours), ("transformers serve", theirs), goal, more=True)


def busy(stage: Stage) -> Iterator[Figure]:
    """Beside llama.cpp while another process is busy all the time."""
    goals, missing, found = _asked(stage, {1: 1.0, 8: 1.5}), _llama_cpp_missing(stage), {}
    if not missing:
        runs = {f"own {n}": _own(stage, [stage.small] * n) for n in goals}
        runs |= {f"llama.cpp {n}": _rows(stage, stage.llama_cpp(), stage.gguf(stage.small), n) for n in goals}
        with stage.busy():
            found = play(runs, stage.scale.num_rounds)
    text = f"{stage.small}, bfloat16, another process busy all the time: answers at once beside llama.cpp"
    yield _beside(text, "llama.cpp", found, goals, missing)


def again(stage: Stage) -> Iterator[Figure]:
    """A long prompt run again: how long its first token takes."""
    server, num_tokens = stage.server(), stage.scale.num_long

    def first_token(number: int) -> float:
        return 1000 * server.seconds([(stage.small, prompt_text(1000 + number, num_tokens))], 1)

    # In this order in every round: what comes second has been asked before.
    cold, warm = [], []
    for number in range(stage.scale.num_rounds + 1):
        once, twice = first_token(number), first_token(number)
        if number:
            cold.append(once)
            warm.append(twice)
    name = f"{stage.small} through HTTP: a prompt of {num_tokens:,} tokens run again, time to its first token"
    yield _one(name, "ms", ("again", warm), ("cold", cold), 0.05)


def memory(stage: Stage) -> Iterator[Figure]:
    """What a server has in memory after Compare, beside one that answered for the base alone."""
    base, size = stage.small, stage.scale
    # Compiling kernels leaves memory behind: that is over, and kept, before the first of these begins.
    stage.server()
    found: dict[str, list[float]] = {"base": [], "Compare": []}
    for number in range(1 + size.num_rounds // 3):
        for name, models in (("base", [base]), ("Compare", [base, f"{base}-tuned"])):
            with contextlib.closing(stage.new_server()) as server:
                server.seconds([(model, prompt_text(number, size.num_prompt)) for model in models], size.num_answer)
                found[name].append(server.memory_mb())
    text = f"{base}: a server's memory after Compare beside one that answered for the base alone"
    yield _one(text, "MB", ("base and fine-tune", found["Compare"]), ("base alone", found["base"]), 1.05)


PROGRAMME: dict[str, Callable[[Stage], Iterator[Figure]]] = {
    part.__name__: part for part in (speeds, int8, avx2, tuned, families, http, busy, again, memory)
}


def _asked(stage: Stage, goals: dict[int, float]) -> dict[int, float]:
    """The goals for as many answers as are asked for at once."""
    return {n: goal for n, goal in goals.items() if n in stage.scale.at_once}


def _mixed(base: str) -> list[str]:
    return [base, f"{base}-tuned", f"{base}-other"] * 2 + [base, f"{base}-tuned"]


def _own(stage: Stage, models: Sequence[str], *, held: bool = False) -> Callable[[int], float]:
    worker, size = stage.own(held=held), stage.scale
    settings = {"num_prompt": size.num_prompt, "num_answer": size.num_answer}
    return lambda number: worker.ask("speed", models=models, seed=number, **settings)


def _rows(stage: Stage, worker: Any, model: str, num_rows: int) -> Callable[[int], float]:
    size = stage.scale
    settings = {"num_prompt": size.num_prompt, "num_answer": size.num_answer}
    return lambda number: worker.ask("speed", model=model, num_rows=num_rows, seed=number, **settings)


def _ms(tokens_per_s: Sequence[float], num_rows: int) -> list[float]:
    """Milliseconds a token of each row."""
    return [1000 * num_rows / speed for speed in tokens_per_s]


def _llama_cpp_missing(stage: Stage) -> str:
    """Why llama.cpp is not measured, if it is not."""
    try:
        stage.llama_cpp()
    except NotMeasured as reason:
        return str(reason)
    return ""


def _beside(text: str, peer: str, found: Speeds, goals: Mapping[int, float | None], missing: str = "") -> Figure:
    """Speeds of this program and of a peer at several numbers of answers, and the goal for each."""
    names = {"stock": "transformers"}
    cases = (
        ()
        if missing
        else tuple(Case(str(n), found[f"own {n}"], found[f"{peer} {n}"], goal) for n, goal in goals.items())
    )
    return Figure(text, SPEED, OWN, names.get(peer, peer), True, cases, missing)


def _one(text: str, unit: str, ours: Side, theirs: Side, goal: float | None, *, more: bool = False) -> Figure:
    """A figure of one case: what each side is called, and what it did."""
    return Figure(text, unit, ours[0], theirs[0], more, (Case("", ours[1], theirs[1], goal),))
