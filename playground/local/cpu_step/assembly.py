"""Writing a kernel as LLVM vector code that numba's functions call: once, for whatever CPU runs it.

Knows LLVM's types and instructions; nothing of what kernels are for. A *block* is `WIDTH` floats that lie side by
side; addresses and offsets are int64s, in bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16
"""Floats in a block: one vector of AVX-512, two of AVX2, which then add up side by side."""
BLOCK = 4 * WIDTH
"""Bytes in a block."""

FEATURES = (os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()).split(",")
"""What the processor is said to have, as LLVM names it, each with a sign before."""
IS_WIDE = "+avx512f" in FEATURES
"""Whether there are registers of a block each, and 32 of them; else a block takes two, of 16."""

KINDS = ("bfloat16", "float32", "int8")
"""How weights, keys and values may be kept; their index is how an op names one."""
ITEM = {"bfloat16": 2, "float32": 4, "int8": 1}

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()
_V = ir.VectorType(F32, WIDTH)
_VI = ir.VectorType(I32, WIDTH)
_POINTER = ir.PointerType()

Value = Any


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it, without which torch is several times slower at large matrices."""
    return not {"+avx512bf16", "+amx-bf16", "+bf16"}.isdisjoint(FEATURES)


class Code:
    """The code of one kernel as it is written: every method appends instructions and gives their value."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def int(self, value: int) -> Value:
        return ir.Constant(I64, value)

    def all(self, value: float) -> Value:
        return ir.Constant(_V, [value] * WIDTH)

    def at(self, address: Value, offset: Value | int = 0) -> Value:
        offset = self.int(offset) if isinstance(offset, int) else offset
        return self.b.add(address, offset)

    def pointer(self, address: Value) -> Value:
        return self.b.inttoptr(address, _POINTER)

    def load(self, address: Value, kind: str = "float32") -> Value:
        """A block of `kind` as floats."""
        b, pointer = self.b, self.pointer(address)
        if kind == "float32":
            return b.load(pointer, typ=_V, align=4)
        if kind == "int8":
            small = b.load(pointer, typ=ir.VectorType(I8, WIDTH), align=1)
            return b.sitofp(b.sext(small, _VI), _V)
        # A bfloat16 is the upper half of a float.
        half = b.zext(b.load(pointer, typ=ir.VectorType(I16, WIDTH), align=2), _VI)
        return b.bitcast(b.shl(half, ir.Constant(_VI, [16] * WIDTH)), _V)

    def store(self, value: Value, address: Value) -> None:
        self.b.store(value, self.pointer(address), align=4)

    def fetch(self, address: Value) -> None:
        """Asks for the line of the cache that an address lies in, which need not be anybody's."""
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.prefetch.p0")
        reading, near, data = (ir.Constant(I32, value) for value in (0, 3, 1))
        self.b.call(function, [self.pointer(address), reading, near, data])

    def spread(self, number: Value) -> Value:
        """A block of one number over and over."""
        one = self.b.insert_element(ir.Constant(_V, ir.Undefined), number, ir.Constant(I32, 0))
        return self.b.shuffle_vector(one, one, ir.Constant(_VI, [0] * WIDTH))

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        return self._intrinsic("fma", x, y, z)

    def max(self, x: Value, y: Value) -> Value:
        return self._intrinsic("maximum", x, y)

    def min(self, x: Value, y: Value) -> Value:
        return self._intrinsic("minimum", x, y)

    def _intrinsic(self, name: str, *args: Value) -> Value:
        kind = ir.FunctionType(_V, [_V] * len(args))
        function = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.{name}.v{WIDTH}f32")
        return self.b.call(function, args)

    def sum(self, value: Value) -> Value:
        """The sum of a block, by halves."""
        width = WIDTH
        while width > 1:
            width //= 2
            mask = [ir.Constant(ir.VectorType(I32, width), [start + i for i in range(width)]) for start in (0, width)]
            value = self.b.fadd(*(self.b.shuffle_vector(value, value, part) for part in mask))
        return self.b.extract_element(value, ir.Constant(I32, 0))

    def exp(self, x: Value) -> Value:
        """e to the x, within two units in the last place; beyond ±87 it stays where it is there."""
        b = self.b
        x = self.min(self.max(x, self.all(-87.0)), self.all(87.0))
        n = self._intrinsic("rint", b.fmul(x, self.all(1 / math.log(2))))
        # log 2 in two parts, the first with so few digits that n times it is exact.
        rest = self.fma(n, self.all(-0.693359375), x)
        rest = self.fma(n, self.all(2.12194440e-4), rest)
        y = self.all(1 / 5040)
        for k in (720, 120, 24, 6, 2, 1, 1):
            y = self.fma(y, rest, self.all(1 / k))
        power = b.shl(b.add(b.fptosi(n, _VI), ir.Constant(_VI, [127] * WIDTH)), ir.Constant(_VI, [23] * WIDTH))
        return b.fmul(y, b.bitcast(power, _V))

    def sigmoid(self, x: Value) -> Value:
        b = self.b
        return b.fdiv(self.all(1.0), b.fadd(self.all(1.0), self.exp(b.fneg(x))))

    def tanh(self, x: Value) -> Value:
        twice = self.sigmoid(self.b.fadd(x, x))
        return self.fma(twice, self.all(2.0), self.all(-1.0))

    def erf(self, x: Value) -> Value:
        """The error function, within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
        b = self.b
        size = self._intrinsic("fabs", x)
        t = b.fdiv(self.all(1.0), self.fma(size, self.all(0.3275911), self.all(1.0)))
        y = self.all(1.061405429)
        for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            y = self.fma(y, t, self.all(c))
        tail = b.fmul(b.fmul(y, t), self.exp(b.fneg(b.fmul(size, size))))
        return self._intrinsic("copysign", b.fsub(self.all(1.0), tail), x)

    def loop(self, count: Value, starts: Sequence[Value], body: Callable[..., Sequence[Value]]) -> list[Value]:
        """Runs `body(i, *carried)` for i in 0 … count − 1; gives what is carried in the end."""
        b = self.b
        before = b.block
        head, inner, after = (b.append_basic_block(name) for name in ("head", "inner", "after"))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        carried = [b.phi(start.type) for start in starts]
        i.add_incoming(self.int(0), before)
        for value, start in zip(carried, starts, strict=True):
            value.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", i, count), inner, after)
        b.position_at_end(inner)
        results = body(i, *carried)
        i.add_incoming(b.add(i, self.int(1)), b.block)
        for value, result in zip(carried, results, strict=True):
            value.add_incoming(result, b.block)
        b.branch(head)
        b.position_at_end(after)
        return carried


def kernel(parameters: str, result: Any = types.void) -> Callable[[Callable[..., Value]], Any]:
    """Makes a numba function of one that writes its code. `parameters` has one letter each: i for an int64, f for a
    float32."""
    kinds = [types.int64 if letter == "i" else types.float32 for letter in parameters]
    signature = result(types.BaseTuple.from_types(kinds))

    def make(write: Callable[..., Value]) -> Any:
        def generate(context: Any, builder: Any, _: Any, args: Sequence[Value]) -> Value:
            value = write(Code(builder), *cgutils.unpack_tuple(builder, args[0]))
            return context.get_dummy_value() if value is None else value

        # numba reads from this how many arguments there are: any number, as one tuple.
        def typed(_: Any, *__: Any) -> tuple[Any, Any]:
            return signature, generate

        return intrinsic(typed)

    return make
