"""The kernels' compiled code: made once behind the running program, and kept in a folder for the next start.

Knows numba's compiling and its cache; nothing of steps. What cannot be kept is compiled again; what cannot be
compiled at all is told, and the reference stepper goes on.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

import numpy as np
from numba.core import config
from numba.core.caching import NullCache

from playground.local.cpu_step import crew, ops
from playground.local.cpu_step.ops import Batch

log = logging.getLogger(__name__)


class Kernels:
    """`folder` is where the code may be kept; None keeps it nowhere."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._begun = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def begin(self) -> None:
        """Compiles in a thread of its own, unless that was begun already; returns at once."""
        with self._begun:
            if self._thread is None:
                self._thread = threading.Thread(target=self._compile, name="kernels", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Waits until the code is there; whether it is."""
        return self._ready.wait(timeout_s)

    def _compile(self) -> None:
        if self._folder is not None:
            _keep_in(self._folder / _version())
        try:
            _call()
        except Exception:
            # Code kept by a run that was cut, or a disk that is full: neither may cost the speed.
            log.debug("the kernels' code could not be kept or read", exc_info=True)
            setattr(crew.take_part, "_cache", NullCache())  # noqa: B010 - numba has no way to stop keeping
            try:
                _call()
            except Exception:
                log.exception("the CPU kernels could not be compiled; the reference stepper answers")
                return
        self._ready.set()


def _keep_in(folder: Path) -> None:
    setattr(config, "CACHE_DIR", str(folder))  # noqa: B010 - made by numba when it is imported
    try:
        folder.mkdir(parents=True, exist_ok=True)
        crew.take_part.enable_caching()
    except (OSError, RuntimeError) as error:
        log.warning("the CPU kernels' code cannot be kept in %s, so each start compiles it: %s", folder, error)


def _version() -> str:
    """What the code depends on beyond numba's own keys: the sources of all kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _call() -> None:
    """Compiles, by a step that has nothing to do."""
    crew.take_part(empty_batch(), np.zeros(crew.NUM_CONTROL, np.int64), 0, 0)


def empty_batch() -> Batch:
    """A step without phases, of just the types that every step has."""

    def integers(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.int64)

    return Batch(
        columns=integers(0, 1),
        numbers=np.zeros((0, 1)),
        phases=integers(0, 2),
        units=integers(0),
        limits=integers(0),
        bases=integers(0),
        widths=integers(0),
        rows=0,
        abreast=0,
        starts=integers(0),
        wanted=integers(0),
        tokens=integers(0),
        positions=integers(0),
        kept=integers(0, 0, 3),
        slots=integers(0, 4),
        angles=np.zeros((0, 0, 2, 0), np.float32),
        low_rank=integers(0, 0, 5),
        strengths=np.zeros((0, 0), np.float32),
        tuned=False,
        kind=ops.FLOAT32,
        scratch=np.zeros((0, 0), np.float32),
    )
