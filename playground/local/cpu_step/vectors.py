"""The kernels over packed floats: products, sums, what is done number by number, low rank, linear attention.

Knows addresses, blocks and strides; nothing of models, rows or threads. The blocks of one row lie a stride apart,
since several rows are packed block by block. Sums are taken in one fixed order: a row's result is the same bits
however many rows are asked for at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from playground.local.cpu_step.assembly import BLOCK, F32, I16, I32, IS_WIDE, ITEM, WIDTH, Code, Value, kernel

# Numbers one at a time


@kernel("i", types.float32)
def load(c: Code, address: Value) -> Value:
    """The float at an address."""
    return c.b.load(c.pointer(address), typ=F32, align=4)


@kernel("if")
def store(c: Code, address: Value, value: Value) -> None:
    """Puts a float at an address."""
    c.store(value, address)


@kernel("if")
def store_bfloat16(c: Code, address: Value, value: Value) -> None:
    """Puts a float at an address as a bfloat16, rounded to the nearest, ties to even."""
    b = c.b
    bits = b.bitcast(value, I32)
    odd = b.and_(b.lshr(bits, ir.Constant(I32, 16)), ir.Constant(I32, 1))
    rounded = b.lshr(b.add(b.add(bits, ir.Constant(I32, 0x7FFF)), odd), ir.Constant(I32, 16))
    b.store(b.trunc(rounded, I16), c.pointer(address), align=2)


# Products


def _dots(kind: str, num_weights: int, num_rows: int) -> Any:
    """A tile: `num_weights` rows of weights times `num_rows` packed rows, each product with a sum of its own.

    The numba function's parameters: address of the weights, bytes from one row of weights to the next, address of
    the first packed row, bytes from block to block of it, number of blocks, address for the results, bytes there
    from one packed row to the next, and how many bytes on the weights lie that come next.
    """

    @kernel("iiiiiiii")
    def dots(
        c: Code,
        weights: Value,
        step: Value,
        x: Value,
        stride: Value,
        blocks: Value,
        out: Value,
        pitch: Value,
        ahead: Value,
    ) -> None:
        b = c.b

        def body(i: Value, *sums: Value) -> list[Value]:
            start = c.at(weights, b.mul(i, c.int(WIDTH * ITEM[kind])))
            rows = [c.at(start, b.mul(step, c.int(k))) for k in range(num_weights)]
            # A processor that walks several rows does not see by itself where they lead.
            for row in rows:
                c.fetch(c.at(row, ahead))
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


TILES = {1: 4, 2: 4, 4: 4, 8: 3} if IS_WIDE else {1: 4, 2: 4, 4: 2, 8: 1}
"""Rows of weights that a tile takes, by packed rows: as many as the registers hold the sums of."""

dots_bf16, dots_f32, dots_int8 = (
    {rows: _dots(kind, count, rows) for rows, count in TILES.items()} for kind in ("bfloat16", "float32", "int8")
)


@kernel("iiif", types.float32)
def sum_of_squares(c: Code, x: Value, stride: Value, blocks: Value, mean: Value) -> Value:
    """Over a row's blocks, each number less the mean."""
    b, middle = c.b, c.spread(mean)

    def body(i: Value, total: Value) -> list[Value]:
        value = b.fsub(c.load(c.at(x, b.mul(i, stride))), middle)
        return [c.fma(value, value, total)]

    return c.sum(c.loop(blocks, [c.all(0.0)], body)[0])


@kernel("iii", types.float32)
def sum_of(c: Code, x: Value, stride: Value, blocks: Value) -> Value:
    """Over a row's blocks."""

    def body(i: Value, total: Value) -> list[Value]:
        return [c.b.fadd(total, c.load(c.at(x, c.b.mul(i, stride))))]

    return c.sum(c.loop(blocks, [c.all(0.0)], body)[0])


def _weighted(kind: str, num_blocks: int) -> Any:
    """Adds to `num_blocks` blocks at `out`, `stride` bytes apart: as many of `kind` out of each of `count` rows of
    values, `step` bytes apart, times the row's float in `shares`."""

    @kernel("iiiiii")
    def weighted(c: Code, shares: Value, values: Value, step: Value, count: Value, out: Value, stride: Value) -> None:
        b = c.b

        def body(i: Value, *totals: Value) -> list[Value]:
            share = c.spread(b.load(c.pointer(c.at(shares, b.mul(i, c.int(4)))), typ=F32, align=4))
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
    @kernel("iiiif")
    def widened(c: Code, out: Value, stride: Value, source: Value, blocks: Value, factor: Value) -> None:
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

    @kernel("ii" * (1 + num_inputs) + "i" + parameters)
    def elementwise(c: Code, *args: Value) -> None:
        b = c.b
        places = [(args[2 * i], args[2 * i + 1]) for i in range(1 + num_inputs)]
        blocks, *numbers = args[2 * len(places) :]
        numbers = [c.spread(number) for number in numbers]

        def body(i: Value) -> list[Value]:
            addresses = [c.at(address, b.mul(i, stride)) for address, stride in places]
            c.store(compute(c, *(c.load(address) for address in addresses), *numbers), addresses[0])
            return []

        c.loop(blocks, [], body)

    return elementwise


