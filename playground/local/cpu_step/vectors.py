"""The machine's vectors inside numba: each kernel is written once as LLVM vector code, for whatever CPU runs it.

Knows addresses, blocks and strides; nothing of models, rows or threads. A *block* is `WIDTH` floats that lie side
by side; blocks of one row lie a stride apart, since several rows are packed block by block. Sums are taken in one
fixed order: a row's result is the same bits however many rows are asked for at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = llvm.get_host_cpu_features()
WIDTH = 16 if _FEATURES.get("avx512f") else 8
"""Floats in a block."""
BLOCK = 4 * WIDTH
"""Bytes in a block."""

KINDS = ("bfloat16", "float32", "int8")
"""How weights, keys and values may be kept; their index is how an op names one."""
ITEM = {"bfloat16": 2, "float32": 4, "int8": 1}

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_V = ir.VectorType(_F32, WIDTH)
_VI = ir.VectorType(_I32, WIDTH)
_POINTER = ir.PointerType()

Value = Any


class _Code:
    """The code of one kernel as it is written: every method appends instructions and gives their value."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def int(self, value: int) -> Value:
        return ir.Constant(_I64, value)

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
            small = b.load(pointer, typ=ir.VectorType(_I8, WIDTH), align=1)
            return b.sitofp(b.sext(small, _VI), _V)
        # A bfloat16 is the upper half of a float.
        half = b.zext(b.load(pointer, typ=ir.VectorType(_I16, WIDTH), align=2), _VI)
        return b.bitcast(b.shl(half, ir.Constant(_VI, [16] * WIDTH)), _V)

    def store(self, value: Value, address: Value) -> None:
        self.b.store(value, self.pointer(address), align=4)

    def prefetch(self, address: Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.prefetch.p0")
        self.b.call(function, [self.pointer(address), *(ir.Constant(_I32, value) for value in (0, 3, 1))])

    def spread(self, number: Value) -> Value:
        """A block of one number over and over."""
        one = self.b.insert_element(ir.Constant(_V, ir.Undefined), number, ir.Constant(_I32, 0))
        return self.b.shuffle_vector(one, one, ir.Constant(_VI, [0] * WIDTH))

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        return self._intrinsic("fma", x, y, z)

    def max(self, x: Value, y: Value) -> Value:
        return self._intrinsic("maxnum", x, y)

    def min(self, x: Value, y: Value) -> Value:
        return self._intrinsic("minnum", x, y)

    def _intrinsic(self, name: str, *args: Value) -> Value:
        kind = ir.FunctionType(_V, [_V] * len(args))
        function = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.{name}.v{WIDTH}f32")
        return self.b.call(function, args)

    def sum(self, value: Value) -> Value:
        """The sum of a block, by halves."""
        width = WIDTH
        while width > 1:
            width //= 2
            mask = [ir.Constant(ir.VectorType(_I32, width), [start + i for i in range(width)]) for start in (0, width)]
            value = self.b.fadd(*(self.b.shuffle_vector(value, value, part) for part in mask))
        return self.b.extract_element(value, ir.Constant(_I32, 0))

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
        i = b.phi(_I64)
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


def _kernel(parameters: str, result: Any = types.void) -> Callable[[Callable[..., Value]], Any]:
    """Makes a numba function of one that writes its code. `parameters` has one letter each: i for an int64, f for a
    float32."""
    signature = result(*(types.int64 if letter == "i" else types.float32 for letter in parameters))

    def make(write: Callable[..., Value]) -> Any:
        def generate(context: Any, builder: Any, _: Any, args: Sequence[Value]) -> Value:
            value = write(_Code(builder), *args)
            return context.get_dummy_value() if value is None else value

        # numba wants a function of just so many parameters.
        names = ", ".join(f"p{i}" for i in range(len(parameters)))
        scope: dict[str, Any] = {"made": (signature, generate)}
        exec(f"def {write.__name__}(context, {names}):\n    return made", scope)
        return intrinsic(scope[write.__name__])

    return make


# Numbers one at a time


@_kernel("i", types.float32)
def load(c: _Code, address: Value) -> Value:
    """The float at an address."""
    return c.b.load(c.pointer(address), typ=_F32, align=4)


@_kernel("if")
def store(c: _Code, address: Value, value: Value) -> None:
    """Puts a float at an address."""
    c.store(value, address)


@_kernel("if")
def store_bfloat16(c: _Code, address: Value, value: Value) -> None:
    """Puts a float at an address as a bfloat16, rounded to the nearest, ties to even."""
    b = c.b
    bits = b.bitcast(value, _I32)
    odd = b.and_(b.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
    rounded = b.lshr(b.add(b.add(bits, ir.Constant(_I32, 0x7FFF)), odd), ir.Constant(_I32, 16))
    b.store(b.trunc(rounded, _I16), c.pointer(address), align=2)


# Products


def _dots(kind: str, num_weights: int, num_rows: int) -> Any:
    """A tile: `num_weights` rows of weights times `num_rows` packed rows, each product with a sum of its own.

    The numba function's parameters: address of the weights, bytes from one row of weights to the next, address of
    the first packed row, bytes from block to block of it, number of blocks, address for the results, bytes there
    from one packed row to the next.
    """

    @_kernel("iiiiiii")
    def dots(
        c: _Code, weights: Value, step: Value, x: Value, stride: Value, blocks: Value, out: Value, pitch: Value
    ) -> None:
        b = c.b

        def body(i: Value, *sums: Value) -> list[Value]:
            start = c.at(weights, b.mul(i, c.int(WIDTH * ITEM[kind])))
            rows = [c.at(start, b.mul(step, c.int(k))) for k in range(num_weights)]
            own = [c.load(row, kind) for row in rows]
            block = c.at(x, b.mul(i, stride))
            new = list(sums)
            for r in range(num_rows):
                value = c.load(c.at(block, r * BLOCK))
                for k in range(num_weights):
                    new[k * num_rows + r] = c.fma(own[k], value, sums[k * num_rows + r])
            return new

        sums = c.loop(blocks, [c.all(0.0)] * (num_weights * num_rows), body)
        for k in range(num_weights):
            for r in range(num_rows):
                c.store(c.sum(sums[k * num_rows + r]), c.at(c.at(out, 4 * k), b.mul(pitch, c.int(r))))

    return dots


dot_bf16_1, dot_bf16_2, dot_bf16_4, dot_bf16_8 = (_dots("bfloat16", 1, rows) for rows in (1, 2, 4, 8))
dot_f32_1, dot_f32_2, dot_f32_4, dot_f32_8 = (_dots("float32", 1, rows) for rows in (1, 2, 4, 8))
dot_bf16_keys, dot_f32_keys = (_dots(kind, 4, 1) for kind in ("bfloat16", "float32"))
dot_int8_1, dot_int8_2, dot_int8_4, dot_int8_8 = (_dots("int8", 1, rows) for rows in (1, 2, 4, 8))


@_kernel("iiif", types.float32)
def sum_of_squares(c: _Code, x: Value, stride: Value, blocks: Value, mean: Value) -> Value:
    """Over a row's blocks, each number less the mean."""
    b, middle = c.b, c.spread(mean)

    def body(i: Value, total: Value) -> list[Value]:
        value = b.fsub(c.load(c.at(x, b.mul(i, stride))), middle)
        return [c.fma(value, value, total)]

    return c.sum(c.loop(blocks, [c.all(0.0)], body)[0])


@_kernel("iii", types.float32)
def sum_of(c: _Code, x: Value, stride: Value, blocks: Value) -> Value:
    """Over a row's blocks."""

    def body(i: Value, total: Value) -> list[Value]:
        return [c.b.fadd(total, c.load(c.at(x, c.b.mul(i, stride))))]

    return c.sum(c.loop(blocks, [c.all(0.0)], body)[0])


def _weighted(kind: str, num_blocks: int) -> Any:
    """Adds to `num_blocks` blocks at `out`, `stride` bytes apart: as many blocks of `kind` out of each of `count` rows of
    values, `step` bytes apart, times the row's float in `shares`."""

    @_kernel("iiiiii")
    def weighted(
        c: _Code, shares: Value, values: Value, step: Value, count: Value, out: Value, stride: Value
    ) -> None:
        b = c.b

        def body(i: Value, *totals: Value) -> list[Value]:
            share = c.spread(b.load(c.pointer(c.at(shares, b.mul(i, c.int(4)))), typ=_F32, align=4))
            row = c.at(values, b.mul(i, step))
            blocks = [c.load(c.at(row, k * WIDTH * ITEM[kind]), kind) for k in range(num_blocks)]
            return [c.fma(block, share, total) for block, total in zip(blocks, totals, strict=True)]

        places = [c.at(out, b.mul(stride, c.int(k))) for k in range(num_blocks)]
        for place, total in zip(places, c.loop(count, [c.load(place) for place in places], body), strict=True):
            c.store(total, place)

    return weighted


weighted_bf16_1, weighted_bf16_4 = (_weighted("bfloat16", blocks) for blocks in (1, 4))
weighted_f32_1, weighted_f32_4 = (_weighted("float32", blocks) for blocks in (1, 4))


def _widened(kind: str) -> Any:
    @_kernel("iiiif")
    def widened(c: _Code, out: Value, stride: Value, source: Value, blocks: Value, factor: Value) -> None:
        """Blocks of `kind` that lie one after the other, as floats times a factor."""
        b = c.b

        def body(i: Value) -> list[Value]:
            value = c.load(c.at(source, b.mul(i, c.int(WIDTH * ITEM[kind]))), kind)
            c.store(b.fmul(value, c.spread(factor)), c.at(out, b.mul(i, stride)))
            return []

        c.loop(blocks, [], body)

    return widened


widened_bf16, widened_f32 = _widened("bfloat16"), _widened("float32")


# Over all blocks of a row, or of rows that lie side by side


def _elementwise(parameters: str, compute: Callable[..., Value], num_inputs: int) -> Any:
    """A kernel over blocks: destination and inputs each as address and stride, then the number of blocks, then the
    letters of `parameters`; `compute(code, old, *inputs, *numbers)` gives the new block, numbers spread."""

    @_kernel("ii" * (1 + num_inputs) + "i" + parameters)
    def kernel(c: _Code, *args: Value) -> None:
        b = c.b
        places = [(args[2 * i], args[2 * i + 1]) for i in range(1 + num_inputs)]
        blocks, *numbers = args[2 * len(places) :]
        numbers = [c.spread(number) for number in numbers]

        def body(i: Value) -> list[Value]:
            addresses = [c.at(address, b.mul(i, stride)) for address, stride in places]
            c.store(compute(c, *(c.load(address) for address in addresses), *numbers), addresses[0])
            return []

        c.loop(blocks, [], body)

    return kernel


def _product(c: _Code, x: Value, y: Value) -> Value:
    return c.b.fmul(x, y)


set_scaled = _elementwise("f", lambda c, old, x, w, f: _product(c, _product(c, x, f), w), 2)
"""dst = x · f · w."""
add_scaled = _elementwise("ff", lambda c, old, x, w, f, s: _product(c, c.fma(_product(c, x, f), w, old), s), 2)
"""dst = (dst + x · f · w) · s."""
set_centred = _elementwise(
    "ff", lambda c, old, x, w, bias, mean, f: c.fma(_product(c, c.b.fsub(x, mean), f), w, bias), 3
)
"""dst = (x − mean) · f · w + bias."""
set_times = _elementwise("f", lambda c, old, x, f: _product(c, x, f), 1)
"""dst = x · f."""
add_times = _elementwise("ff", lambda c, old, x, f, s: _product(c, c.fma(x, f, old), s), 1)
"""dst = (dst + x · f) · s."""
add_plain = _elementwise("", lambda c, old, x: c.b.fadd(old, x), 1)
"""dst = dst + x."""
set_exp = _elementwise("ff", lambda c, old, f, top: c.exp(c.b.fsub(_product(c, old, f), top)), 0)
"""dst = e^(dst · f − top)."""
set_zero = _elementwise("", lambda c, old: c.all(0.0), 0)
"""dst = 0."""
set_capped = _elementwise("f", lambda c, old, cap: _product(c, c.tanh(old), cap), 0)
"""dst = cap · tanh(dst)."""
times_plain = _elementwise("", lambda c, old, x: _product(c, old, x), 1)
"""dst = dst · x."""


def _silu(c: _Code, x: Value) -> Value:
    return _product(c, x, c.sigmoid(x))


def _gelu_tanh(c: _Code, x: Value) -> Value:
    cube = _product(c, _product(c, x, x), x)
    inner = _product(c, c.fma(cube, c.all(0.044715), x), c.all(math.sqrt(2 / math.pi)))
    return _product(c, _product(c, x, c.all(0.5)), c.b.fadd(c.tanh(inner), c.all(1.0)))


def _gelu_erf(c: _Code, x: Value) -> Value:
    return _product(c, _product(c, x, c.all(0.5)), c.b.fadd(c.erf(_product(c, x, c.all(math.sqrt(0.5)))), c.all(1.0)))


def _activated(function: Callable[[_Code, Value], Value]) -> tuple[Any, Any]:
    """dst = function(x), and dst = function(x) · y."""
    plain = _elementwise("", lambda c, old, x: function(c, x), 1)
    gated = _elementwise("", lambda c, old, x, y: _product(c, function(c, x), y), 2)
    return plain, gated


silu, silu_gated = _activated(_silu)
gelu_tanh, gelu_tanh_gated = _activated(_gelu_tanh)
gelu_erf, gelu_erf_gated = _activated(_gelu_erf)
_, sigmoid_gated = _activated(lambda c, x: c.sigmoid(x))


# Low rank


@_kernel("iiiiii")
def add_low_rank(c: _Code, out: Value, blocks: Value, t: Value, columns: Value, step: Value, rank: Value) -> None:
    """Adds to the blocks at `out`: `rank` rows of floats at `columns`, `step` bytes apart, each times its float in
    `t`."""
    b = c.b

    def block(i: Value) -> list[Value]:
        place = c.at(out, b.mul(i, c.int(BLOCK)))
        start = c.at(columns, b.mul(i, c.int(BLOCK)))

        def body(j: Value, total: Value) -> list[Value]:
            share = b.load(c.pointer(c.at(t, b.mul(j, c.int(4)))), typ=_F32, align=4)
            return [c.fma(c.load(c.at(start, b.mul(j, step))), c.spread(share), total)]

        c.store(c.loop(rank, [c.load(place)], body)[0], place)
        return []

    c.loop(blocks, [], block)


add_stretched = _elementwise("f", lambda c, old, x, scale, f: c.fma(c.b.fsub(_product(c, scale, x), old), f, old), 2)
"""dst = dst + f · (scale · x − dst): DoRA at a strength."""


# Linear attention


@_kernel("iiiiiiii")
def convolve(
    c: _Code, out: Value, ostride: Value, x: Value, stride: Value, state: Value, weights: Value, pitch: Value, blocks: Value
) -> None:
    """A causal convolution of four taps over a channel's last three inputs and this one, then silu; moves the three on.
    `state` holds three rows of channels, `weights` four, each row `pitch` bytes long."""
    b = c.b

    def body(i: Value) -> list[Value]:
        offset = b.mul(i, c.int(BLOCK))
        past = [c.at(c.at(state, offset), b.mul(pitch, c.int(k))) for k in range(3)]
        taps = [c.load(c.at(c.at(weights, offset), b.mul(pitch, c.int(k)))) for k in range(4)]
        values = [*(c.load(address) for address in past), c.load(c.at(x, b.mul(i, stride)))]
        total = c.all(0.0)
        for tap, value in zip(taps, values, strict=True):
            total = c.fma(tap, value, total)
        for address, value in zip(past, values[1:], strict=True):
            c.store(value, address)
        c.store(_silu(c, total), c.at(out, b.mul(i, ostride)))
        return []

    c.loop(blocks, [], body)


@_kernel("iiiiiff")
def delta_rule(
    c: _Code, state: Value, pitch: Value, keys: Value, sizes: Value, value_out: Value, decay: Value, beta: Value
) -> None:
    """One block of a head's values through the gated delta rule: reads the value at `value_out`, writes the output there.

    `state` holds a row of `pitch` bytes for each of a key's numbers; `keys` the key's floats and then the query's, as
    many; `sizes` is how many.
    """
    b = c.b
    size = sizes

    def number(address: Value, i: Value) -> Value:
        return c.spread(b.load(c.pointer(c.at(address, b.mul(i, c.int(4)))), typ=_F32, align=4))

    def recall(i: Value, total: Value) -> list[Value]:
        return [c.fma(c.load(c.at(state, b.mul(i, pitch))), number(keys, i), total)]

    seen = c.loop(size, [c.all(0.0)], recall)[0]
    fade = c.spread(decay)
    change = b.fmul(b.fsub(c.load(value_out), b.fmul(fade, seen)), c.spread(beta))
    queries = c.at(keys, b.mul(size, c.int(4)))

    def move(i: Value, total: Value) -> list[Value]:
        place = c.at(state, b.mul(i, pitch))
        new = c.fma(number(keys, i), change, b.fmul(fade, c.load(place)))
        c.store(new, place)
        return [c.fma(new, number(queries, i), total)]

    c.store(c.loop(size, [c.all(0.0)], move)[0], value_out)


# Between threads


@_kernel("i", types.int64)
def atomic_load(c: _Code, address: Value) -> Value:
    """The int64 at an address, as the last thread wrote it."""
    return c.b.load_atomic(c.pointer(address), ordering="acquire", align=8, typ=_I64)


@_kernel("ii")
def atomic_add(c: _Code, address: Value, value: Value) -> None:
    """Adds to the int64 at an address."""
    c.b.atomic_rmw("add", c.pointer(address), value, "acq_rel")


@_kernel("iii", types.boolean)
def swap_if(c: _Code, address: Value, old: Value, new: Value) -> Value:
    """Puts `new` in place of `old`, unless another thread was faster."""
    result = c.b.cmpxchg(c.pointer(address), old, new, "acq_rel", "acquire")
    return c.b.extract_value(result, 1)
