"""The embedded engine of one base: its adapters, its merged views, and a loop for each module tree.

Knows what a job asks for and where it runs; leaves tensors to the stepper and turns to the loop.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from playground import hub
from playground.errors import InternalError, InvalidRequest, ModelLoadFailed, PlaygroundError, broken_rule
from playground.local import weights
from playground.local.adapters import read_adapter
from playground.local.decoding import Loop, Row
from playground.local.lora import Adapter, Hooks
from playground.local.merge import extra_bytes, merged_view
from playground.local.reading import Reader, pieces_of
from playground.local.sampling import Sampler
from playground.local.torch_step import Lane, TorchStepper
from playground.prompts import check_template, encode
from playground.types import DRAWN_SEEDS, Engine, GenerationRequest, Job, LoadWatch, ModelCard, Progress, View

log = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
USES_BEFORE_MERGE = 2
"""After so many answers by itself a fine-tune is worth the time and the memory of a merged view."""


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a model is spoken to: its entry, or its own folder, may bring a template of its own."""

    context_length: int
    chat_template: str | None
    end_ids: frozenset[int]


@dataclass(slots=True, eq=False)
class _FineTune:
    """An adapter that was read, and the loop over its merged view where there is one."""

    card: ModelCard
    adapter: Adapter
    merged: Loop | None = None
    merged_bytes: int = 0
    merging: bool = False
    num_uses: int = 0


