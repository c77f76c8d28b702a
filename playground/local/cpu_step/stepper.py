"""The fast stepper: a model's step as a plan, run by all cores in one call, each row with a cache of its own.

Knows lanes, what they keep, and tables of addresses. Where torch multiplies matrices faster, prompts are taken in by
the reference stepper, whose transformers cache a row's first step copies once. What a plan cannot carry goes through
the reference stepper too. Called from one thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
import torch

from playground.local.cpu_step import plan as plans
from playground.local.cpu_step.assembly import KINDS, WIDTH
from playground.local.cpu_step.crew import Crew
from playground.local.cpu_step.kept import PIECE, Kept
from playground.local.cpu_step.kernels import Kernels
from playground.local.cpu_step.ops import GROUP, Batch
from playground.local.cpu_step.plan import Plan
from playground.local.cpu_step.tuned import Carried, can_carry, carried_by
from playground.local.interrupt import ask_whether_wanted
from playground.local.lora import Adapter
from playground.local.torch_step import Lane, TorchStepper
from playground.types import StepperName


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What stays the same from step to step while the same rows run: their lanes and adapters, and the units of work.
    `offsets` say how far behind its lane's first row each row comes."""

    rows: tuple[Lane, ...]
    starts: np.ndarray
    offsets: np.ndarray
    bases: np.ndarray
    units: np.ndarray
    limits: np.ndarray
    low_rank: np.ndarray
    strengths: np.ndarray
    tuned: bool


