"""A model's decode step as a list of ops over packed floats: what is made once, and read by the threads at each step.

Knows buffers, ops and which ops must wait for which; nothing of architectures (see `families`), threads or rows'
caches. Buffers hold one row of `width` floats for each row of the batch, packed block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from playground.local.cpu_step.assembly import KINDS, WIDTH

# What an op does; its units of work are given with it. The names of the columns of each are in `OPS`.
EMBED, NORM, LINEAR, LOW_RANK, HEADS, ATTEND, ACT, ADD, CAP, CONVOLVE, DELTA = range(11)

SILU, GELU_TANH, GELU_ERF, SIGMOID = range(4)
ACTIVATIONS = {"silu": SILU, "swish": SILU, "gelu_pytorch_tanh": GELU_TANH, "gelu_new": GELU_TANH, "gelu": GELU_ERF}

STEP, ROW, GROUP, LANE = range(4)
"""What an op's units of work are counted by: the step as a whole, each row, each group of rows, or each lane, whose
rows are then taken one after the other."""
NUM_COLUMNS, NUM_NUMBERS = 16, 2
MIN_CHUNK_BYTES, MAX_CHUNK_BYTES = 1 << 16, 1 << 19
CHUNKS = 8
"""Weights that one unit of a linear layer reads: an eighth of them, so that threads end together, but not so few that
the memory, which is asked ahead, has to be waited for at the start of each unit again."""
CHUNK_BLOCKS = 128
"""Blocks that one unit of an elementwise op goes through."""


class NotPlannable(Exception):
    """Why this model's step cannot be run as a plan; the reference stepper runs it."""


@dataclass(frozen=True, slots=True)
class Span:
    """`size` floats of each row of a buffer, from `start` on."""

    buffer: int
    start: int
    size: int

    def part(self, start: int, size: int) -> Span:
        return replace(self, start=self.start + start, size=size)


@dataclass(slots=True)
class _Op:
    code: int
    columns: list[int]
    numbers: list[float]
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    num_units: int
    per: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`columns` (ops, NUM_COLUMNS) int64 and `numbers` (ops, NUM_NUMBERS) float64 say what to do; `widths` are the
    buffers' floats a row; `phases` (phases, 2) the first and the last op of what may run side by side; `modules` the
    names of the linear layers, in the order that low-rank ops count them; `slots` the layers whose keys and values are
    kept; `keeps` all tensors that the columns point into."""

    columns: np.ndarray
    numbers: np.ndarray
    widths: tuple[int, ...]
    phases: np.ndarray
    units: np.ndarray
    """(ops, 2): how many units of work an op has, and by what they are counted."""
    modules: tuple[str, ...]
    slots: tuple[Slot, ...]
    rotaries: tuple[Rotary, ...]
    num_tokens: int
    kind: str
    keeps: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """What a layer keeps of a row. Keys and values: `heads` of `size`, of the last `window` tokens or of all. A state:
    the convolution's `channels`, and `heads` matrices of `keys` by `size`."""

    layer: int
    heads: int
    size: int
    window: int | None = None
    channels: int = 0
    keys: int = 0

    @property
    def is_state(self) -> bool:
        return self.channels > 0


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """Angles a token: `frequencies` (pairs,) times its position, sine and cosine times `scale`."""

    frequencies: np.ndarray
    scale: float


