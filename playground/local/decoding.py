"""The loop: rows join a running batch, take a token a step, and leave, each on its own account.

Knows rows, turns and the stepper's few verbs; not how tensors are kept, what an adapter is or who asks. One
thread a loop; whatever goes wrong with one row stays with that row.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from playground.errors import Cancelled, InternalError, PlaygroundError
from playground.evidence import NUM_BEST, First, Proof
from playground.local.interrupt import broken_off_when
from playground.local.prompt_cache import Copying, OwnPrompts, PromptCache
from playground.local.reading import Reader
from playground.local.sampling import Sampler, best, score
from playground.local.torch_step import Lane
from playground.types import (
    Delta,
    Echo,
    Finish,
    FinishReason,
    Job,
    Progress,
    StepperName,
    Timing,
    TokenLogprob,
    Usage,
    View,
)

log = logging.getLogger(__name__)

CHUNK_TOKENS = 256
"""Prompt tokens that are read at once."""
SHORT_CHUNK_TOKENS = 32
"""The same while others stream, where that changes no bit."""
STREAMS_SHARE = 3
"""While others stream, a long prompt's later chunks take a part of the time of which the streams have so many times as
much: they become slower by a third."""
STILL_THINKING = "The model was still thinking when it was cut: raise the limit of new tokens."
MAX_RESTARTS = 2
"""So often a row's cache is made anew after a step that failed, before rows are given up."""


class Stepper(Copying, Protocol):
    """All that touches tensors. Called by one thread; a lane is prefilled, then stepped, then it leaves."""

    def prefill(self, lane: Lane, token_ids: Sequence[int], *, num_logits: int = 1) -> torch.Tensor: ...
    def step(self, lanes: Sequence[Lane], token_ids: Sequence[int]) -> torch.Tensor: ...
    def leave(self, lane: Lane) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...

    def repeats(self, lane: Lane) -> bool:
        """Whether this lane's logits are the same bits whatever runs beside it."""
        ...

    def name_of(self, lane: Lane) -> StepperName:
        """Which stepper this lane runs on."""
        ...


@dataclass(slots=True, eq=False)
class Row:
    """One answer in the making. `pieces` are the text by token of what is asked back: the prompt from its token
    `echo_from` on; `repeatable` says whether asking again would lead to the same place; `prove` makes the proof of
    `first`, the best tokens after the prompt; of the prompt's tokens `num_reused` had been read before;
    `restarts` counts how often its cache had to be made anew."""

    job: Job
    lane: Lane
    prompt_ids: tuple[int, ...]
    room: int
    end_ids: frozenset[int]
    reader: Reader
    sampler: Sampler
    seed: int
    pieces: tuple[str, ...] | None
    echo_from: int
    view: View
    repeatable: bool
    prove: Callable[[First], Proof]
    notes: tuple[str, ...] = ()
    out: list[int] = field(default_factory=list)
    scores: list[TokenLogprob | None] = field(default_factory=list)
    first: First = ()
    num_ready: int = 0
    num_reused: int = 0
    restarts: int = 0
    stepper: StepperName | None = None
    started_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None

    @property
    def scoring(self) -> bool:
        """Whether the prompt's own tokens are to be scored."""
        return self.pieces is not None and self.job.request.sampling.logprobs is not None

    @property
    def first_scored(self) -> int:
        """The first of the prompt's tokens that has a score to give: nothing comes before the very first."""
        return max(self.echo_from, 1)

    def same_prompt(self, other: Row) -> bool:
        """Whether this row, not begun yet, would fill its cache with just what `other` has."""
        mine, theirs = self.lane, other.lane
        carries_the_same = (mine.adapter, mine.strength) == (theirs.adapter, theirs.strength)
        begun = self.num_ready or not self.reads_alike
        return not begun and other.reads_alike and carries_the_same and self.prompt_ids == other.prompt_ids

    @property
    def reads_alike(self) -> bool:
        """Whether its prompt is read as all others are: from the start, and for its last logits alone."""
        return not (self.out or self.scoring)

    def go_on_from(self, lane: Lane) -> None:
        """Takes a lane that has read a part of the prompt, or all of it, in place of its own."""
        self.lane, self.num_ready, self.num_reused = lane, lane.num_tokens, lane.num_tokens

    def pending_ids(self) -> tuple[int, ...]:
        """Tokens that the lane must still take in before the row can step: more than the prompt's after a restart."""
        return (*self.prompt_ids, *self.out[:-1])[self.num_ready :]


