"""llama.cpp through llama-cpp-python: as many sequences as asked for, a token of each in every `llama_decode`.

`python -m bench.peers.llama THREADS [plain]` needs llama-cpp-python, gguf and numpy alone: no torch. `plain` leaves
out its buffers for special instructions: its AMX code ends the process on a machine that has AMX and does not allow it.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp as ll  # pyright: ignore[reportMissingImports]
import numpy as np

from bench.asking import prompt_ids
from bench.peers.obeying import obey
from tests.gguf_model import save_gguf

MOST_ROWS, ROW_TOKENS, BATCH_TOKENS = 8, 512, 512


@ll.llama_log_callback
def _quiet(*_: Any) -> None:
    """It tells much, and that while it is timed."""


def make(folder: str, file: str) -> str:
    """Makes `file` out of a Llama's folder in bfloat16, and one in q8_0 beside it: its path."""
    small = str(Path(file).with_suffix(".q8_0.gguf"))
    save_gguf(Path(folder), Path(file), "bfloat16")
    settings = ll.llama_model_quantize_default_params()
    settings.ftype = ll.LLAMA_FTYPE_MOSTLY_Q8_0
    if ll.llama_model_quantize(file.encode(), small.encode(), ctypes.byref(settings)):
        raise RuntimeError(f"{file} could not be quantized")
    return small


def version() -> str:
    """What was built, and for which instructions."""
    built = " ".join(one for one in ll.llama_print_system_info().decode().split(" | ") if one.endswith("= 1"))
    left_out = ", its AMX code left out, which this machine does not allow" if "plain" in sys.argv else ""
    return f"{ll.__version__} ({built.replace(' = 1', '').replace('CPU : ', '')}){left_out}"


def speed(model: str, num_rows: int, num_prompt: int, num_answer: int, seed: int) -> float:
    """Tokens a second over all rows, after the first token of each. `model` is a GGUF file."""
    context = _loaded(model)
    ll.llama_memory_clear(ll.llama_get_memory(context), True)
    batch = ll.llama_batch_init(BATCH_TOKENS, 0, 1)
    chosen = []
    for row in range(num_rows):
        prompt = prompt_ids(100 * seed + row, num_prompt)
        chosen += _decode(context, batch, prompt, range(num_prompt), [row] * num_prompt, [num_prompt - 1])
    began_at = time.perf_counter()
    for place in range(num_prompt, num_prompt + num_answer - 1):
        rows = range(num_rows)
        chosen = _decode(context, batch, chosen, [place] * num_rows, rows, rows)
    seconds = time.perf_counter() - began_at
    ll.llama_batch_free(batch)
    return num_rows * (num_answer - 1) / seconds


def _decode(
    context: Any, batch: Any, tokens: Sequence[int], places: Sequence[int], rows: Sequence[int], wanted: Sequence[int]
) -> list[int]:
    """Takes in tokens; the best token after each of the `wanted` ones."""
    batch.n_tokens = len(tokens)
    for i, (token, place, row) in enumerate(zip(tokens, places, rows, strict=True)):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, place, 1, row
        batch.logits[i] = i in wanted
    if ll.llama_decode(context, batch):
        raise RuntimeError("llama_decode failed")
    num_tokens = _num_tokens(context)
    return [
        int(np.ctypeslib.as_array(ll.llama_get_logits_ith(context, i), shape=(num_tokens,)).argmax()) for i in wanted
    ]


def _num_tokens(context: Any) -> int:
    return ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(ll.llama_get_model(context)))


@functools.cache
def _loaded(file: str) -> Any:
    weights = ll.llama_model_default_params()
    weights.use_extra_bufts = "plain" not in sys.argv
    model = ll.llama_model_load_from_file(file.encode(), weights)
    settings = ll.llama_context_default_params()
    settings.n_ctx, settings.n_seq_max = MOST_ROWS * ROW_TOKENS, MOST_ROWS
    settings.n_batch = settings.n_ubatch = BATCH_TOKENS
    settings.n_threads = settings.n_threads_batch = int(sys.argv[1])
    context = ll.llama_init_from_model(model, settings)
    if not context:
        raise RuntimeError(f"llama.cpp could not load {file}")
    return context


if __name__ == "__main__":
    ll.llama_log_set(_quiet, None)
    ll.llama_backend_init()
    obey({"make": make, "version": version, "speed": speed})