def _product(c: Code, x: Value, y: Value) -> Value:
    return c.b.fmul(x, y)


set_scaled = _elementwise("f", lambda c, _, x, w, f: _product(c, _product(c, x, f), w), 2)
"""dst = x · f · w."""
add_scaled = _elementwise("ff", lambda c, old, x, w, f, s: _product(c, c.fma(_product(c, x, f), w, old), s), 2)
"""dst = (dst + x · f · w) · s."""
set_centred = _elementwise("ff", lambda c, _, x, w, bias, mean, f: c.fma(_product(c, c.b.fsub(x, mean), f), w, bias), 3)
"""dst = (x − mean) · f · w + bias."""
set_times = _elementwise("f", lambda c, _, x, f: _product(c, x, f), 1)
"""dst = x · f."""
add_times = _elementwise("ff", lambda c, old, x, f, s: _product(c, c.fma(x, f, old), s), 1)
"""dst = (dst + x · f) · s."""
add_plain = _elementwise("", lambda c, old, x: c.b.fadd(old, x), 1)
"""dst = dst + x."""
set_exp = _elementwise("ff", lambda c, old, f, top: c.exp(c.b.fsub(_product(c, old, f), top)), 0)
"""dst = e^(dst · f − top)."""
set_zero = _elementwise("", lambda c, _: c.all(0.0), 0)
"""dst = 0."""
set_capped = _elementwise("f", lambda c, old, cap: _product(c, c.tanh(old), cap), 0)
"""dst = cap · tanh(dst)."""
times_plain = _elementwise("", lambda c, old, x: _product(c, old, x), 1)
"""dst = dst · x."""


def _silu(c: Code, x: Value) -> Value:
    return _product(c, x, c.sigmoid(x))


def _gelu_tanh(c: Code, x: Value) -> Value:
    cube = _product(c, _product(c, x, x), x)
    inner = _product(c, c.fma(cube, c.all(0.044715), x), c.all(math.sqrt(2 / math.pi)))
    return _product(c, _product(c, x, c.all(0.5)), c.b.fadd(c.tanh(inner), c.all(1.0)))


def _gelu_erf(c: Code, x: Value) -> Value:
    return _product(c, _product(c, x, c.all(0.5)), c.b.fadd(c.erf(_product(c, x, c.all(math.sqrt(0.5)))), c.all(1.0)))


def _activated(function: Callable[[Code, Value], Value]) -> tuple[Any, Any]:
    """dst = function(x), and dst = function(x) · y."""
    plain = _elementwise("", lambda c, _, x: function(c, x), 1)
    gated = _elementwise("", lambda c, _, x, y: _product(c, function(c, x), y), 2)
    return plain, gated


silu, silu_gated = _activated(_silu)
gelu_tanh, gelu_tanh_gated = _activated(_gelu_tanh)
gelu_erf, gelu_erf_gated = _activated(_gelu_erf)
_, sigmoid_gated = _activated(lambda c, x: c.sigmoid(x))


# Low rank


@kernel("iiiiii")
def add_low_rank(c: Code, out: Value, blocks: Value, t: Value, columns: Value, step: Value, rank: Value) -> None:
    """Adds to the blocks at `out`: `rank` rows of floats at `columns`, `step` bytes apart, each times its float in
    `t`."""
    b = c.b

    def block(i: Value) -> list[Value]:
        place = c.at(out, b.mul(i, c.int(BLOCK)))
        start = c.at(columns, b.mul(i, c.int(BLOCK)))

        def body(j: Value, total: Value) -> list[Value]:
            share = b.load(c.pointer(c.at(t, b.mul(j, c.int(4)))), typ=F32, align=4)
            return [c.fma(c.load(c.at(start, b.mul(j, step))), c.spread(share), total)]

        c.store(c.loop(rank, [c.load(place)], body)[0], place)
        return []

    c.loop(blocks, [], block)


add_stretched = _elementwise("f", lambda c, old, x, scale, f: c.fma(c.b.fsub(_product(c, scale, x), old), f, old), 2)
"""dst = dst + f · (scale · x − dst): DoRA at a strength."""


# Linear attention


@kernel("iiiiiiii")
def convolve(
    c: Code,
    out: Value,
    ostride: Value,
    x: Value,
    stride: Value,
    state: Value,
    weights: Value,
    pitch: Value,
    blocks: Value,
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


@kernel("iiiiiff")
def delta_rule(
    c: Code, state: Value, pitch: Value, keys: Value, size: Value, value_out: Value, decay: Value, beta: Value
) -> None:
    """One block of a head's values through the gated delta rule: the value at `value_out` becomes the output.

    `state` holds a row of `pitch` bytes for each of a key's numbers; `keys` the key's floats and then the query's, as
    many; `size` is how many.
    """
    b = c.b

    def number(address: Value, i: Value) -> Value:
        return c.spread(b.load(c.pointer(c.at(address, b.mul(i, c.int(4)))), typ=F32, align=4))

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