class CpuStepper:
    """Runs lanes over one model on the CPU, those that its plan can carry from the moment that the kernels are there,
    all others over `reference`; with `reads_prompts` their prompts too. A row's logits are the same bits alone and
    among others, wherever it runs."""

    def __init__(
        self, plan: Plan, kernels: Kernels, reference: TorchStepper, num_threads: int, *, reads_prompts: bool
    ) -> None:
        self._plan, self._kernels, self._reference = plan, kernels, reference
        self._reads_prompts = reads_prompts
        self._crew = Crew(num_threads)
        self._memory = np.zeros(0, np.float32)
        self._tables: _Tables | None = None
        # An adapter that was let go of takes what was made of it along.
        self._carried: WeakKeyDictionary[Adapter, Carried] = WeakKeyDictionary()
        self._slots = np.array([(s.heads, s.size, s.window or 0, s.keys) for s in plan.slots], np.int64).reshape(-1, 4)
        self._widths = np.array(plan.widths, np.int64)
        self._pairs = max((len(rotary.frequencies) for rotary in plan.rotaries), default=0)
        self._scratch = np.zeros((num_threads, _scratch_floats(plan)), np.float32)

    def prefill(self, lane: Lane, token_ids: Sequence[int], *, num_logits: int = 1) -> torch.Tensor:
        """Takes in more of a lane's prompt; gives the logits after the last `num_logits` tokens."""
        if not self._reads(lane):
            return self._reference.prefill(lane, token_ids, num_logits=num_logits)
        lane.cache = lane.cache or Kept.empty(self._plan)
        logits = []
        for start in range(0, len(token_ids), PIECE):
            ask_whether_wanted()
            piece = token_ids[start : start + PIECE]
            later = len(token_ids) - start - len(piece)
            logits.append(self._run((lane,) * len(piece), piece, min(len(piece), max(0, num_logits - later))))
        return torch.cat(logits)

    def fork(self, lane: Lane) -> Lane:
        if not isinstance(lane.cache, Kept):
            return self._reference.fork(lane)
        return Lane(lane.adapter, lane.strength, lane.num_tokens, lane.cache.copy())

    def num_bytes(self, lane: Lane) -> int:
        return lane.cache.num_bytes() if isinstance(lane.cache, Kept) else self._reference.num_bytes(lane)

    def cuts_anywhere(self, lane: Lane) -> bool:
        return self._reads(lane) and not (lane.cache is not None and lane.cache.copied)

    def step(self, lanes: Sequence[Lane], token_ids: Sequence[int]) -> torch.Tensor:
        """Feeds one token to each lane and gives the logits after it, one row a lane, in their order."""
        ours = [i for i, lane in enumerate(lanes) if self._takes(lane)]
        others = [i for i in range(len(lanes)) if i not in ours]
        if not others:
            return self._step(lanes, token_ids)
        logits = torch.empty(len(lanes), self._plan.num_tokens)
        for own, step in ((ours, self._step), (others, self._reference.step)):
            if own:
                logits[own] = step([lanes[i] for i in own], [token_ids[i] for i in own])
        return logits

    def leave(self, lane: Lane) -> None:
        # What the tables hold of a lane would keep its cache and its adapter.
        self._tables = None
        if isinstance(lane.cache, Kept):
            lane.cache = None
        else:
            self._reference.leave(lane)

    def reset(self) -> None:
        self._tables = None
        self._reference.reset()

    def close(self) -> None:
        self._crew.close()
        self._reference.close()

    def repeats(self, lane: Lane) -> bool:
        if not isinstance(lane.cache, Kept):
            return self._reference.repeats(lane)
        # A prompt that came before the kernels were ready is taken in by others the next time.
        return not (lane.cache.copied and self._reads_prompts)

    def name_of(self, lane: Lane) -> StepperName:
        return "kernels" if isinstance(lane.cache, Kept) else "transformers"

    def _takes(self, lane: Lane) -> bool:
        if isinstance(lane.cache, Kept):
            return True
        # A lane that has joined the reference's batch has no cache of its own any more, and stays there.
        return lane.cache is not None and self._kernels.ready and self._carries(lane)

    def _reads(self, lane: Lane) -> bool:
        if lane.cache is not None:
            return isinstance(lane.cache, Kept)
        return self._reads_prompts and self._kernels.ready and self._carries(lane)

    def _carries(self, lane: Lane) -> bool:
        """At strength nought any adapter is none."""
        return lane.strength == 0 or can_carry(lane.adapter, self._plan)

    def _step(self, lanes: Sequence[Lane], token_ids: Sequence[int]) -> torch.Tensor:
        for lane in lanes:
            if not isinstance(lane.cache, Kept):
                lane.cache = Kept.of(lane.cache, self._plan, lane.num_tokens)
        return self._run(tuple(lanes), token_ids, len(lanes))

    def _run(self, rows: tuple[Lane, ...], token_ids: Sequence[int], num_logits: int) -> torch.Tensor:
        """One token a row, rows of one lane side by side; the logits of the last `num_logits` rows."""
        tables = self._tables
        if tables is None or tables.rows != rows:
            tables = self._tables = self._make_tables(rows)
        counts = [(rows[start], end - start) for start, end in pairwise(tables.starts.tolist())]
        for lane, count in counts:
            lane.cache.make_room(lane.num_tokens + count)
        self._crew.run(self._batch(tables, token_ids, num_logits))
        for lane, count in counts:
            lane.num_tokens += count
        width = self._plan.widths[-1]
        start = int(tables.bases[-1] - self._memory.ctypes.data) // 4
        logits = self._memory[start : start + num_logits * width].reshape(num_logits, width)
        # The next step writes over them.
        return torch.from_numpy(logits[:, : self._plan.num_tokens].copy())

    def _batch(self, tables: _Tables, token_ids: Sequence[int], num_logits: int) -> Batch:
        plan, rows = self._plan, len(tables.rows)
        positions = np.array([lane.num_tokens for lane in tables.rows], np.int64) + tables.offsets
        self._grow_scratch(int(positions.max()) + 1)
        return Batch(
            columns=plan.columns,
            numbers=plan.numbers,
            phases=plan.phases,
            units=tables.units,
            limits=tables.limits,
            bases=tables.bases,
            widths=self._widths,
            rows=rows,
            abreast=_abreast(rows),
            starts=tables.starts,
            wanted=np.maximum(np.arange(rows) - (rows - num_logits), -1),
            tokens=np.array(token_ids, np.int64),
            positions=positions,
            kept=np.stack([lane.cache.addresses for lane in tables.rows]),
            slots=self._slots,
            angles=self._angles(positions),
            low_rank=tables.low_rank,
            strengths=tables.strengths,
            tuned=tables.tuned,
            kind=KINDS.index(plan.kind),
            scratch=self._scratch,
        )

    def _make_tables(self, rows: tuple[Lane, ...]) -> _Tables:
        # The last group's blocks lie as far apart as a full one's.
        abreast = _abreast(len(rows))
        padded = -(-len(rows) // abreast) * abreast
        sizes = [width * padded for width in self._plan.widths]
        if len(self._memory) < sum(sizes):
            self._memory = np.zeros(sum(sizes), np.float32)
        bases = self._memory.ctypes.data + 4 * np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        starts = [i for i, lane in enumerate(rows) if i == 0 or lane is not rows[i - 1]]
        offsets = np.arange(len(rows)) - np.repeat(starts, np.diff([*starts, len(rows)]))
        low_rank, strengths, tuned = self._low_rank(rows)
        units, limits = _units(self._plan, len(rows), len(starts), tuned)
        starts = np.array([*starts, len(rows)], np.int64)
        return _Tables(rows, starts, offsets, bases, units, limits, low_rank, strengths, tuned)

    def _angles(self, positions: np.ndarray) -> np.ndarray:
        rotaries = self._plan.rotaries
        angles = np.zeros((len(rotaries), len(positions), 2, self._pairs), np.float32)
        for i, rotary in enumerate(rotaries):
            turned = positions[:, None].astype(np.float32) * rotary.frequencies
            angles[i, :, 0, : turned.shape[1]] = np.cos(turned) * rotary.scale
            angles[i, :, 1, : turned.shape[1]] = np.sin(turned) * rotary.scale
        return angles

    def _low_rank(self, rows: tuple[Lane, ...]) -> tuple[np.ndarray, np.ndarray, bool]:
        """The rows' adapters as tables."""
        plan = self._plan
        low_rank = np.zeros((len(plan.modules), len(rows), 5), np.int64)
        strengths = np.zeros((len(plan.modules), len(rows)), np.float32)
        tuned = False
        for row, lane in enumerate(rows):
            if lane.adapter is None or lane.strength == 0:
                continue
            carried = self._carried.get(lane.adapter)
            if carried is None:
                carried = self._carried[lane.adapter] = carried_by(lane.adapter, plan)
            low_rank[:, row, :4] = carried.addresses
            low_rank[:, row, 4] = carried.numbers_for(row, len(plan.modules))
            strengths[:, row] = lane.strength
            tuned = True
        return low_rank, strengths, tuned

    def _grow_scratch(self, num_tokens: int) -> None:
        if self._scratch.shape[1] < num_tokens + WIDTH:
            self._scratch = np.zeros((self._crew.num_threads, 2 * (num_tokens + WIDTH)), np.float32)


def _abreast(rows: int) -> int:
    """Rows that lie side by side: as many as a tile takes."""
    return min(GROUP, 1 << (rows - 1).bit_length())


def _scratch_floats(plan: Plan) -> int:
    linear = plan.columns[plan.columns[:, 0] == plans.LINEAR]
    return max(2 * GROUP * int(linear[:, 13].max()), 2 * max((slot.keys for slot in plan.slots), default=0), 4096)


def _units(plan: Plan, rows: int, lanes: int, tuned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Units of each op over so many rows, and of all phases up to and with each."""
    per = {plans.STEP: 1, plans.ROW: rows, plans.GROUP: -(-rows // GROUP), plans.LANE: lanes}
    units = np.array([count * per[kind] for count, kind in plan.units.tolist()], np.int64)
    if not tuned:
        units[plan.columns[:, 0] == plans.LOW_RANK] = 0
    sums = np.concatenate([[0], np.cumsum(units)])
    return units, sums[plan.phases[:, 1]]
