"""Stands in for the package that lends a Space its GPU, as far as a decorated generator can tell: each call runs in a
forked process, arguments and values are pickled, closing the generator ends the call, quotas come as Gradio's errors.

What it did is written to the file in STAND_IN_LOG, a line of JSON each. While the file in STAND_IN_FAULT holds `quota`,
`raise` or `die`, calls go wrong so.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Generator
from functools import wraps
from pathlib import Path
from typing import Any

if "torch" in sys.modules:
    raise RuntimeError("spaces must be imported before torch")

_FORK = multiprocessing.get_context("fork")
_END = None


def GPU(task: Any = None, *, duration: Any = 60) -> Any:
    if task is None:
        return lambda task: GPU(task, duration=duration)
    assert inspect.isgeneratorfunction(task)
    _note(decorated=task.__name__)

    @wraps(task)
    def call(*args: Any) -> Generator[Any, None, None]:
        seconds: Any = duration(*args) if callable(duration) else duration
        fault = _fault()
        if fault == "quota":
            raise _error("ZeroGPU quota exceeded", f"You have exceeded your free ZeroGPU quota ({seconds}s requested).")
        yield from _forked(task, pickle.dumps(args), seconds, fault)

    return call


def gradio_auto_wrap(task: Any) -> Any:
    """Gradio asks this of every handler on a Space."""
    return task


def _forked(task: Callable[..., Any], args: bytes, seconds: int, fault: str) -> Generator[Any, None, None]:
    values, stop = _FORK.SimpleQueue(), _FORK.Event()
    process = _FORK.Process(target=_work, args=(task, args, values, stop, fault), daemon=True)
    process.start()
    _note(began=process.pid, seconds=seconds, parent=os.getpid())
    try:
        yield from _values(process, values)
    except GeneratorExit:
        stop.set()
        raise
    finally:
        process.join()
        _note(ended=process.pid, stopped=stop.is_set(), code=process.exitcode)


def _values(process: Any, values: Any) -> Generator[Any, None, None]:
    while True:
        while values.empty():
            if not process.is_alive() and values.empty():
                raise _error("ZeroGPU worker error", "GPU task aborted")
            process.join(0.005)
        kind, value = pickle.loads(values.get())
        if kind is _END:
            return
        if kind == "error":
            raise _error("ZeroGPU worker error", value)
        yield value


def _work(task: Callable[..., Any], args: bytes, values: Any, stop: Any, fault: str) -> None:
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    answers = task(*pickle.loads(args))
    try:
        if fault == "raise":
            raise RuntimeError("as it was told to")
        for value in answers:
            if stop.is_set():
                answers.close()
                break
            values.put(pickle.dumps(("value", value)))
        values.put(pickle.dumps((_END, None)))
    except Exception as error:  # noqa: BLE001 - only the class's name goes back, as with the real one
        values.put(pickle.dumps(("error", type(error).__name__)))


def _error(title: str, message: str) -> Exception:
    import gradio

    return gradio.Error(message, title=title, print_exception=False)


def _fault() -> str:
    file = Path(os.environ["STAND_IN_FAULT"])
    return file.read_text() if file.exists() else ""


def _note(**what: Any) -> None:
    with open(os.environ["STAND_IN_LOG"], "a") as file:
        file.write(json.dumps(what) + "\n")
