"""How far the Hub's client is with moving bytes, and a way to make it stop.

Knows threads and counts; refuses to know what moves and where to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Literal, TypeVar

from playground.errors import Cancelled
from playground.types import LoadWatch, Progress

T = TypeVar("T")

_REPORT_EVERY_S = 0.25
_STOP_WITHIN_S = 1.0
_BYTES_PER_UNIT = 1_000_000


class Meter:
    """Counts bytes as they move in the client's threads, and makes these stop where nobody waits."""

    def __init__(self, stage: Literal["downloading", "uploading"], num_bytes: int) -> None:
        self.stop = threading.Event()
        self._stage: Literal["downloading", "uploading"] = stage
        self._num_bytes = num_bytes
        self._lock = threading.Lock()
        self._counts: dict[int, float] = {}
        self._num_settled = 0.0

    def progress(self) -> Progress:
        with self._lock:
            # One bar counts what arrives, the other what is written: the further one is the truth.
            done = min(self._num_settled + max(self._counts.values(), default=0), self._num_bytes)
        fraction = done / self._num_bytes if self._num_bytes else None
        return Progress(self._stage, fraction, f"{size(done)} of {size(self._num_bytes)}")

    def whole(self) -> Progress:
        return Progress(self._stage, 1.0, size(self._num_bytes))

    def add(self, bar: int, num_bytes: float) -> None:
        """Called by the client's threads; raises `Cancelled` there, which ends them."""
        self.require_wanted()
        with self._lock:
            self._counts[bar] = self._counts.get(bar, 0) + num_bytes

    def settle(self) -> None:
        """What was counted so far is whole: what comes next counts on top of it."""
        with self._lock:
            self._num_settled += max(self._counts.values(), default=0)
            self._counts.clear()

    def require_wanted(self) -> None:
        """Raises `Cancelled` where nobody waits."""
        if self.stop.is_set():
            raise Cancelled("nobody waits for these bytes any more")

    def pause(self, seconds: float) -> None:
        """Sleeps, unless nobody waits any more: then it raises `Cancelled` at once."""
        self.stop.wait(seconds)
        self.require_wanted()


def run_watched(work: Callable[[], T], meter: Meter, watch: LoadWatch) -> T:
    """Lets the client work in a thread of its own, so that a stalled connection does not hold up a cancel."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=meter.progress().stage)
    working = executor.submit(work)
    try:
        while not wait([working], timeout=_REPORT_EVERY_S).done:
            watch.report(meter.progress())
        result = working.result()
        watch.report(meter.whole())
        return result
    finally:
        meter.stop.set()
        stopped = wait([working], timeout=_STOP_WITHIN_S).done
        executor.shutdown(wait=bool(stopped))


def size(num_bytes: float) -> str:
    """Megabytes or gigabytes, in words."""
    megabytes = num_bytes / _BYTES_PER_UNIT
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.1f} MB"
