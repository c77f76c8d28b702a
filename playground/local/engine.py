"""The embedded engine of one base: its adapters, its merged views, and a loop for each module tree.

Knows what a job asks for and where it runs; leaves tensors to the stepper and turns to the loop.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playground import hub
from playground.errors import InternalError, InvalidRequest, ModelLoadFailed, PlaygroundError, broken_rule
from playground.local import weights
from playground.local.decoding import Loop, Row
from playground.local.lora import Adapter, Hooks, read_adapter
from playground.local.merge import extra_bytes, merged_view
from playground.local.reading import Reader
from playground.local.sampling import Sampler
from playground.local.torch_step import Lane, TorchStepper
from playground.prompts import encode
from playground.types import Engine, Job, LoadWatch, ModelCard, Progress, View

log = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
USES_BEFORE_MERGE = 2
"""After so many answers by itself a fine-tune is worth the time and the memory of a merged view."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a model is spoken to: a fine-tune may have been trained with a template of its own."""

    context_length: int
    chat_template: str | None
    end_ids: frozenset[int]


@dataclass(slots=True, eq=False)
class _FineTune:
    """An adapter that was read, and the loop over its merged view where there is one."""

    card: ModelCard
    adapter: Adapter
    asked: _Asked
    merged: Loop | None = None
    merged_bytes: int = 0
    merging: bool = False
    num_uses: int = 0
    notes: tuple[str, ...] = field(default=())


