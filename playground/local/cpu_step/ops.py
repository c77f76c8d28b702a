"""How each op of a plan is carried out: one unit of work at a time, in numba, by whichever thread takes it.

Knows a plan's columns, the packed layout and addresses; nothing of models, tensors or requests. A unit writes
what no other unit of its phase reads or writes.

A row's floats lie block by block, and the blocks of up to eight rows side by side: rows 0 to 7 are one group, 8 to
15 the next. A group has room for a power of two. Widths, starts and sizes are in floats; strides, pitches and
addresses in bytes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from playground.local.cpu_step import vectors as v
from playground.local.cpu_step.assembly import BLOCK, KINDS, WIDTH
from playground.local.cpu_step.plan import (
    ACT,
    ADD,
    ATTEND,
    CAP,
    CHUNK_BLOCKS,
    CONVOLVE,
    DELTA,
    EMBED,
    GELU_ERF,
    GELU_TANH,
    HEADS,
    LINEAR,
    LOW_RANK,
    NORM,
    SIGMOID,
    SILU,
)

GROUP = 8
"""Rows whose blocks lie side by side: as many as one tile takes."""
BFLOAT16, FLOAT32 = (KINDS.index(kind) for kind in ("bfloat16", "float32"))
_kernel = njit(nogil=True, error_model="numpy")
# numba optimizes all that a function calls once more with it: what only chooses is written into its caller.
_choice = njit(nogil=True, error_model="numpy", inline="always")


class Batch(NamedTuple):
    """One step over so many rows, as numba sees it."""

    columns: np.ndarray
    numbers: np.ndarray
    phases: np.ndarray
    units: np.ndarray
    """Units of work of each op."""
    limits: np.ndarray
    """Units of all phases up to and with each."""
    bases: np.ndarray
    """Addresses of the buffers."""
    widths: np.ndarray
    rows: int
    abreast: int
    """Rows that lie side by side in a group, of a power of two: the last may be nobody's."""
    starts: np.ndarray
    """(lanes + 1): where each lane's rows begin. Several rows of one lane are tokens that follow one another."""
    wanted: np.ndarray
    """(rows,): which of the logits are a row's own; -1 where nobody asks for them."""
    tokens: np.ndarray
    positions: np.ndarray
    """Tokens that each row holds before this one."""
    kept: np.ndarray
    """(rows, slots, 3): addresses of a slot's keys and values and its room in tokens; or of its two states."""
    slots: np.ndarray
    """(slots, 4): heads, size, window (0 for none), a state's key size."""
    angles: np.ndarray
    """(rotaries, rows, 2, pairs) float32: cosines and sines."""
    low_rank: np.ndarray
    """(modules, rows, 5): addresses of a and b, rank, address of DoRA's scale, address for the numbers between."""
    strengths: np.ndarray
    """(modules, rows) float32."""
    tuned: bool
    """Whether any row carries an adapter."""
    kind: int
    """How keys and values are kept."""
    scratch: np.ndarray
    """(threads, floats) float32: room for each thread alone."""