@dataclass(slots=True)
class Builder:
    """Collects a plan op by op. `kind` is how the model keeps weights, keys and values: bfloat16 or float32."""

    kind: str
    _ops: list[_Op] = field(default_factory=list)
    _widths: list[int] = field(default_factory=list)
    _modules: list[str] = field(default_factory=list)
    # The head comes last, and its outputs are the vocabulary.
    _num_tokens: int = 0
    _slots: list[Slot] = field(default_factory=list)
    _rotaries: list[Rotary] = field(default_factory=list)
    _keeps: list[object] = field(default_factory=list)

    # What ops work on

    def buffer(self, width: int) -> Span:
        """Room for `width` floats a row."""
        self._widths.append(-(-width // WIDTH) * WIDTH)
        return Span(len(self._widths) - 1, 0, width)

    def slot(self, slot: Slot) -> int:
        """Room for what a layer keeps; gives its number."""
        if slot.size % WIDTH:
            raise NotPlannable(f"a head of {slot.size} numbers is not a multiple of {WIDTH}")
        self._slots.append(slot)
        return len(self._slots) - 1

    def rotary(self, frequencies: torch.Tensor, scale: float) -> int:
        """A table of angles; gives its number."""
        self._rotaries.append(Rotary(frequencies.detach().float().numpy().copy(), float(scale)))
        return len(self._rotaries) - 1

    # Ops

    def embed(self, out: Span, table: torch.Tensor, scale: float = 1.0) -> None:
        self._blocks(out)
        self._add(EMBED, [self._weights(table), self._kind_of(table), *_place(out), out.size], [scale], (), (out,), 1)

    def norm(
        self,
        out: Span,
        x: Span,
        weight: torch.Tensor | None,
        eps: float,
        *,
        group: int = 0,
        bias: torch.Tensor | None = None,
        shift: float = 0.0,
        add: bool = False,
        scale: float = 1.0,
    ) -> None:
        """Root-mean-square norm of each `group` of a row (all of it by default) times `shift` + weight, or a layer norm
        where there is a bias; with `add` onto what stands in `out`, which is then multiplied by `scale`."""
        group = group or x.size
        self._blocks(out, x, group)
        ones = torch.ones(group) if weight is None else weight.detach().float() + shift
        columns = [*_place(out), *_place(x), group, self._floats(ones), 0 if bias is None else self._floats(bias), add]
        self._add(NORM, columns, [eps, scale], (x, out) if add else (x,), (out,), x.size // group)

    def linear(
        self,
        out: Span,
        x: Span,
        name: str,
        module: torch.nn.Module,
        *,
        add: bool = False,
        factor: float = 1.0,
        scale: float = 1.0,
        row_major: bool = False,
    ) -> None:
        """A linear layer times `factor`; with `add`, out = (out + factor · result) · scale. `name` is the module's, for
        adapters."""
        weight, bias, scales = _parts_of(module)
        num_outputs, num_inputs = weight.shape
        self._blocks(x, num_inputs)
        if num_inputs != x.size or num_outputs != out.size or out.start % WIDTH:
            raise NotPlannable(f"{name} is {num_outputs} by {num_inputs}, and does not fit its places")
        low_rank = len(self._modules)
        self._modules.append(name)
        self._num_tokens = num_outputs
        # What adapters need of the input may be worked out while the layer before still runs elsewhere.
        t = self._token(low_rank)
        self._add(LOW_RANK, [low_rank, *_place(x), num_inputs], [], (x,), (t,), 2)
        chunk_bytes = min(max(weight.nbytes // CHUNKS, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES)
        chunk = max(WIDTH, chunk_bytes // (num_inputs * weight.element_size()) // WIDTH * WIDTH)
        columns = [
            self._weights(weight),
            self._kind_of(weight),
            num_outputs,
            num_inputs,
            *_place(x),
            *_place(out),
            self._padded(bias, num_outputs),
            self._padded(scales, num_outputs),
            add,
            low_rank,
            chunk,
            row_major,
        ]
        reads = (x, t, out) if add else (x, t)
        self._add(LINEAR, columns, [factor, scale], reads, (out,), -(-num_outputs // chunk), STEP)

    def heads(
        self,
        x: Span,
        num_heads: int,
        *,
        out: Span | None = None,
        step: int = 0,
        weight: torch.Tensor | None = None,
        eps: float | None = None,
        shift: float = 0.0,
        rotary: int = -1,
        apart: int = 0,
        slot: int = -1,
        values: bool = False,
    ) -> None:
        """What happens to each head alone: a norm where there is an `eps`, a rotation of pairs that lie `apart` numbers
        apart, and, as keys or values, into a slot. Heads lie `step` floats apart in `x` (side by side by default) and
        side by side in `out`."""
        size = x.size // num_heads if not step else (out or x).size // num_heads
        step = step or size
        self._blocks(size, step)
        out = out or x
        ones = torch.ones(size) if weight is None else weight.detach().float() + shift
        per_unit = max(1, num_heads // 4)
        columns = [
            *_place(x),
            *_place(out),
            num_heads,
            size,
            step,
            self._floats(ones) if eps is not None else 0,
            rotary,
            0 if rotary < 0 else len(self._rotaries[rotary].frequencies),
            apart,
            slot,
            values,
            per_unit,
        ]
        writes = (out,) if slot < 0 else (out, self._token(slot, kept=True))
        self._add(HEADS, columns, [eps or 0.0], (x,), writes, -(-num_heads // per_unit))

    def attend(self, out: Span, queries: Span, num_heads: int, slot: int, scale: float) -> None:
        """Each head's attention over what the slot keeps, this token with it."""
        own = self._slots[slot]
        if num_heads % own.heads or queries.size != num_heads * own.size:
            raise NotPlannable(f"{num_heads} heads do not share {own.heads} of {own.size}")
        columns = [*_place(out), *_place(queries), num_heads, slot]
        self._add(ATTEND, columns, [scale], (queries, self._token(slot, kept=True)), (out,), num_heads)

    def act(self, out: Span, x: Span, activation: int, gated: Span | None = None) -> None:
        """out = activation(x), times `gated` where there is one."""
        self._blocks(out, x, gated or x)
        if activation == SIGMOID and gated is None:
            raise NotPlannable("a sigmoid alone is not among the ops")
        columns = [*_place(out), *_place(x), *_place(gated or x), activation, gated is not None, x.size]
        reads = (x,) if gated is None else (x, gated)
        self._add(ACT, columns, [], reads, (out,), self._chunks(x.size), GROUP)

    def add(self, out: Span, x: Span, factor: float = 1.0, scale: float = 1.0) -> None:
        """out = (out + factor · x) · scale."""
        self._blocks(out, x)
        columns = [*_place(out), *_place(x), x.size]
        self._add(ADD, columns, [factor, scale], (out, x), (out,), self._chunks(x.size), GROUP)

    def cap(self, logits: Span, cap: float) -> None:
        """cap · tanh(logits): for logits that were divided by the cap."""
        self._add(CAP, [*_place(logits), logits.size], [cap], (logits,), (logits,), self._chunks(logits.size))

    def convolve(self, out: Span, x: Span, weight: torch.Tensor, slot: int) -> None:
        """The short causal convolution before linear attention, and silu. `weight` is (channels, 1, taps)."""
        if weight.shape[-1] != 4:
            raise NotPlannable(f"a convolution of {weight.shape[-1]} taps")
        self._blocks(out, x)
        taps = self._floats(weight.detach().float()[:, 0].T.contiguous())
        kept = self._token(slot, kept=True)
        self._add(
            CONVOLVE, [*_place(out), *_place(x), x.size, taps, slot], [], (x,), (out, kept), self._chunks(x.size), LANE
        )

    def delta(
        self,
        out: Span,
        mixed: Span,
        beta: Span,
        decay: Span,
        a_log: torch.Tensor,
        bias: torch.Tensor,
        num_key_heads: int,
        slot: int,
    ) -> None:
        """The gated delta rule over queries, keys and values side by side in `mixed`."""
        own = self._slots[slot]
        self._blocks(own.keys, own.size)
        columns = [
            *_place(out),
            *_place(mixed),
            *_place(beta),
            *_place(decay),
            self._floats(-a_log.detach().float().exp()),
            self._floats(bias),
            num_key_heads,
            slot,
        ]
        kept = self._token(slot, kept=True)
        self._add(DELTA, columns, [], (mixed, beta, decay), (out, kept), own.heads, LANE)

    def build(self) -> Plan:
        ops, phases = _in_order(self._ops)
        columns = np.zeros((len(ops), NUM_COLUMNS), np.int64)
        numbers = np.zeros((len(ops), NUM_NUMBERS), np.float64)
        for i, op in enumerate(ops):
            columns[i, : len(op.columns) + 1] = [op.code, *(int(value) for value in op.columns)]
            numbers[i, : len(op.numbers)] = op.numbers
        return Plan(
            columns=columns,
            numbers=numbers,
            widths=tuple(self._widths),
            phases=np.array(phases, np.int64),
            units=np.array([(op.num_units, op.per) for op in ops], np.int64),
            modules=tuple(self._modules),
            slots=tuple(self._slots),
            rotaries=tuple(self._rotaries),
            num_tokens=self._num_tokens,
            kind=self.kind,
            keeps=tuple(self._keeps),
        )

    # Tensors, as addresses that last as long as the plan

    def _weights(self, tensor: torch.Tensor) -> int:
        if not tensor.is_contiguous() or tensor.device.type != "cpu":
            raise NotPlannable("a weight does not lie in one piece in memory")
        self._keeps.append(tensor)
        return tensor.data_ptr()

    def _kind_of(self, tensor: torch.Tensor) -> int:
        name = str(tensor.dtype).removeprefix("torch.")
        if name not in KINDS:
            raise NotPlannable(f"weights in {name}")
        return KINDS.index(name)

    def _floats(self, tensor: torch.Tensor) -> int:
        return self._weights(tensor.detach().float().contiguous().clone())

    def _padded(self, tensor: torch.Tensor | None, size: int) -> int:
        """A vector as floats, up to the next whole block; 0 for none."""
        if tensor is None:
            return 0
        padded = torch.zeros(-(-size // WIDTH) * WIDTH)
        padded[:size] = tensor.detach().float()
        return self._weights(padded)

    # Order

    def _add(
        self,
        code: int,
        columns: Sequence[int],
        numbers: Sequence[float],
        reads: tuple[Span, ...],
        writes: tuple[Span, ...],
        num_units: int,
        per: int = ROW,
    ) -> None:
        self._ops.append(_Op(code, list(columns), list(numbers), reads, writes, num_units, per))

    def _blocks(self, *sizes: Span | int) -> None:
        for size in sizes:
            numbers = (size.start, size.size) if isinstance(size, Span) else (size,)
            if any(number % WIDTH for number in numbers):
                raise NotPlannable(f"{max(numbers)} numbers are not a multiple of {WIDTH}")

    def _chunks(self, size: int) -> int:
        return -(-size // (WIDTH * CHUNK_BLOCKS))

    def _token(self, index: int, *, kept: bool = False) -> Span:
        """Something that ops wait for and that is no buffer: a module's low-rank numbers, or what a slot keeps."""
        return Span(-1 - 2 * index - kept, 0, 1)


def _place(span: Span) -> tuple[int, int]:
    return span.buffer, span.start


def _parts_of(module: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """A linear layer's weight, bias, and a scale for each output where it is quantized."""
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, torch.Tensor)
    assert bias is None or isinstance(bias, torch.Tensor)
    scale = getattr(module, "scale", None)
    return weight, bias, scale if isinstance(scale, torch.Tensor) else None


def _in_order(ops: Sequence[_Op]) -> tuple[list[_Op], list[tuple[int, int]]]:
    """The ops sorted into phases, each as early as what it waits for allows: within a phase ops need nothing of one
    another, and may run side by side."""
    used: dict[int, list[tuple[Span, int, bool]]] = {}
    levels = []
    for op in ops:
        level = 0
        spans = [(span, False) for span in op.reads] + [(span, True) for span in op.writes]
        for span, writes in spans:
            for other, its_level, wrote in used.get(span.buffer, ()):
                if (writes or wrote) and other.start < span.start + span.size and span.start < other.start + other.size:
                    level = max(level, its_level + 1)
        for span, writes in spans:
            used.setdefault(span.buffer, []).append((span, level, writes))
        levels.append(level)
    order = sorted(range(len(ops)), key=lambda i: levels[i])
    phases, first = [], 0
    for i in range(1, len(order) + 1):
        if i == len(order) or levels[order[i]] != levels[order[first]]:
            phases.append((first, i))
            first = i
    return [ops[i] for i in order], phases