class LocalEngine:
    """Answers jobs of one base and its fine-tunes. `has_room` tells whether the budget allows more bytes."""

    def __init__(self, base: weights.Base, *, max_rows: int, has_room: Callable[[int], bool]) -> None:
        self._base, self._max_rows, self._has_room = base, max_rows, has_room
        self._hooks = Hooks(base.model)
        self._fine_tunes: dict[str, _FineTune] = {}
        self._loop = self._make_loop(base.model, base.card.id)
        self._intake = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._manners: dict[str, _Manner] = {}
        # Held while the module tree is hooked or copied; the loops only run through it.
        self._changing_modules = threading.Lock()
        self._closed = False

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        """Learns how `card` is spoken to; reads a fine-tune's adapter, and merges it at once where its card or
        its kind demands that."""
        if card.adapter is None:
            self._manners[card.id] = self._manner(card, None)
            return
        watch.report(Progress("loading", None, card.name))
        folder = hub.folder_on_disk(card.adapter, card.adapter_revision) or hub.download(
            card.adapter, card.adapter_revision, watch, patterns=ADAPTER_FILES
        )
        adapter = read_adapter(folder, self._base.model, self._base.card.id)
        manner = self._manner(card, hub.template_of(folder))
        if adapter.attachable is not None and card.merge == "never":
            raise ModelLoadFailed(
                f"{card.id}: merge is set to never, and {adapter.attachable}, which only a merged view can run"
            )
        tune = _FineTune(card, adapter)
        with self._changing_modules:
            self._fine_tunes[card.id] = tune
            if adapter.attachable is None:
                self._hooks.cover(adapter)
        if adapter.attachable is not None or card.merge == "always":
            try:
                self._merge(tune, insist=True)
            except BaseException:
                del self._fine_tunes[card.id]
                raise
        self._manners[card.id] = manner

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
        self._intake.shutdown(cancel_futures=True)
        with self._changing_modules:
            self._closed = True
            loops = [self._loop, *(tune.merged for tune in self._fine_tunes.values() if tune.merged)]
            self._fine_tunes = {}
        while loops:
            loops.pop().close()
        self._base.model = self._base.tokenizer = None
        del self._loop, self._hooks
        weights.release_memory()

    def _make_loop(self, model: Any, name: str) -> Loop:
        return Loop(TorchStepper(model), name, max_rows=self._max_rows, on_leave=self._after_answer)

    def _manner(self, card: ModelCard, own_template: str | None) -> _Manner:
        """The entry's template, else the one that lies with the adapter, else the base's."""
        base = self._base
        template = card.chat_template or own_template or base.chat_template
        check_template(base.tokenizer, card.id, template)
        return _Manner(
            context_length=min(base.context_limit, card.context_length or base.context_limit),
            chat_template=template,
            end_ids=weights.end_ids(base.model, base.tokenizer, template),
        )

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
        request, base, manner = job.request, self._base, self._manners[job.card.id]
        prompt = encode(base.tokenizer, request, manner.context_length, manner.chat_template)
        self._check_ids("messages" if prompt.chat else "prompt", prompt.token_ids)
        self._check_ids("logit_bias", tuple(request.sampling.logit_bias))
        seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbelow(DRAWN_SEEDS)
        place = self._place(job)
        row = Row(
            job=job,
            lane=Lane(place.adapter, request.strength),
            prompt_ids=prompt.token_ids,
            room=min(request.sampling.max_tokens, manner.context_length - len(prompt.token_ids)),
            end_ids=manner.end_ids,
            reader=Reader(base.tokenizer, prompt, request.sampling.stop),
            sampler=Sampler(request.sampling, seed),
            seed=seed,
            pieces=tuple(pieces_of(base.tokenizer, prompt.token_ids)) if request.echo else None,
            view=place.view,
            exact=place.repeatable and base.dtype.itemsize >= 4,
            notes=(*base.notes, *place.notes),
        )
        return place.loop, row

    def _check_ids(self, param: str, token_ids: tuple[int, ...]) -> None:
        """A tokenizer may know tokens that the model has no row for."""
        num_tokens = self._base.model.get_input_embeddings().num_embeddings
        for token_id in token_ids:
            if not 0 <= token_id < num_tokens:
                raise broken_rule(param, token_id, f"token ids of this model go from 0 to {num_tokens - 1}")

    def _place(self, job: Job) -> _Place:
        """Where a job runs. A merged view rounds differently from base and adapter, so where nobody insists on
        it, only answers that ask for nothing repeatable go there: drawn at random with no seed given."""
        if job.card.adapter is None:
            return _Place(self._loop, "base")
        tune, request = self._fine_tunes[job.card.id], job.request
        notes = tune.adapter.notes
        merged_only = tune.adapter.attachable is not None
        if merged_only and request.strength != 1:
            raise InvalidRequest(
                f"strength: {request.strength} is not possible for {job.card.id}: {tune.adapter.attachable}, so "
                "it runs as a merged view only",
                param="strength",
            )
        always = merged_only or (job.card.merge == "always" and request.alone and request.strength == 1)
        if tune.merged is not None and (always or (job.card.merge == "auto" and _is_free(request))):
            return _Place(tune.merged, "merged", None, notes, repeatable=always)
        return _Place(self._loop, "attached", tune.adapter, notes)

    # Merged views

    def _after_answer(self, row: Row) -> None:
        card = row.job.card
        tune = self._fine_tunes.get(card.id)
        if tune is None or card.merge != "auto" or row.view != "attached" or not _is_free(row.job.request):
            return
        tune.num_uses += 1
        if tune.num_uses >= USES_BEFORE_MERGE and not tune.merging:
            tune.merging = True
            threading.Thread(target=self._merge_behind, args=(tune,), name=f"merge {card.id}", daemon=True).start()

    def _merge_behind(self, tune: _FineTune) -> None:
        try:
            self._merge(tune, insist=False)
        except (ModelLoadFailed, MemoryError) as error:
            # Nothing is lost: the fine-tune goes on as an adapter by row.
            log.warning("%s stays attached: %s", tune.card.id, error)

    def _merge(self, tune: _FineTune, *, insist: bool) -> None:
        with self._changing_modules:
            if self._closed:
                return
            num_bytes = extra_bytes(self._base.model, tune.adapter)
            if not self._has_room(num_bytes):
                if insist:
                    raise ModelLoadFailed(
                        f"{tune.card.id} needs {num_bytes / 1e6:.0f} MB beside its base for a merged view, more than "
                        "the memory budget has left: raise PLAYGROUND_MEMORY_GB, or unload other models"
                    )
                return
            tune.merged_bytes = num_bytes
            try:
                view = merged_view(self._base.model, tune.adapter)
            except BaseException:
                tune.merged_bytes = 0
                raise
            tune.merged = self._make_loop(view, f"{tune.card.id} merged")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a job runs, and whether asking again would lead to the same place."""

    loop: Loop
    view: View
    adapter: Adapter | None = None
    notes: tuple[str, ...] = ()
    repeatable: bool = True


def _is_free(request: GenerationRequest) -> bool:
    """Whether an answer may come from a merged view: asked alone, at full strength, drawn with no seed given."""
    drawn = request.sampling.seed is None and request.sampling.temperature > 0
    return request.alone and request.strength == 1 and drawn


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