@_choice
def _address(batch: Batch, place: int, start: int, row: int) -> int:
    """Where a row's part of a buffer begins."""
    group, place_there = row // GROUP, row % GROUP
    own = batch.bases[place] + group * batch.abreast * batch.widths[place] * 4
    return own + ((start // WIDTH) * batch.abreast + place_there) * BLOCK + (start % WIDTH) * 4


@_choice
def _row_bytes(kind: int) -> int:
    return 2 if kind == BFLOAT16 else 4 if kind == FLOAT32 else 1


@_kernel
def _embed(batch: Batch, op: int, row: int) -> None:
    c = batch.columns[op]
    table, kind, place, start, width = c[1], c[2], c[3], c[4], c[5]
    out, stride, scale = _address(batch, place, start, row), batch.abreast * BLOCK, batch.numbers[op, 0]
    source = table + batch.tokens[row] * width * _row_bytes(kind)
    if kind == BFLOAT16:
        v.widened_bf16(out, stride, source, width // WIDTH, scale)
    else:
        v.widened_f32(out, stride, source, width // WIDTH, scale)


@_kernel
def _norm(batch: Batch, op: int, unit: int) -> None:
    c, stride = batch.columns[op], batch.abreast * BLOCK
    group, weight, bias, add = c[5], c[6], c[7], c[8]
    eps, scale = batch.numbers[op, 0], batch.numbers[op, 1]
    row, part = unit % batch.rows, unit // batch.rows
    out = _address(batch, c[1], c[2] + part * group, row)
    x = _address(batch, c[3], c[4] + part * group, row)
    blocks = group // WIDTH
    if bias:
        mean = v.sum_of(x, stride, blocks) / group
        factor = 1 / math.sqrt(max(0.0, v.sum_of_squares(x, stride, blocks, mean) / group) + eps)
        v.set_centred(out, stride, x, stride, weight, BLOCK, bias, BLOCK, blocks, mean, factor)
        return
    factor = 1 / math.sqrt(v.sum_of_squares(x, stride, blocks, 0.0) / group + eps)
    if add:
        v.add_scaled(out, stride, x, stride, weight, BLOCK, blocks, factor, scale)
    else:
        v.set_scaled(out, stride, x, stride, weight, BLOCK, blocks, factor)


# Linear layers


def _tiled(tile: Any, num_weights: int) -> Any:
    """Walks `count` rows of weights tile by tile. Where these are fewer than a tile takes, up to a tile's numbers
    beyond the results are overwritten."""

    @_choice
    def tiled(weights: int, step: int, count: int, x: int, stride: int, blocks: int, out: int, pitch: int) -> None:
        if count < num_weights:
            for n in range(count):
                tile(weights + n * step, 0, x, stride, blocks, out + n * 4, pitch, step)
            return
        for n in range(0, count, num_weights):
            # The last tile goes back over what is done rather than beyond the end.
            first = min(n, count - num_weights)
            tile(weights + first * step, step, x, stride, blocks, out + first * 4, pitch, num_weights * step)

    return tiled


def _products(tiles: dict[int, Any]) -> Any:
    """`count` rows of weights times `rows` packed rows, of which there is room for the next power of two."""
    by_1, by_2, by_4, by_8 = (_tiled(tile, v.TILES[rows]) for rows, tile in tiles.items())

    @_kernel
    def products(
        weights: int, step: int, count: int, x: int, stride: int, blocks: int, out: int, pitch: int, rows: int
    ) -> None:
        if rows == 1:
            by_1(weights, step, count, x, stride, blocks, out, pitch)
        elif rows == 2:
            by_2(weights, step, count, x, stride, blocks, out, pitch)
        elif rows <= 4:
            by_4(weights, step, count, x, stride, blocks, out, pitch)
        else:
            by_8(weights, step, count, x, stride, blocks, out, pitch)

    return products


_products_bf16, _products_f32, _products_int8 = (_products(tiles) for tiles in (v.dots_bf16, v.dots_f32, v.dots_int8))


@_kernel
def _linear(batch: Batch, op: int, unit: int, thread: int) -> None:
    c, stride, scratch = batch.columns[op], batch.abreast * BLOCK, batch.scratch[thread].ctypes.data
    weights, kind, num_outputs, num_inputs, chunk = c[1], c[2], c[3], c[4], c[13]
    first = unit * chunk
    count = min(chunk, num_outputs - first)
    step, blocks, pitch = num_inputs * _row_bytes(kind), num_inputs // WIDTH, chunk * 4
    for start in range(0, batch.rows, GROUP):
        rows = min(GROUP, batch.rows - start)
        if c[14] and batch.wanted[start : start + rows].max() < 0:
            continue
        x, own = _address(batch, c[5], c[6], start), weights + first * step
        if kind == BFLOAT16:
            _products_bf16(own, step, count, x, stride, blocks, scratch, pitch, rows)
        elif kind == FLOAT32:
            _products_f32(own, step, count, x, stride, blocks, scratch, pitch, rows)
        else:
            _products_int8(own, step, count, x, stride, blocks, scratch, pitch, rows)
        for i in range(rows):
            _finish_linear(batch, op, start + i, first, count, scratch + i * pitch)


@_kernel
def _finish_linear(batch: Batch, op: int, row: int, first: int, count: int, own: int) -> None:
    """What comes after the products of one row: scales, adapter, bias, and where it all goes."""
    c, blocks = batch.columns[op], -(-count // WIDTH)
    bias, scales, add, module, row_major = c[9], c[10], c[11], c[12], c[14]
    if scales:
        v.times_plain(own, BLOCK, scales + first * 4, BLOCK, blocks)
    if batch.tuned and batch.low_rank[module, row, 2]:
        _add_low_rank(batch, module, row, first, blocks, own, c[3], c[13])
    if bias:
        v.add_plain(own, BLOCK, bias + first * 4, BLOCK, blocks)
    if row_major:
        place, width = batch.wanted[row], batch.widths[c[7]]
        if place < 0:
            return
        out, stride = batch.bases[c[7]] + (place * width + first) * 4, BLOCK
    else:
        out, stride = _address(batch, c[7], c[8] + first, row), batch.abreast * BLOCK
    if add:
        v.add_times(out, stride, own, BLOCK, blocks, batch.numbers[op, 0], batch.numbers[op, 1])
    else:
        v.set_times(out, stride, own, BLOCK, blocks, batch.numbers[op, 0])


@_kernel
def _add_low_rank(
    batch: Batch, module: int, row: int, first: int, blocks: int, own: int, num_outputs: int, chunk: int
) -> None:
    carried, strength = batch.low_rank[module, row], batch.strengths[module, row]
    rank, scale, between = carried[2], carried[3], carried[4]
    pitch = -(-num_outputs // WIDTH) * BLOCK
    columns = carried[1] + first * 4
    if not scale:
        v.add_low_rank(own, blocks, between, columns, pitch, rank)
        return
    # DoRA stretches the whole: what it would give is made beside, and the row goes its strength's way towards it.
    whole = own + GROUP * chunk * 4
    v.set_times(whole, BLOCK, own, BLOCK, blocks, 1.0)
    v.add_low_rank(whole, blocks, between, columns, pitch, rank)
    v.add_stretched(own, BLOCK, whole, BLOCK, scale + first * 4, BLOCK, blocks, strength)


@_kernel
def _low_rank(batch: Batch, op: int, unit: int) -> None:
    """The numbers between an adapter's two factors, half of them."""
    c = batch.columns[op]
    module, row, half = c[1], unit // 2, unit % 2
    carried = batch.low_rank[module, row]
    rank = carried[2]
    if not rank:
        return
    x, stride, num_inputs = _address(batch, c[2], c[3], row), batch.abreast * BLOCK, c[4]
    # The first half is a number of whole tiles: what lies beyond it is the other half's.
    middle = rank // 8 * 4
    begin, end = (middle, rank) if half else (0, middle)
    step = num_inputs * 4
    _products_f32(
        carried[0] + begin * step, step, end - begin, x, stride, num_inputs // WIDTH, carried[4] + begin * 4, 0, 1
    )
    if carried[3]:
        return
    for j in range(begin, end):
        out = carried[4] + j * 4
        v.store(out, v.load(out) * batch.strengths[module, row])


# Attention


@_kernel
def _heads(batch: Batch, op: int, unit: int) -> None:
    c, stride = batch.columns[op], batch.abreast * BLOCK
    num_heads, size, step, weight, rotary, pairs, apart = c[5], c[6], c[7], c[8], c[9], c[10], c[11]
    slot, values, per_unit = c[12], c[13], c[14]
    row, part = unit % batch.rows, unit // batch.rows
    for head in range(part * per_unit, min(num_heads, (part + 1) * per_unit)):
        x = _address(batch, c[1], c[2] + head * step, row)
        out = _address(batch, c[3], c[4] + head * size, row)
        blocks = size // WIDTH
        if weight:
            factor = 1 / math.sqrt(v.sum_of_squares(x, stride, blocks, 0.0) / size + batch.numbers[op, 0])
            v.set_scaled(out, stride, x, stride, weight, BLOCK, blocks, factor)
        elif out != x:
            v.set_times(out, stride, x, stride, blocks, 1.0)
        if rotary >= 0:
            _rotate(batch, rotary, row, out, stride, pairs, apart)
        if slot >= 0:
            _keep(batch, slot, values, row, head, size, out, stride)


@_kernel
def _rotate(batch: Batch, rotary: int, row: int, out: int, stride: int, pairs: int, apart: int) -> None:
    for i in range(pairs):
        j = i + apart
        one, other = out + (i // WIDTH) * stride + (i % WIDTH) * 4, out + (j // WIDTH) * stride + (j % WIDTH) * 4
        cosine, sine = batch.angles[rotary, row, 0, i], batch.angles[rotary, row, 1, i]
        x, y = v.load(one), v.load(other)
        v.store(one, x * cosine - y * sine)
        v.store(other, y * cosine + x * sine)


@_kernel
def _keep(batch: Batch, slot: int, values: int, row: int, head: int, size: int, x: int, stride: int) -> None:
    """A head's keys or values into their place for this token."""
    room = batch.kept[row, slot, 2]
    place = (head * room + batch.positions[row] % room) * size
    start = batch.kept[row, slot, 1 if values else 0]
    for i in range(size):
        value = v.load(x + (i // WIDTH) * stride + (i % WIDTH) * 4)
        if batch.kind == BFLOAT16:
            v.store_bfloat16(start + (place + i) * 2, value)
        else:
            v.store(start + (place + i) * 4, value)


@_kernel
def _attend(batch: Batch, op: int, unit: int, thread: int) -> None:
    """One head of one row: its query against all keys that it sees, and their values by how well they match."""
    c, stride = batch.columns[op], batch.abreast * BLOCK
    num_heads, slot = c[5], c[6]
    row, head = unit % batch.rows, unit // batch.rows
    num_kept, size, window = batch.slots[slot, 0], batch.slots[slot, 1], batch.slots[slot, 2]
    room, end = batch.kept[row, slot, 2], batch.positions[row] + 1
    start = max(0, end - window) if window else 0
    # What is kept goes round: the oldest may lie behind the newest.
    first = start % room
    count = end - start
    until_turn = min(count, room - first)
    item = _row_bytes(batch.kind)
    step = size * item
    own = (head // (num_heads // num_kept)) * room * step
    keys, values = batch.kept[row, slot, 0] + own, batch.kept[row, slot, 1] + own
    q = _address(batch, c[3], c[4] + head * size, row)
    out = _address(batch, c[1], c[2] + head * size, row)
    shares = batch.scratch[thread].ctypes.data
    _match(batch.kind, keys + first * step, step, until_turn, q, stride, size, shares)
    _match(batch.kind, keys, step, count - until_turn, q, stride, size, shares + until_turn * 4)
    scale, best = batch.numbers[op, 0], v.load(shares)
    for i in range(1, count):
        best = max(best, v.load(shares + i * 4))
    blocks = -(-count // WIDTH)
    v.set_exp(shares, BLOCK, blocks, scale, best * scale)
    for i in range(count, blocks * WIDTH):
        v.store(shares + i * 4, 0.0)
    total = v.sum_of(shares, BLOCK, blocks)
    v.set_zero(out, stride, size // WIDTH)
    _mix(batch.kind, shares, values + first * step, step, until_turn, out, stride, size)
    _mix(batch.kind, shares + until_turn * 4, values, step, count - until_turn, out, stride, size)
    v.set_times(out, stride, out, stride, size // WIDTH, 1 / total)


@_kernel
def _match(kind: int, keys: int, step: int, count: int, q: int, stride: int, size: int, out: int) -> None:
    if kind == BFLOAT16:
        _products_bf16(keys, step, count, q, stride, size // WIDTH, out, 0, 1)
    else:
        _products_f32(keys, step, count, q, stride, size // WIDTH, out, 0, 1)


@_kernel
def _mix(kind: int, shares: int, values: int, step: int, count: int, out: int, stride: int, size: int) -> None:
    blocks = size // WIDTH
    fours = blocks // 4 * 4
    width = WIDTH * _row_bytes(kind)
    for i in range(0, fours, 4):
        if kind == BFLOAT16:
            v.weighted_bf16_4(shares, values + i * width, step, count, out + i * stride, stride)
        else:
            v.weighted_f32_4(shares, values + i * width, step, count, out + i * stride, stride)
    for i in range(fours, blocks):
        if kind == BFLOAT16:
            v.weighted_bf16_1(shares, values + i * width, step, count, out + i * stride, stride)
        else:
            v.weighted_f32_1(shares, values + i * width, step, count, out + i * stride, stride)


@_kernel
def _convolve(batch: Batch, op: int, unit: int) -> None:
    c, stride = batch.columns[op], batch.abreast * BLOCK
    channels, taps, slot = c[5], c[6], c[7]
    lanes = len(batch.starts) - 1
    lane, part = unit % lanes, unit // lanes
    first = part * CHUNK_BLOCKS * WIDTH
    blocks = min(CHUNK_BLOCKS, (channels - first) // WIDTH)
    for row in range(batch.starts[lane], batch.starts[lane + 1]):
        out, x = _address(batch, c[1], c[2] + first, row), _address(batch, c[3], c[4] + first, row)
        state = batch.kept[row, slot, 0] + first * 4
        v.convolve(out, stride, x, stride, state, taps + first * 4, channels * 4, blocks)


@_kernel
def _delta(batch: Batch, op: int, unit: int, thread: int) -> None:
    """One head of linear attention, token after token."""
    lanes = len(batch.starts) - 1
    lane, head = unit % lanes, unit // lanes
    for row in range(batch.starts[lane], batch.starts[lane + 1]):
        _recall(batch, op, row, head, thread)


@_kernel
def _recall(batch: Batch, op: int, row: int, head: int, thread: int) -> None:
    """One token: its key and query made of length one, then the delta rule block by block."""
    c, stride = batch.columns[op], batch.abreast * BLOCK
    num_key_heads, slot = c[11], c[12]
    num_heads, size, num_keys = batch.slots[slot, 0], batch.slots[slot, 1], batch.slots[slot, 3]
    key_head, all_keys = head // (num_heads // num_key_heads), num_key_heads * num_keys
    scratch = batch.scratch[thread].ctypes.data
    q = _address(batch, c[3], c[4] + key_head * num_keys, row)
    k = _address(batch, c[3], c[4] + all_keys + key_head * num_keys, row)
    blocks = num_keys // WIDTH
    norm = 1 / math.sqrt(v.sum_of_squares(k, stride, blocks, 0.0) + 1e-6)
    v.set_times(scratch, BLOCK, k, stride, blocks, norm)
    norm = 1 / math.sqrt(v.sum_of_squares(q, stride, blocks, 0.0) + 1e-6)
    v.set_times(scratch + num_keys * 4, BLOCK, q, stride, blocks, norm / math.sqrt(num_keys))
    beta = 1 / (1 + math.exp(-v.load(_address(batch, c[5], c[6] + head, row))))
    raw = v.load(_address(batch, c[7], c[8] + head, row)) + v.load(c[10] + head * 4)
    softplus = raw if raw > 20 else math.log1p(math.exp(raw))
    decay = math.exp(v.load(c[9] + head * 4) * softplus)
    out = _address(batch, c[1], c[2] + head * size, row)
    value = _address(batch, c[3], c[4] + 2 * all_keys + head * size, row)
    state = batch.kept[row, slot, 1] + head * num_keys * size * 4
    v.set_times(out, stride, value, stride, size // WIDTH, 1.0)
    for i in range(size // WIDTH):
        v.delta_rule(state + i * BLOCK, size * 4, scratch, num_keys, out + i * stride, decay, beta)


# Number by number


@_kernel
def _span(batch: Batch, place: int, start: int, size: int, unit: int) -> tuple[int, int]:
    """The part of a buffer that a unit goes through, all lanes of a group at once: address and blocks."""
    parts = -(-size // (CHUNK_BLOCKS * WIDTH))
    group, part = unit // parts, unit % parts
    first = part * CHUNK_BLOCKS * WIDTH
    blocks = min(CHUNK_BLOCKS, (size - first) // WIDTH)
    return _address(batch, place, start + first, group * GROUP), blocks * batch.abreast


@_kernel
def _act(batch: Batch, op: int, unit: int) -> None:
    c = batch.columns[op]
    activation, gated, size = c[7], c[8], c[9]
    out, blocks = _span(batch, c[1], c[2], size, unit)
    x, _ = _span(batch, c[3], c[4], size, unit)
    y, _ = _span(batch, c[5], c[6], size, unit)
    if activation == SILU:
        if gated:
            v.silu_gated(out, BLOCK, x, BLOCK, y, BLOCK, blocks)
        else:
            v.silu(out, BLOCK, x, BLOCK, blocks)
    elif activation == GELU_TANH:
        if gated:
            v.gelu_tanh_gated(out, BLOCK, x, BLOCK, y, BLOCK, blocks)
        else:
            v.gelu_tanh(out, BLOCK, x, BLOCK, blocks)
    elif activation == GELU_ERF:
        if gated:
            v.gelu_erf_gated(out, BLOCK, x, BLOCK, y, BLOCK, blocks)
        else:
            v.gelu_erf(out, BLOCK, x, BLOCK, blocks)
    elif activation == SIGMOID:
        v.sigmoid_gated(out, BLOCK, x, BLOCK, y, BLOCK, blocks)


@_kernel
def _add(batch: Batch, op: int, unit: int) -> None:
    c = batch.columns[op]
    out, blocks = _span(batch, c[1], c[2], c[5], unit)
    x, _ = _span(batch, c[3], c[4], c[5], unit)
    v.add_times(out, BLOCK, x, BLOCK, blocks, batch.numbers[op, 0], batch.numbers[op, 1])


@_kernel
def _cap(batch: Batch, op: int, unit: int) -> None:
    """Logits lie row after row, those that are asked for."""
    c = batch.columns[op]
    place, part = batch.wanted[unit % batch.rows], unit // batch.rows
    width, first = batch.widths[c[1]], part * CHUNK_BLOCKS * WIDTH
    blocks = min(CHUNK_BLOCKS, (width - first) // WIDTH)
    if place >= 0:
        v.set_capped(batch.bases[c[1]] + (place * width + first) * 4, BLOCK, blocks, batch.numbers[op, 0])


@_choice
def work(batch: Batch, op: int, unit: int, thread: int) -> None:
    """One unit of an op."""
    code = batch.columns[op, 0]
    if code == LINEAR:
        _linear(batch, op, unit, thread)
    elif code == LOW_RANK:
        _low_rank(batch, op, unit)
    elif code == HEADS:
        _heads(batch, op, unit)
    elif code == ATTEND:
        _attend(batch, op, unit, thread)
    elif code == DELTA:
        _delta(batch, op, unit, thread)
    elif code == CONVOLVE:
        _convolve(batch, op, unit)
    else:
        _work_on_numbers(batch, op, unit, code)


@_choice
def _work_on_numbers(batch: Batch, op: int, unit: int, code: int) -> None:
    if code == NORM:
        _norm(batch, op, unit)
    elif code == ACT:
        _act(batch, op, unit)
    elif code == ADD:
        _add(batch, op, unit)
    elif code == EMBED:
        _embed(batch, op, unit)
    elif code == CAP:
        _cap(batch, op, unit)