class Loop:
    """Runs rows over one stepper, `max_rows` at once; more wait in order. `on_leave` hears of every row that
    is over, from the loop's thread. Prompts are kept in `prompts`."""

    def __init__(
        self, stepper: Stepper, name: str, *, max_rows: int, on_leave: Callable[[Row], None], prompts: PromptCache
    ) -> None:
        self._stepper, self._max_rows, self._on_leave = stepper, max_rows, on_leave
        self._prompts = OwnPrompts(prompts, stepper)
        self._streams_until = 0.0
        self._changed = threading.Condition()
        # Shared with the threads that add rows; all else is the loop's own.
        self._arrived: list[Row] = []
        self._closed = False
        self._waiting: deque[Row] = deque()
        self._filling: deque[Row] = deque()
        self._running: list[Row] = []
        # Begun with the first row: a loop that was made before a fork runs in the process that asks it.
        self._thread = threading.Thread(target=self._run, name=f"loop {name}", daemon=True)

    def add(self, row: Row) -> None:
        """Takes a row and returns at once."""
        with self._changed:
            if not self._closed:
                self._arrived.append(row)
                self._changed.notify()
                if not self._thread.ident:
                    self._thread.start()
                return
        row.job.emit(InternalError("the model was unloaded before the answer began"))

    def is_idle(self) -> bool:
        """Whether no row waits or runs."""
        with self._changed:
            return not (self._arrived or self._waiting or self._filling or self._running)

    def close(self) -> None:
        """Ends the thread; rows still under way get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident and threading.current_thread() is not self._thread:
            self._thread.join()
        self._prompts.forget()
        self._stepper.close()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._wait_for_work():
                try:
                    self._turn()
                except Exception as error:
                    log.exception("a turn of the loop failed")
                    self._give_up(_as_error(error))
        with self._changed:
            self._waiting.extend(self._arrived)
            self._arrived = []
        self._give_up(InternalError("the model was unloaded in the middle of the answer"))

    def _turn(self) -> None:
        self._drop_cancelled()
        self._admit()
        row = self._next_to_fill()
        if row is not None:
            self._guard_fill(row)
        if self._running:
            self._guard_step()

    def _give_up(self, error: PlaygroundError) -> None:
        """Ends every row; what the stepper holds is forgotten whole."""
        rows = [*self._waiting, *self._filling, *self._running]
        self._waiting.clear()
        self._filling.clear()
        self._running.clear()
        for row in rows:
            row.job.emit(error)
        self._forget_caches()

    def _forget_caches(self) -> None:
        """After something broke. Where memory ran out, kept prompts are the first that should give theirs back."""
        self._prompts.forget()
        self._stepper.reset()

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._closed or self._arrived or self._waiting or self._filling or self._running):
                self._changed.wait()
            self._waiting.extend(self._arrived)
            self._arrived = []
            return not self._closed

    def _drop_cancelled(self) -> None:
        for row in [*self._waiting, *self._filling, *self._running]:
            if row.job.cancelled.is_set():
                self._end(row, Cancelled("the answer was stopped"))

    def _admit(self) -> None:
        while self._waiting and len(self._filling) + len(self._running) < self._max_rows:
            row = self._waiting.popleft()
            row.started_at = time.perf_counter()
            self._filling.append(row)

    # One chunk of one prompt

    def _next_to_fill(self) -> Row | None:
        """The first in turn, where it is not the streams' turn. One whose very prompt is half read waits for that."""
        begun = [row for row in self._filling if row.num_ready]
        ready = [row for row in self._filling if not any(row.same_prompt(other) for other in begun)]
        if self._running and time.perf_counter() < self._streams_until:
            # A prompt's first chunk keeps nobody waiting for long.
            ready = [row for row in ready if not row.num_ready]
        return ready[0] if ready else None

    def _guard_fill(self, row: Row) -> None:
        try:
            self._fill(row)
        except PlaygroundError as error:
            self._end(row, error)
        except Exception as error:
            log.exception("prefill failed")
            self._prompts.forget()
            self._end(row, _as_error(error))

    def _fill(self, row: Row) -> None:
        logits = self._resume(row)
        if logits is None:
            logits = self._read(row)
        if logits is None:
            # A short prompt need not wait for all of a long one.
            self._filling.remove(row)
            self._filling.append(row)
            return
        twins = self._twins(row)
        self._begin(row, logits)
        for twin in twins:
            self._begin(twin, logits)

    def _resume(self, row: Row) -> torch.Tensor | None:
        """Has a row that was not begun go on from what is kept of its prompt; the last logits where that is all."""
        if row.num_ready or not row.reads_alike:
            return None
        found = self._prompts.resumed(row.lane, row.prompt_ids, CHUNK_TOKENS)
        if found is None:
            return None
        row.go_on_from(found[0])
        return found[1]

    def _read(self, row: Row) -> torch.Tensor | None:
        """One chunk; the logits after the prompt's last token, None while there is more to read."""
        began_at, is_first = time.perf_counter(), not row.num_ready
        pending = row.pending_ids()
        chunk = pending[: self._chunk_for(row)]
        scoring = row.scoring and not row.out
        # A token's score lies in the logits of the token before it.
        num_scoring = row.num_ready + len(chunk) - (row.first_scored - 1) if scoring else 1
        num_logits = max(1, min(num_scoring, len(chunk)))
        with broken_off_when(row.job.cancelled.is_set):
            logits = self._stepper.prefill(row.lane, chunk, num_logits=num_logits)
        row.num_ready += len(chunk)
        if scoring:
            self._score(row, logits)
        num_left = len(pending) - len(chunk)
        if num_left or not is_first:
            now = time.perf_counter()
            self._streams_until = now + STREAMS_SHARE * (now - began_at)
        at_boundary = num_left <= CHUNK_TOKENS and row.num_ready % CHUNK_TOKENS == 0
        if row.reads_alike and (at_boundary or not num_left):
            # Another prompt may begin with what lies before the last chunk, and this very one may be asked again.
            last = None if num_left else logits[-1]
            self._prompts.keep(row.lane, row.prompt_ids[: row.num_ready], last)
        if num_left:
            row.job.emit(Progress("prefill", row.num_ready / (row.num_ready + num_left)))
            return None
        return logits[-1]

    def _chunk_for(self, row: Row) -> int:
        return SHORT_CHUNK_TOKENS if self._running and self._stepper.cuts_anywhere(row.lane) else CHUNK_TOKENS

    def _twins(self, row: Row) -> list[Row]:
        """Rows that wait with the very same prompt: each gets a copy of this one's cache in place of its own work."""
        twins = [other for other in self._filling if other is not row and other.same_prompt(row)]
        for twin in twins:
            twin.go_on_from(self._stepper.fork(row.lane))
        return twins

    def _begin(self, row: Row, logits: torch.Tensor) -> None:
        self._filling.remove(row)
        self._running.append(row)
        if row.out:
            return
        row.first = best(logits, NUM_BEST)
        if row.pieces is not None:
            unscored = [None] * (row.first_scored - row.echo_from)
            scores = [*unscored, *row.scores] if row.scoring else []
            row.job.emit(Echo("".join(row.pieces), row.prompt_ids[row.echo_from :], row.pieces, tuple(scores)))
        self._take_token(row, logits)

    def _score(self, row: Row, logits: torch.Tensor) -> None:
        """The prompt's tokens under the logits of the token before each; the last logits are the answer's."""
        assert row.pieces is not None
        num_top = row.job.request.sampling.logprobs or 0
        start = row.num_ready - len(logits) + 1
        if start < row.first_scored:
            return
        token_ids = row.prompt_ids[start : row.num_ready + 1]
        scored = score(logits[: len(token_ids)], token_ids, num_top, row.reader.spell)
        pieces = row.pieces[start - row.echo_from :]
        row.scores += [replace(one, piece=piece) for one, piece in zip(scored, pieces, strict=False)]

    # One token for every running row

    def _guard_step(self) -> None:
        rows = list(self._running)
        try:
            logits = self._stepper.step([row.lane for row in rows], [row.out[-1] for row in rows])
        except Exception as error:
            log.exception("a step failed")
            self._recover(rows, _as_error(error))
            return
        for row, row_logits in zip(rows, logits, strict=True):
            try:
                self._take_token(row, row_logits)
            except PlaygroundError as error:
                self._end(row, error)
            except Exception as error:
                log.exception("choosing a token failed")
                self._end(row, _as_error(error))

    def _recover(self, rows: list[Row], error: PlaygroundError) -> None:
        """A forward that broke off leaves the caches half-written, so every row is prefilled again. Where that
        was tried often enough, the row that takes the most memory ends, and the others go on without it."""
        self._forget_caches()
        if all(row.restarts >= MAX_RESTARTS for row in rows):
            heaviest = max(rows, key=lambda row: len(row.prompt_ids) + len(row.out))
            rows.remove(heaviest)
            self._end(heaviest, error)
        for row in rows:
            row.restarts += 1
            row.lane = Lane(row.lane.adapter, row.lane.strength)
            row.num_ready = row.num_reused = 0
            self._running.remove(row)
            self._filling.append(row)

    def _take_token(self, row: Row, logits: torch.Tensor) -> None:
        if row.job.request.sampling.max_tokens == 0:
            self._finish(row, "length")
            return
        if not bool(torch.isfinite(logits).all()):
            raise InternalError("the model's output is not a number: its weights or the adapter are broken")
        token_id = row.sampler.choose(logits)
        now = time.perf_counter()
        row.first_token_at = row.first_token_at or now
        row.last_token_at = now
        num_top = row.job.request.sampling.logprobs
        scored = [] if num_top is None else score(logits[None], [token_id], num_top, row.reader.spell)
        if token_id in row.end_ids:
            self._finish(row, "stop", scored[0] if scored else None)
            return
        row.out.append(token_id)
        thinking = row.reader.thinking
        text = row.reader.push(token_id)
        logprobs = tuple(replace(one, piece=row.reader.piece) for one in scored)
        row.job.emit(Delta(text, (token_id,), thinking, logprobs))
        if row.reader.stopped:
            self._finish(row, "stop")
        elif len(row.out) >= row.room:
            self._finish(row, "length")

    def _finish(self, row: Row, reason: FinishReason, end: TokenLogprob | None = None) -> None:
        thinking, rest = row.reader.thinking, row.reader.flush()
        if rest:
            row.job.emit(Delta(rest, (), thinking))
        if row.reader.stopped:
            # The stop string stood in bytes that were held back as a part of a character.
            reason = "stop"
        usage = Usage(len(row.prompt_ids), len(row.out), row.num_reused)
        notes = (*row.notes, STILL_THINKING) if thinking and reason == "length" else row.notes
        proof = row.prove(row.first)
        # A cache made anew in the middle was made in other pieces, which may round differently.
        exact = row.repeatable and not row.restarts and self._stepper.repeats(row.lane)
        row.stepper = self._stepper.name_of(row.lane)
        if self._stepper.cuts_anywhere(row.lane) and not row.scoring:
            # The next turn begins with this one's answer. Its last token was not taken in.
            self._prompts.keep(row.lane, (*row.prompt_ids, *row.out)[: row.lane.num_tokens])
        self._end(row, Finish(reason, usage, _timing(row), row.view, row.seed, exact, notes, end, proof, row.stepper))

    def _end(self, row: Row, last: Finish | PlaygroundError) -> None:
        """Whoever asked hears of it first: letting go of the cache may fail, and that is not their affair."""
        for rows in (self._waiting, self._filling, self._running):
            if row in rows:
                rows.remove(row)
        row.job.emit(last)
        try:
            self._stepper.leave(row.lane)
        except Exception as error:
            log.exception("leaving the batch failed")
            self._recover(list(self._running), _as_error(error))
        self._on_leave(row)


def _as_error(error: Exception) -> PlaygroundError:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return InternalError("out of memory while answering; ask for fewer or shorter answers at once")
    return InternalError(f"the engine failed: {type(error).__name__}")


def _timing(row: Row) -> Timing:
    now = time.perf_counter()
    job = row.job

    def ms(start: float | None, end: float | None) -> float:
        return 0.0 if start is None or end is None else max(0.0, (end - start) * 1000)

    return Timing(
        queued_ms=ms(job.ready_at, row.started_at),
        load_ms=ms(job.arrived_at, job.ready_at),
        first_token_ms=None if row.first_token_at is None else ms(job.arrived_at, row.first_token_at),
        decode_ms=ms(row.first_token_at, row.last_token_at),
        total_ms=ms(job.arrived_at, now),
    )