class LocalEngine:
    """Answers jobs of one base and its fine-tunes. `has_room` tells whether the budget allows more bytes."""

    def __init__(self, base: weights.Base, *, max_rows: int, has_room: Callable[[int], bool]) -> None:
        self._base, self._max_rows, self._has_room = base, max_rows, has_room
        self._hooks = Hooks(base.model)
        self._fine_tunes: dict[str, _FineTune] = {}
        self._loop = self._make_loop(base.model, base.card.id)
        self._intake = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._merging = threading.Lock()
        self._closed = False

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        """Reads a fine-tune's adapter, and merges it at once where its card or its kind demands that."""
        if card.adapter is None or card.id in self._fine_tunes:
            return
        watch.report(Progress("loading", None, card.name))
        folder = hub.folder_on_disk(card.adapter, card.adapter_revision) or hub.download(
            card.adapter, card.adapter_revision, watch, patterns=ADAPTER_FILES
        )
        adapter = read_adapter(Path(folder), self._base.model, self._base.card.id)
        tune = _FineTune(card, adapter, self._asked_of(card, Path(folder)), notes=adapter.notes)
        if adapter.attachable is not None and card.merge == "never":
            raise ModelLoadFailed(
                f"{card.id}: merge is set to never, and {adapter.attachable}, which only a merged view can run"
            )
        if adapter.attachable is None:
            self._hooks.cover(adapter)
        if adapter.attachable is not None or card.merge == "always":
            self._merge(tune, insist=True)
        self._fine_tunes[card.id] = tune

    def submit(self, job: Job) -> None:
        """Takes a job; its prompt is made and checked in a thread of its own."""
        try:
            starting = self._intake.submit(self._start, job)
        except RuntimeError:
            job.emit(InternalError("the model was unloaded before the answer began"))
        else:
            starting.add_done_callback(lambda done: _tell_if_dropped(done, job))

    def memory_bytes(self) -> int:
        """Base, adapters and merged views, in bytes."""
        tunes = list(self._fine_tunes.values())
        return self._base.num_bytes + sum(tune.adapter.num_bytes() + tune.merged_bytes for tune in tunes)

    def fingerprint(self) -> str:
        """A hash over all tensors of the base as they are now."""
        return weights.fingerprint(self._base.model)

    def close(self) -> None:
        """Ends all loops and lets go of every tensor."""
        self._closed = True
        self._intake.shutdown(cancel_futures=True)
        with self._merging:
            loops = [self._loop, *(tune.merged for tune in self._fine_tunes.values() if tune.merged)]
            self._fine_tunes = {}
        for loop in loops:
            loop.close()
        del loops
        self._base.model = self._base.tokenizer = None
        del self._loop, self._hooks
        weights.release_memory()

    def _make_loop(self, model: Any, name: str) -> Loop:
        rounds = self._base.dtype.itemsize < 4
        return Loop(TorchStepper(model), name, max_rows=self._max_rows, rounds=rounds, on_leave=self._after_answer)

    def _start(self, job: Job) -> None:
        try:
            loop, row = self._row(job)
        except PlaygroundError as error:
            job.emit(error)
        except Exception:
            log.exception("a prompt could not be made")
            job.emit(InternalError("the prompt could not be made; the log says why"))
        else:
            loop.add(row)

    def _row(self, job: Job) -> tuple[Loop, Row]:
        request, base = job.request, self._base
        asked = self._asked(job.card)
        prompt = encode(base.tokenizer, request, asked.context_length, asked.chat_template)
        self._check_bias(request.sampling.logit_bias)
        seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbits(48)
        loop, view, adapter, notes = self._place(job)
        row = Row(
            job=job,
            lane=Lane(adapter, request.strength),
            prompt_ids=prompt.token_ids,
            room=min(request.sampling.max_tokens, asked.context_length - len(prompt.token_ids)),
            end_ids=asked.end_ids,
            reader=Reader(base.tokenizer, prompt, request.sampling.stop),
            sampler=Sampler(request.sampling, seed),
            seed=seed,
            view=view,
            notes=(*base.notes, *notes),
        )
        return loop, row

    def _asked(self, card: ModelCard) -> _Asked:
        if card.adapter is not None:
            return self._fine_tunes[card.id].asked
        return _Asked(self._base.context_length, self._base.chat_template, self._base.end_ids)

    def _asked_of(self, card: ModelCard, folder: Path) -> _Asked:
        """Its entry's template, else the one that lies with the adapter, else the base's."""
        base = self._base
        template = card.chat_template or hub.template_of(folder) or base.chat_template
        return _Asked(
            min(base.context_length, card.context_length or base.context_length),
            template,
            base.end_ids | weights.end_ids(base.model, base.tokenizer, template),
        )

    def _check_bias(self, bias: Any) -> None:
        num_tokens = self._base.model.config.get_text_config(decoder=True).vocab_size
        for token_id in bias:
            if token_id >= num_tokens:
                raise broken_rule("logit_bias", token_id, f"token ids of this model go from 0 to {num_tokens - 1}")

    def _place(self, job: Job) -> tuple[Loop, View, Adapter | None, tuple[str, ...]]:
        """Where a job runs. A merged view rounds differently from base and adapter, so where nobody insists on
        it, only answers that nobody could ask for again go there: drawn at random with no seed given."""
        if job.card.adapter is None:
            return self._loop, "base", None, ()
        tune, request = self._fine_tunes[job.card.id], job.request
        merged_only = tune.adapter.attachable is not None
        if merged_only and request.strength != 1:
            raise InvalidRequest(
                f"strength: {request.strength} is not possible for {job.card.id}: {tune.adapter.attachable}, so "
                "it runs as a merged view only",
                param="strength",
            )
        unrepeatable = request.sampling.seed is None and request.sampling.temperature > 0
        by_itself = request.alone and request.strength == 1
        wanted = merged_only or (
            by_itself and (job.card.merge == "always" or (job.card.merge == "auto" and unrepeatable))
        )
        if wanted and tune.merged is not None:
            return tune.merged, "merged", None, tune.notes
        return self._loop, "attached", tune.adapter, tune.notes

    # Merged views

    def _after_answer(self, row: Row) -> None:
        card = row.job.card
        tune = self._fine_tunes.get(card.id)
        if tune is None or card.merge != "auto" or row.view != "attached" or not row.job.request.alone:
            return
        tune.num_uses += 1
        if tune.num_uses >= USES_BEFORE_MERGE and not tune.merging:
            tune.merging = True
            threading.Thread(target=self._merge_behind, args=(tune,), name=f"merge {card.id}", daemon=True).start()

    def _merge_behind(self, tune: _FineTune) -> None:
        try:
            self._merge(tune, insist=False)
        except ModelLoadFailed as error:
            # Nothing is lost: the fine-tune goes on as an adapter by row.
            log.warning("%s stays attached: %s", tune.card.id, error)

    def _merge(self, tune: _FineTune, *, insist: bool) -> None:
        num_bytes = extra_bytes(self._base.model, tune.adapter)
        if not self._has_room(num_bytes):
            if insist:
                raise ModelLoadFailed(
                    f"{tune.card.id} needs {num_bytes / 1e9:.2f} GB beside its base for a merged view, more than "
                    "the memory budget has left"
                )
            return
        with self._merging:
            if self._closed:
                return
            tune.merged_bytes = num_bytes
            try:
                view = merged_view(self._base.model, tune.adapter)
                tune.merged = self._make_loop(view, f"{tune.card.id} merged")
            except BaseException:
                tune.merged_bytes = 0
                raise


def _tell_if_dropped(starting: Future[None], job: Job) -> None:
    if starting.cancelled():
        job.emit(InternalError("the model was unloaded before the answer began"))


class LocalLoader:
    """Makes embedded engines. One load at a time: transformers reports the progress of all in one place."""

    def __init__(self, *, max_rows: int) -> None:
        self._max_rows = max_rows
        self._one_at_a_time = threading.Lock()

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        return weights.size_bytes(base, watch)

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> Engine:
        with self._one_at_a_time:
            loaded = weights.load_base(base, watch)
        return LocalEngine(loaded, max_rows=self._max_rows, has_room=has_room)
