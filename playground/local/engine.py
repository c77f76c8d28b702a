"""The embedded engine of one base: its adapters, its merged views, and a loop for each module tree.

Knows what a job asks for and where it runs; leaves tensors to the stepper and turns to the loop.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from playground import hub
from playground.errors import Cancelled, InternalError, InvalidRequest, ModelLoadFailed, PlaygroundError, broken_rule
from playground.evidence import AdapterDetails, Fidelity, First, PromptToken, Proof, Rendered, Saved, Verdict
from playground.local import checking, saving, weights
from playground.local.adapters import hash_of_file, read_adapter
from playground.local.decoding import Loop, Row
from playground.local.describing import describe
from playground.local.lora import Adapter, Hooks
from playground.local.measuring import measure
from playground.local.merge import extra_bytes, merged_view
from playground.local.prompt_cache import PromptCache
from playground.local.quantized import why_no_merge
from playground.local.reading import Reader, answer_pieces, pieces_of, spell
from playground.local.sampling import Sampler
from playground.local.steppers import Steppers
from playground.local.torch_step import Lane
from playground.prompts import Prompt, check_room, check_template, encode
from playground.types import DRAWN_SEEDS, GenerationRequest, Job, LoadWatch, ModelCard, Placement, Progress, View

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


class _LastPrompt:
    """The prompt that was made last: the choices of one request, and both sides' scores, ask for it again and again.
    A prompt that cannot be made is refused again as it was."""

    def __init__(self) -> None:
        self._made: tuple[tuple[object, ...], Prompt | InvalidRequest] | None = None

    def of(self, tokenizer: Any, card: ModelCard, request: GenerationRequest, manner: _Manner) -> Prompt:
        wanted = (card.id, manner.chat_template, request.messages, request.prompt, request.thinking)
        made = self._made
        if made is None or made[0] != wanted:
            made = self._made = wanted, _encoded(tokenizer, request, manner)
        if isinstance(made[1], InvalidRequest):
            raise made[1]
        return made[1]


def _encoded(tokenizer: Any, request: GenerationRequest, manner: _Manner) -> Prompt | InvalidRequest:
    try:
        return encode(tokenizer, request, manner.context_length, manner.chat_template)
    except InvalidRequest as error:
        return error


@dataclass(slots=True, eq=False)
class _FineTune:
    """An adapter that was read, and its merged view with the loop over it where there is one."""

    card: ModelCard
    adapter: Adapter
    merged: Loop | None = None
    view: Any = None
    merged_bytes: int = 0
    merging: bool = False
    num_uses: int = 0
    details: AdapterDetails | None = None


class LocalEngine:
    """Answers jobs of one base and its fine-tunes. `has_room` tells whether the budget allows more bytes."""

    def __init__(
        self,
        base: weights.Base,
        steppers: Steppers,
        *,
        max_rows: int,
        has_room: Callable[[int], bool],
        prompts: PromptCache,
    ) -> None:
        self._base, self._steppers, self._max_rows, self._has_room = base, steppers, max_rows, has_room
        self._prompts = prompts
        self._hooks = Hooks(base.model)
        self._no_merge = why_no_merge(base.model)
        self._fine_tunes: dict[str, _FineTune] = {}
        self._loop = self._make_loop(base.model, base.card.id)
        self._intake = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self.base_hash: str | None = None
        self._tokenizer_hash = weights.tokenizer_hash(base.tokenizer)
        self._manners: dict[str, _Manner] = {}
        self._encoded = _LastPrompt()
        # Held while the module tree is hooked or copied; the loops only run through it.
        self._changing_modules = threading.Lock()
        # Reading gigabytes takes a while; nobody waits for it, and answers say when it is not known yet.
        threading.Thread(target=self._learn_hash, name=f"fingerprint {base.card.id}", daemon=True).start()

    def size_of(self, card: ModelCard, watch: LoadWatch) -> int:
        """What `prepare` will take for a fine-tune, its merged view included where it needs one at once."""
        measured = measure(self._folder_of(card, watch), self._base.model)
        if self._merges_at_once(card, measured.attachable):
            return measured.num_bytes + extra_bytes(self._base.model, measured.names)
        return measured.num_bytes

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        """Learns how `card` is spoken to; reads a fine-tune's adapter, and merges it at once where its card or
        its kind demands that."""
        if card.adapter is None:
            self._manners[card.id] = self._manner(card, None)
            return
        watch.report(Progress("loading", None, card.name))
        folder = self._folder_of(card, watch)
        adapter = read_adapter(folder, self._base.model, self._base.card.id)
        manner = self._manner(card, hub.template_of(folder))
        merged_at_once = self._merges_at_once(card, adapter.attachable)
        tune = _FineTune(card, adapter)
        with self._changing_modules:
            self._fine_tunes[card.id] = tune
            if adapter.attachable is None:
                self._hooks.cover(adapter)
        if merged_at_once:
            try:
                # Its room was reserved for it.
                self._merge(tune, lambda _: True)
            except BaseException:
                del self._fine_tunes[card.id]
                raise
        self._manners[card.id] = manner

    def _folder_of(self, card: ModelCard, watch: LoadWatch) -> Path:
        """The folder of a fine-tune's adapter, downloaded first where need be."""
        assert card.adapter is not None
        folder = hub.folder_on_disk(card.adapter, card.adapter_revision)
        return folder or hub.download(card.adapter, card.adapter_revision, watch, patterns=ADAPTER_FILES)

    def _merges_at_once(self, card: ModelCard, attachable: str | None) -> bool:
        """Whether a fine-tune is merged as soon as it is read; raises `ModelLoadFailed` where it would have to be and
        must not, or cannot."""
        if attachable is not None and card.merge == "never":
            raise ModelLoadFailed(
                f"{card.id}: merge is set to never, and {attachable}, which only a merged view can run"
            )
        at_once = attachable is not None or card.merge == "always"
        if at_once and self._no_merge is not None:
            wish = attachable or "merge is set to always"
            raise ModelLoadFailed(f"{card.id}: {wish}, so it would run merged, but {self._no_merge}")
        return at_once

    def submit(self, job: Job) -> None:
        """Takes a job; its prompt is made and checked in a thread of its own."""
        try:
            starting = self._intake.submit(self._start, job)
        except RuntimeError:
            job.emit(InternalError("the model was unloaded before the answer began"))
        else:
            starting.add_done_callback(lambda done: _tell_if_dropped(done, job))

    def render(self, card: ModelCard, request: GenerationRequest) -> Rendered:
        """What `card` would be given for a request; raises `InvalidRequest` as a job would."""
        prompt = self._prompt(card, request)
        backend = self._base.tokenizer.backend_tokenizer
        special = {i for i, token in self._base.tokenizer.added_tokens_decoder.items() if token.special}
        tokens = tuple(PromptToken(i, spell(backend, i), i in special) for i in prompt.token_ids)
        return Rendered(prompt.text, tokens, prompt.thinking, self._tokenizer_hash)

    def describe(self, card: ModelCard) -> AdapterDetails:
        """A fine-tune's adapter and where its change lies; found out once."""
        tune = self._fine_tunes[card.id]
        if tune.details is None:
            tune.details = describe(tune.adapter, self._base.model)
        return tune.details

    def check(self, card: ModelCard, request: GenerationRequest, proof: Proof) -> list[Verdict]:
        """Holds a proof against the base's weights, the adapter's file and a plain forward of the base. Raises
        `InvalidRequest` for the proof of another model."""
        own = card.id if card.adapter else None
        if proof.adapter != own or (own is None) != (proof.adapter_hash is None):
            raise broken_rule("proof", proof.adapter, f"it must be the proof of an answer of {card.id}")
        token_ids = self._prompt(card, request).token_ids
        verdicts = [checking.check_base(self.fingerprint(), proof)]
        if proof.adapter_hash is not None:
            verdicts.append(checking.check_adapter(_hash_or_none(self._fine_tunes[card.id].adapter), proof))
        return [*verdicts, checking.check_side(self._base.model, token_ids, proof)]

    def fidelity(self, card: ModelCard, request: GenerationRequest) -> list[Fidelity]:
        """The fine-tune by row against merged copies; raises `InvalidRequest` where rows cannot carry it, or where
        the copies would not fit."""
        tune = self._mergeable(card)
        if tune.adapter.attachable is not None:
            raise broken_rule("model", card.id, f"it runs merged only, since {tune.adapter.attachable}")
        prompt = self._prompt(card, request)
        return self._fidelity(tune, self._view_for(tune), prompt)

    def save(self, card: ModelCard, folder: Path, watch: LoadWatch) -> Saved:
        """Writes the fine-tune, merged in the base's dtype, into a new folder. Raises `InvalidRequest` where it cannot
        be merged or the folder is there, `SaveFailed` where it cannot be written."""
        tune, base = self._mergeable(card), self._base
        watch.report(Progress("saving", 0.0, folder.name))
        saving.require_place(folder, base.num_bytes)
        template = self._manners[card.id].chat_template
        view, figures = self._view_for(tune), ()
        if tune.adapter.attachable is None:
            figures = tuple(self._fidelity(tune, view, self._prompt(card, saving.asked(card.id, template))))
        origin = saving.Origin(
            card=card,
            base=base.card,
            base_folder=weights.folder_of(base.card, watch),
            base_hash=self.base_hash or self.fingerprint(),
            adapter_hash=tune.adapter.file_hash,
            fidelity=figures,
        )
        return saving.save(view, saving.with_template(base.tokenizer, template), origin, folder, watch)

    def _mergeable(self, card: ModelCard) -> _FineTune:
        """The fine-tune, where its base can be merged into and the copies that this takes have room."""
        tune, model = self._fine_tunes[card.id], self._base.model
        if self._no_merge is not None:
            raise broken_rule("model", card.id, self._no_merge)
        num_bytes = extra_bytes(model, tune.adapter.tensors)
        if model.dtype.itemsize > 2:
            num_bytes += self._base.num_bytes // 2
        if not self._has_room(num_bytes):
            rule = f"its merged copies take {num_bytes / 1e6:.0f} MB, more than the memory budget has left"
            raise broken_rule("model", card.id, rule)
        return tune

    def _view_for(self, tune: _FineTune) -> Any:
        with self._changing_modules:
            return merged_view(self._base.model, tune.adapter)

    def _fidelity(self, tune: _FineTune, view: Any, prompt: Prompt) -> list[Fidelity]:
        manner = self._manners[tune.card.id]
        room = manner.context_length - len(prompt.token_ids)
        return checking.fidelity(self._base.model, view, tune.adapter, prompt.token_ids, manner.end_ids, room)

    def memory_of(self, card: ModelCard) -> int:
        """The base alone, or a fine-tune's adapter with its merged view, in bytes."""
        if card.adapter is None:
            return self._base.num_bytes
        tune = self._fine_tunes.get(card.id)
        return tune.adapter.num_bytes() + tune.merged_bytes if tune is not None else 0

    def placement(self) -> Placement:
        """In what the base is kept, and where it calculates."""
        return Placement(self._base.kept_as, str(self._base.device))

    def forget(self, card: ModelCard) -> None:
        """Lets go of a fine-tune's adapter and merged view; the hooks that it needed stay, and do nothing."""
        with self._changing_modules:
            tune = self._fine_tunes.pop(card.id, None)
            self._manners.pop(card.id, None)
        if tune is not None and tune.merged is not None:
            tune.merged.close()
        del tune
        weights.release_memory()

    def fingerprint(self) -> str:
        """A hash over all tensors of the base as they are now."""
        return weights.fingerprint(self._base.model)

    def move(self, device: torch.device) -> None:
        """Takes base, adapters and merged views to another device; before the first answer alone."""
        if self._base.model.device.type == device.type:
            return
        self._base.model.to(device)
        self._base.device = device
        for tune in self._fine_tunes.values():
            tune.adapter = tune.adapter.on(device)
            if tune.view is not None:
                tune.view.to(device)

    def close(self) -> None:
        """Ends all loops and lets go of every tensor."""
        self._intake.shutdown(cancel_futures=True)
        with self._changing_modules:
            loops = [self._loop, *(tune.merged for tune in self._fine_tunes.values() if tune.merged)]
            self._fine_tunes = {}
        while loops:
            loops.pop().close()
        self._base.model = self._base.tokenizer = None
        del self._loop, self._hooks
        weights.release_memory()

    def _learn_hash(self) -> None:
        # An engine that is closed meanwhile takes its tensors away.
        with contextlib.suppress(Exception):
            self.base_hash = self.fingerprint()

    def _make_loop(self, model: Any, name: str) -> Loop:
        stepper = self._steppers.for_model(model)
        return Loop(stepper, name, max_rows=self._max_rows, on_leave=self._after_answer, prompts=self._prompts)

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
        if job.cancelled.is_set():
            job.emit(Cancelled("the answer was stopped"))
            return
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
        prompt = self._prompt(job.card, request)
        self._check_ids("continuation", request.continuation)
        self._check_ids("logit_bias", tuple(request.sampling.logit_bias))
        seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbelow(DRAWN_SEEDS)
        place = self._place(job)
        row = Row(
            job=job,
            lane=Lane(place.adapter, request.strength),
            prompt_ids=prompt.token_ids + request.continuation,
            room=min(request.sampling.max_tokens, manner.context_length - len(prompt.token_ids)),
            end_ids=manner.end_ids,
            reader=Reader(base.tokenizer, prompt, request.sampling.stop),
            sampler=Sampler(request.sampling, seed),
            seed=seed,
            pieces=self._pieces(request, prompt),
            echo_from=len(prompt.token_ids) if request.continuation else 0,
            view=place.view,
            repeatable=place.repeatable,
            prove=partial(self._prove, job, place.adapter_hash),
            notes=(*base.notes, *place.notes),
        )
        return place.loop, row

    def _prompt(self, card: ModelCard, request: GenerationRequest) -> Prompt:
        manner = self._manners[card.id]
        prompt = self._encoded.of(self._base.tokenizer, card, request, manner)
        check_room(prompt, request, manner.context_length)
        self._check_ids("messages" if prompt.chat else "prompt", prompt.token_ids)
        return prompt

    def _pieces(self, request: GenerationRequest, prompt: Prompt) -> tuple[str, ...] | None:
        """The text by token of what is asked back."""
        if not request.echo:
            return None
        if request.continuation:
            return tuple(answer_pieces(self._base.tokenizer, prompt, request.continuation))
        return tuple(pieces_of(self._base.tokenizer, prompt.token_ids))

    def _prove(self, job: Job, adapter_hash: str | None, first: First) -> Proof:
        base = self._base.card
        return Proof(
            # Two entries may share what is loaded: the answer's own names its base.
            base=job.card.base_model or job.card.id,
            revision=base.revision,
            base_hash=self.base_hash,
            tokenizer_hash=self._tokenizer_hash,
            adapter=job.card.id if adapter_hash else None,
            adapter_hash=adapter_hash,
            strength=job.request.strength,
            first=first,
            dtype=self._base.kept_as,
        )

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
            return _Place(tune.merged, "merged", None, tune.adapter.file_hash, notes, repeatable=always)
        return _Place(self._loop, "attached", tune.adapter, tune.adapter.file_hash, notes)

    # Merged views

    def _after_answer(self, row: Row) -> None:
        card = row.job.card
        tune = self._fine_tunes.get(card.id)
        if (
            tune is None
            or self._no_merge is not None
            or card.merge != "auto"
            or row.view != "attached"
            # Their adapters by row cost next to nothing, and a merged view would cost memory.
            or row.stepper == "kernels"
            or not _is_free(row.job.request)
        ):
            return
        tune.num_uses += 1
        if tune.num_uses >= USES_BEFORE_MERGE and not tune.merging:
            tune.merging = True
            threading.Thread(target=self._merge_behind, args=(tune,), name=f"merge {card.id}", daemon=True).start()

    def _merge_behind(self, tune: _FineTune) -> None:
        try:
            self._merge(tune, self._has_room)
        except (ModelLoadFailed, MemoryError) as error:
            # Nothing is lost: the fine-tune goes on as an adapter by row.
            log.warning("%s stays attached: %s", tune.card.id, error)

    def _merge(self, tune: _FineTune, has_room: Callable[[int], bool]) -> None:
        with self._changing_modules:
            if self._fine_tunes.get(tune.card.id) is not tune:
                # It was let go of, or all was, since this was asked for.
                return
            num_bytes = extra_bytes(self._base.model, tune.adapter.tensors)
            if not has_room(num_bytes):
                return
            tune.merged_bytes = num_bytes
            try:
                tune.view = merged_view(self._base.model, tune.adapter)
            except BaseException:
                tune.merged_bytes = 0
                raise
            tune.merged = self._make_loop(tune.view, f"{tune.card.id} merged")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a job runs, by which adapter, and whether asking again would lead to the same place. `adapter` is what
    its row carries."""

    loop: Loop
    view: View
    adapter: Adapter | None = None
    adapter_hash: str | None = None
    notes: tuple[str, ...] = ()
    repeatable: bool = True


def _is_free(request: GenerationRequest) -> bool:
    """Whether an answer may come from a merged view: asked alone, at full strength, drawn with no seed given."""
    drawn = request.sampling.seed is None and request.sampling.temperature > 0
    return request.alone and request.strength == 1 and drawn


def _hash_or_none(adapter: Adapter) -> str | None:
    try:
        return hash_of_file(adapter.folder)
    except ModelLoadFailed:
        return None


def _tell_if_dropped(starting: Future[None], job: Job) -> None:
    if starting.cancelled():
        job.emit(InternalError("the model was unloaded before the answer began"))


class LocalLoader:
    """Makes embedded engines. One model is made at a time: transformers sets torch's default dtype meanwhile.
    `prompt_bytes` bounds the prompts that they all keep; with 0 they keep none."""

    def __init__(self, steppers: Steppers, *, max_rows: int, prompt_bytes: int = 0) -> None:
        self._steppers, self._max_rows = steppers, max_rows
        self.prompts = PromptCache(prompt_bytes)
        self._one_at_a_time = threading.Lock()

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        weights.folder_of(base, watch)
        with self._one_at_a_time:
            return weights.size_bytes(base, watch)

    def device_of(self, base: ModelCard) -> str:
        return str(weights.device_of(base))

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> LocalEngine:
        with self._one_at_a_time:
            loaded = weights.load_base(base, watch)
        return LocalEngine(loaded, self._steppers, max_rows=self._max_rows, has_room=has_room, prompts=self.prompts)
