"""The fast stepper: a model's step as a plan, run by all cores in one call, each row with a cache of its own.

Knows lanes, what they keep, and tables of addresses; prompts are taken in by the reference stepper, whose
transformers cache a row's first step copies once. What a plan cannot carry goes through the reference stepper too.
Called from one thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from playground.local.cpu_step import plan as plans
from playground.local.cpu_step.assembly import KINDS, WIDTH
from playground.local.cpu_step.crew import Crew
from playground.local.cpu_step.kept import Kept
from playground.local.cpu_step.kernels import Kernels
from playground.local.cpu_step.ops import GROUP, Batch
from playground.local.cpu_step.plan import Plan
from playground.local.cpu_step.tuned import Carried, can_carry, carried_by
from playground.local.lora import Adapter
from playground.local.torch_step import Lane, TorchStepper
from playground.types import StepperName


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What stays the same from step to step while the same lanes run: their adapters, and the step's units of work."""

    lanes: tuple[Lane, ...]
    bases: np.ndarray
    units: np.ndarray
    limits: np.ndarray
    low_rank: np.ndarray
    strengths: np.ndarray
    tuned: bool


class CpuStepper:
    """Runs lanes over one model on the CPU, those that its plan can carry from the moment that the kernels are there,
    all others over `reference`. A row's logits are the same bits alone and among others, wherever it runs."""

    def __init__(self, plan: Plan, kernels: Kernels, reference: TorchStepper, num_threads: int) -> None:
        self._plan, self._kernels, self._reference = plan, kernels, reference
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
        return self._reference.prefill(lane, token_ids, num_logits=num_logits)

    def fork(self, lane: Lane) -> Lane:
        return self._reference.fork(lane)

    def num_bytes(self, lane: Lane) -> int:
        return self._reference.num_bytes(lane)

    def resumes(self, lane: Lane, num_at_once: int) -> bool:
        return self._reference.resumes(lane, num_at_once)

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
        return isinstance(lane.cache, Kept) or self._reference.repeats(lane)

    def name_of(self, lane: Lane) -> StepperName:
        return "kernels" if isinstance(lane.cache, Kept) else "transformers"

    def _takes(self, lane: Lane) -> bool:
        if isinstance(lane.cache, Kept):
            return True
        # A lane that has joined the reference's batch has no cache of its own any more, and stays there.
        return lane.cache is not None and self._kernels.ready and can_carry(lane.adapter, self._plan)

    def _step(self, lanes: Sequence[Lane], token_ids: Sequence[int]) -> torch.Tensor:
        for lane in lanes:
            if not isinstance(lane.cache, Kept):
                lane.cache = Kept.of(lane.cache, self._plan, lane.num_tokens)
            lane.cache.make_room(lane.num_tokens + 1)
        batch, logits = self._batch(tuple(lanes), token_ids)
        self._crew.run(batch)
        for lane in lanes:
            lane.num_tokens += 1
        # The next step writes over them.
        return torch.from_numpy(logits.copy())

    def _batch(self, lanes: tuple[Lane, ...], token_ids: Sequence[int]) -> tuple[Batch, np.ndarray]:
        plan, rows = self._plan, len(lanes)
        tables = self._tables
        if tables is None or tables.lanes != lanes:
            tables = self._tables = self._make_tables(lanes)
        positions = np.array([lane.num_tokens for lane in lanes], np.int64)
        self._grow_scratch(int(positions.max()) + 1)
        batch = Batch(
            columns=plan.columns,
            numbers=plan.numbers,
            phases=plan.phases,
            units=tables.units,
            limits=tables.limits,
            bases=tables.bases,
            widths=self._widths,
            rows=rows,
            lanes=min(rows, GROUP),
            tokens=np.array(token_ids, np.int64),
            positions=positions,
            kept=np.stack([lane.cache.addresses for lane in lanes]),
            slots=self._slots,
            angles=self._angles(positions),
            low_rank=tables.low_rank,
            strengths=tables.strengths,
            tuned=tables.tuned,
            kind=KINDS.index(plan.kind),
            scratch=self._scratch,
        )
        width = plan.widths[-1]
        start = int(tables.bases[-1] - self._memory.ctypes.data) // 4
        logits = self._memory[start : start + rows * width].reshape(rows, width)[:, : plan.num_tokens]
        return batch, logits

    def _make_tables(self, lanes: tuple[Lane, ...]) -> _Tables:
        rows = len(lanes)
        # The last group's blocks lie as far apart as a full one's.
        padded = -(-rows // GROUP) * GROUP if rows > GROUP else rows
        sizes = [width * padded for width in self._plan.widths]
        if len(self._memory) < sum(sizes):
            self._memory = np.zeros(sum(sizes), np.float32)
        bases = self._memory.ctypes.data + 4 * np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        low_rank, strengths, tuned = self._low_rank(lanes)
        units, limits = _units(self._plan, rows, tuned)
        return _Tables(lanes, bases, units, limits, low_rank, strengths, tuned)

    def _angles(self, positions: np.ndarray) -> np.ndarray:
        rotaries = self._plan.rotaries
        angles = np.zeros((len(rotaries), len(positions), 2, self._pairs), np.float32)
        for i, rotary in enumerate(rotaries):
            turned = positions[:, None].astype(np.float32) * rotary.frequencies
            angles[i, :, 0, : turned.shape[1]] = np.cos(turned) * rotary.scale
            angles[i, :, 1, : turned.shape[1]] = np.sin(turned) * rotary.scale
        return angles

    def _low_rank(self, lanes: tuple[Lane, ...]) -> tuple[np.ndarray, np.ndarray, bool]:
        """The rows' adapters as tables."""
        plan = self._plan
        low_rank = np.zeros((len(plan.modules), len(lanes), 5), np.int64)
        strengths = np.zeros((len(plan.modules), len(lanes)), np.float32)
        tuned = False
        for row, lane in enumerate(lanes):
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


def _scratch_floats(plan: Plan) -> int:
    linear = plan.columns[plan.columns[:, 0] == plans.LINEAR]
    return max(2 * GROUP * int(linear[:, 13].max()), 2 * max((slot.keys for slot in plan.slots), default=0), 4096)


def _units(plan: Plan, rows: int, tuned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Units of each op over so many rows, and of all phases up to and with each."""
    per = {plans.STEP: 1, plans.ROW: rows, plans.GROUP: -(-rows // GROUP)}
    units = np.array([count * per[kind] for count, kind in plan.units.tolist()], np.int64)
    if not tuned:
        units[plan.columns[:, 0] == plans.LOW_RANK] = 0
    sums = np.concatenate([[0], np.cumsum(units)])
    return units, sums[plan.phases[:, 1]]
