"""Numbers that threads share: reading, adding, and swapping without another thread in between.

Knows addresses of int64s; nothing of what they count.
"""

from __future__ import annotations

from numba import types

from playground.local.cpu_step.assembly import I64, Code, Value, kernel


@kernel("i", types.int64)
def atomic_load(c: Code, address: Value) -> Value:
    """The int64 at an address, as the last thread wrote it."""
    return c.b.load_atomic(c.pointer(address), ordering="acquire", align=8, typ=I64)


@kernel("ii")
def atomic_add(c: Code, address: Value, value: Value) -> None:
    """Adds to the int64 at an address."""
    c.b.atomic_rmw("add", c.pointer(address), value, "acq_rel")


@kernel("iii", types.boolean)
def swap_if(c: Code, address: Value, old: Value, new: Value) -> Value:
    """Puts `new` in place of `old`, unless another thread was faster."""
    result = c.b.cmpxchg(c.pointer(address), old, new, "acq_rel", "acquire")
    return c.b.extract_value(result, 1)
