"""The threads that run a step together: as many as cores, one of them the caller's own.

Knows units, phases and waiting; nothing of what a unit does. Units are taken one by one from a shared counter, so a
thread that a busy neighbour holds up leaves its share to the others. Between steps the helpers sleep.

The counters only ever rise: a thread that comes late to a step finds nothing left to take, whatever step runs by
then, and hurts nobody.
"""

from __future__ import annotations

import queue
import threading

import numpy as np
from numba import njit, types

from playground.local.cpu_step.atomics import atomic_add, atomic_load, swap_if
from playground.local.cpu_step.ops import Batch, work

TAKEN, DONE, BROKEN = 0, 8, 64
"""Where the counters lie, in int64s: far enough apart that they share no line of the cache."""
NUM_CONTROL = 72
SPINS = 2000
"""So often a waiting thread looks before it lets others have the core."""
PATIENCE = 20_000
"""So often it gives the core away before the caller looks whether the helpers live."""

_Order = tuple[Batch, np.ndarray, int]
_yield = types.ExternalFunction("sched_yield", types.int32())


@njit(nogil=True, error_model="numpy")
def take_part(batch: Batch, control: np.ndarray, base: int, thread: int) -> int:
    """Runs units of a step until all are done: 0. Comes back early with 1 where the step broke, with 2 after a long
    wait. `control` holds the counters, `base` is what they stood at when the step began."""
    counters = control.ctypes.data
    taken, done, broken = counters + TAKEN * 8, counters + DONE * 8, counters + BROKEN * 8
    start = base
    for phase in range(len(batch.phases)):
        end = base + batch.limits[phase]
        while True:
            unit = atomic_load(taken)
            if unit >= end:
                break
            if atomic_load(broken):
                return 1
            if swap_if(taken, unit, unit + 1):
                _run(batch, phase, unit - start, thread)
                atomic_add(done, 1)
        spins = 0
        while atomic_load(done) < end:
            if atomic_load(broken):
                return 1
            spins += 1
            if spins > SPINS:
                _yield()
                if spins > SPINS + PATIENCE:
                    return 2
        start = end
    return 0


@njit(nogil=True, error_model="numpy", inline="always")
def _run(batch: Batch, phase: int, unit: int, thread: int) -> None:
    """The unit with this number in its phase."""
    for op in range(batch.phases[phase, 0], batch.phases[phase, 1]):
        if unit < batch.units[op]:
            work(batch, op, unit, thread)
            return
        unit -= batch.units[op]


class StepBroken(Exception):
    """A thread failed in the middle of a step: what the rows keep is half-written."""


class Crew:
    """`num_threads` threads, the caller's with them. One step at a time."""

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._control = np.zeros(NUM_CONTROL, np.int64)
        self._base = 0
        self._orders: list[queue.SimpleQueue[_Order | None]] = []
        self._helpers: list[threading.Thread] = []

    def run(self, batch: Batch) -> None:
        """All of a step; raises `StepBroken` where a thread failed in it, after which steps can go on."""
        if not all(helper.is_alive() for helper in self._helpers):
            # It failed in a step that the caller had done alone by then.
            self.close()
        self._ensure_helpers()
        control, base = self._control, self._base
        self._base += int(batch.limits[-1])
        for order in self._orders:
            order.put((batch, control, base))
        try:
            while (state := take_part(batch, control, base, 0)) == 2:
                if not all(helper.is_alive() for helper in self._helpers):
                    raise StepBroken("a helper thread is gone")
            if state == 1:
                raise StepBroken("a helper thread failed")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the helpers; a later step begins with new ones. When it returns, no thread touches a row any more."""
        self._control[BROKEN] = 1
        for order in self._orders:
            order.put(None)
        for helper in self._helpers:
            helper.join()
        self._orders, self._helpers = [], []
        self._control, self._base = np.zeros(NUM_CONTROL, np.int64), 0

    def _ensure_helpers(self) -> None:
        while len(self._helpers) < self.num_threads - 1:
            order: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
            number = len(self._helpers) + 1
            helper = threading.Thread(target=_help, args=(order, number), name=f"step {number}", daemon=True)
            helper.start()
            self._orders.append(order)
            self._helpers.append(helper)


def _help(order: queue.SimpleQueue[_Order | None], thread: int) -> None:
    while (job := order.get()) is not None:
        batch, control, base = job
        try:
            while take_part(batch, control, base, thread) == 2:
                pass
        except BaseException:
            control[BROKEN] = 1
            raise
        # A thread that sleeps keeps no row's memory.
        del job, batch
